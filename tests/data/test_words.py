import string

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vismodels.data.pages import Word
from vismodels.data.words import (
    SYMBOLS,
    Alphabet,
    Span,
    greedy_decode,
    qualifies,
    span_in_crop,
    uniform_alignment,
    word_crop,
    word_crops,
    words_inside,
)


def word(text="ab", left=4, top=3, right=9, bottom=6):
    return Word(text, left, top, right, bottom, line=0)


def page(channels=1, height=20, width=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(channels, height, width, generator=generator) * 0.9  # never white


# --- alphabet ----------------------------------------------------------------------------------


def test_the_default_alphabet_is_printable_ascii_and_the_euro():
    printable = {chr(code) for code in range(32, 127)}
    assert set(SYMBOLS) == printable | {"€"}
    assert len(SYMBOLS) == 96
    assert Alphabet().classes == 97


def test_the_backtick_is_an_ordinary_character():
    """In the published code it is also the blank."""
    alphabet = Alphabet()
    (code,) = alphabet.encode("`")
    assert code != Alphabet.BLANK
    assert alphabet.decode([code]) == "`"
    assert alphabet.decode([code, code, 0, code]) == "``"


def test_every_symbol_has_a_class_of_its_own_apart_from_the_blank():
    codes = Alphabet().encode(SYMBOLS)
    assert sorted(codes) == list(range(1, 97))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([], ""),
        ([0, 0, 0], ""),
        ([1, 1, 1], "a"),
        ([1, 0, 1], "aa"),
        ([1, 1, 0, 0, 1, 2, 2, 0], "aab"),
        ([0, 2, 1, 2], "bab"),
    ],
)
def test_decoding_by_hand(path, text):
    assert Alphabet("ab").decode(path) == text


@given(st.text(alphabet=SYMBOLS, max_size=25))
def test_a_blank_between_all_characters_spells_every_text(text):
    alphabet = Alphabet()
    path = [code for character in alphabet.encode(text) for code in (character, 0)]
    assert alphabet.decode(path) == text


def test_greedy_decoding_takes_the_most_probable_class_of_each_frame():
    scores = torch.full((2, 4, 3), -9.0)
    for item, path in enumerate([[1, 0, 1, 2], [0, 2, 2, 0]]):
        scores[item, range(4), path] = 0.0
    assert greedy_decode(scores, Alphabet("ab")) == ["aab", "b"]


def test_log_probabilities_of_another_alphabet_are_an_error():
    with pytest.raises(ValueError, match=r"expected \(B, T, 3\) .* got \(1, 4, 5\)"):
        greedy_decode(torch.zeros(1, 4, 5), Alphabet("ab"))


@pytest.mark.parametrize(
    ("symbols", "message"), [("", "at least one symbol"), ("abca", r"\['a'\] come twice")]
)
def test_impossible_alphabets_are_errors(symbols, message):
    with pytest.raises(ValueError, match=message):
        Alphabet(symbols)


def test_a_foreign_character_is_an_error_that_names_it():
    assert not Alphabet().spells("naïve")
    with pytest.raises(ValueError, match=r"lacks \['ï'\] of 'naïve'"):
        Alphabet().encode("naïve")


# --- which words -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (word("x" * 25, 0, 0, 127, 31), True),
        (word("x" * 26, 0, 0, 127, 31), False),
        (word("x", 0, 0, 128, 31), False),
        (word("x", 0, 0, 127, 32), False),
        (word("", 0, 0, 5, 5), False),
        (word("ß", 0, 0, 5, 5), False),
        (word("x", 5, 0, 5, 5), False),
    ],
)
def test_words_qualify_as_published(candidate, expected):
    assert qualifies(candidate, Alphabet()) is expected


def test_size_and_length_are_arguments():
    assert qualifies(word("abc", 0, 0, 9, 9), Alphabet(), (10, 10), longest=3)
    assert not qualifies(word("abc", 0, 0, 10, 9), Alphabet(), (10, 10), longest=3)
    assert not qualifies(word("abc", 0, 0, 9, 9), Alphabet(), (10, 10), longest=2)


def test_words_wholly_inside_a_window_are_moved_with_it():
    words = [
        word("in", 10, 10, 14, 14),
        word("left", 9, 10, 14, 14),
        word("above", 10, 9, 14, 14),
        word("right", 10, 10, 19, 14),
        word("below", 10, 10, 14, 19),
    ]
    assert words_inside(words, top=10, left=10, size=(8, 8)) == [word("in", 0, 0, 4, 4)]
    assert len(words_inside(words, top=0, left=0, size=(20, 20))) == 5


# --- crops -------------------------------------------------------------------------------------


def test_a_crop_by_hand():
    image = torch.zeros(1, 5, 6)
    image[0, 2, 2:4] = torch.tensor([0.25, 0.5])
    crop = word_crop(image, word("x", 2, 2, 4, 3), size=(4, 7), margin=1)
    expected = torch.ones(4, 7)
    expected[0:3, 1:5] = 0  # one row of ink and its margins; the odd white goes below and right
    expected[1, 2:4] = torch.tensor([0.25, 0.5])
    assert torch.equal(crop[0], expected)


def test_pixels_are_neither_resized_nor_changed():
    image = page()
    crop = word_crop(image, word(), size=(9, 15), margin=0)
    assert torch.equal(crop[:, 3:6, 5:10], image[:, 3:6, 4:9])
    assert (crop == 1).sum() == 9 * 15 - 3 * 5


def test_eight_bit_pages_have_their_own_white():
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    crop = word_crop(image, word("x", 1, 1, 3, 3), size=(6, 6), margin=0)
    assert crop.dtype == torch.uint8
    assert crop.unique().tolist() == [0, 255]


def test_there_is_less_margin_at_the_edge_of_the_image_and_of_the_canvas():
    image = page(height=6, width=8)
    corner = word_crop(image, word("x", 0, 0, 3, 2), size=(10, 10), margin=2)
    assert (corner < 1).sum() == 5 * 4
    tight = word_crop(image, word("x", 2, 1, 6, 5), size=(5, 7), margin=2)
    assert (tight < 1).sum() == 4 * 6  # no row and one column on either side


@given(st.data())
def test_the_ink_is_in_the_middle_and_the_span_says_where(data):
    left = data.draw(st.integers(0, 25))
    right = data.draw(st.integers(left + 1, 30))
    margin = data.draw(st.integers(0, 4))
    width = data.draw(st.integers(right - left, 40))
    image = page()
    box = word("x", left, 5, right, 9)
    crop = word_crop(image, box, size=(12, width), margin=margin)
    span = span_in_crop(box, image.shape[2], width, margin)
    assert crop.shape == (1, 12, width)
    assert span.right - span.left == right - left
    rows = (crop < 1).any(dim=2)[0].nonzero().flatten()
    above = 5 - max(5 - margin, 0)
    start = int(rows[0]) + min(above, (12 - 4) // 2)
    assert torch.equal(
        crop[0, start : start + 4, span.left : span.right], image[0, 5:9, left:right]
    )


def test_gradients_flow_to_the_pixels_of_the_crop_and_no_others():
    images = page().expand(2, -1, -1, -1).clone().requires_grad_()
    words = [[], [word("x", 4, 3, 9, 6)]]
    word_crops(images, words, size=(10, 20), margin=1).sum().backward()
    expected = torch.zeros(2, 1, 20, 30)
    expected[1, :, 2:7, 3:10] = 1
    assert torch.equal(images.grad, expected)


def test_crops_come_in_the_order_of_images_and_words():
    images = torch.stack([page(3, seed=1), page(3, seed=2)])
    words = [[word(left=1), word(left=2)], [word(left=3)]]
    crops = word_crops(images, words, (12, 16))
    assert crops.shape == (3, 3, 12, 16)
    pairs = [(image, w) for image, boxes in zip(images, words, strict=True) for w in boxes]
    for crop, (image, w) in zip(crops, pairs, strict=True):
        assert torch.equal(crop, word_crop(image, w, (12, 16)))


def test_images_without_words_have_no_crops():
    assert word_crops(torch.zeros(2, 3, 9, 9), [[], []]).shape == (0, 3, 32, 128)


@pytest.mark.parametrize(
    "box",
    [
        (-1, 0, 3, 3),
        (0, 0, 31, 3),  # beyond the image of 20 x 30
        (0, 0, 3, 21),
        (3, 0, 3, 3),  # empty
        (0, 0, 29, 3),  # wider than the canvas
    ],
)
def test_a_box_that_leaves_image_or_canvas_is_an_error_that_names_the_word(box):
    with pytest.raises(ValueError, match=r"the word 'ab' takes .* must lie inside the image"):
        word_crop(page(), word("ab", *box), size=(25, 28))


def test_words_of_another_number_of_images_are_an_error():
    with pytest.raises(ValueError, match="the words of 2 images, got 1 lists"):
        word_crops(torch.zeros(2, 1, 9, 9), [[]])


# --- uniform alignment -------------------------------------------------------------------------


def test_alignment_gives_each_character_its_share_of_the_word():
    centers = [4, 8, 12, 16, 20, 24, 28]
    assert uniform_alignment([5, 6, 7], Span(8, 26), centers) == [0, 5, 5, 6, 7, 7, 0]


def test_alignment_of_a_word_in_enough_frames_spells_it():
    alphabet = Alphabet()
    text = string.ascii_lowercase[:10]
    path = uniform_alignment(alphabet.encode(text), Span(4, 124), np.arange(4, 128, 4).tolist())
    assert alphabet.decode(path) == text
