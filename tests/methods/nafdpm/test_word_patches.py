from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from small_pages import text_page

from vismodels.data.words import Alphabet
from vismodels.methods.nafdpm.word_patches import word_patches

SIZE = {"batch_size": 3, "patch": (48, 128), "channels": 3}


def draw(pages, count=1, seed=0, **options):
    draws = torch.Generator().manual_seed(seed)
    return list(islice(word_patches(pages, draws, Alphabet(), **(SIZE | options)), count))


def test_the_words_of_a_patch_stand_where_they_say(pages):
    for batch in draw(pages, 5):
        assert batch.degraded.shape == batch.clean.shape == (3, 3, 48, 128)
        for image, words in zip(batch.clean, batch.words, strict=True):
            for word in words:
                ink = image[0, word.top : word.bottom, word.left : word.right] < 0.5
                assert ink.any(0)[0:3].any() or ink.any()
                assert 0 <= word.left < word.right <= 128
                assert 0 <= word.top < word.bottom <= 48


def test_words_at_the_edge_and_words_that_cannot_be_spelled_are_left_out():
    page = text_page()
    foreign = replace(page, words=tuple(replace(word, text="ß") for word in page.words))
    assert any(words for batch in draw([page], 5) for words in batch.words)
    assert not any(words for batch in draw([foreign], 5) for words in batch.words)


def test_patches_are_windows_of_the_page_as_it_is():
    page = text_page()
    (batch,) = draw([page], patch=(64, 160), batch_size=1)
    whole = torch.from_numpy(page.degraded).permute(2, 0, 1) / 255
    torch.testing.assert_close(batch.degraded[0], whole)
    assert [word.text for word in batch.words[0]] == [word.text for word in page.words]


def test_equal_seeds_give_equal_batches(pages):
    first, second = draw(pages, 2, seed=4), draw(pages, 2, seed=4)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.degraded, b.degraded)
        assert a.words == b.words


def test_pages_without_words_are_refused(pages):
    with pytest.raises(ValueError, match="known words"):
        draw([replace(page, words=()) for page in pages])


def test_a_page_smaller_than_the_patch_is_refused(pages):
    with pytest.raises(ValueError, match="smaller patches"):
        draw(pages, patch=(65, 128))


def test_grey_patches_have_one_channel(pages):
    (batch,) = draw(pages, channels=1)
    assert batch.clean.shape[1] == 1
    assert np.isfinite(batch.clean.numpy()).all()
