import numpy as np
import pytest
import torch

from vismodels.data.pages import PagePair, Word
from vismodels.data.words import Alphabet, word_crop
from vismodels.methods.nafdpm.recognizer_config import ReadingAugmentationConfig
from vismodels.methods.nafdpm.word_batches import as_channels, page_tensor, wear, word_batches

PLAIN = ReadingAugmentationConfig()
BLURRED = ReadingAugmentationConfig(probability=1.0, blur=(0.8, 1.2))
NOISY = ReadingAugmentationConfig(probability=1.0, noise=(0.04, 0.06))
TOO_LONG = Word("x" * 26, 20, 20, 60, 30, 1)


def page(name, words, seed=0):
    image = np.random.default_rng(seed).integers(0, 200, (50, 200, 3), dtype=np.uint8)
    return PagePair(name, image, image, tuple(words))


PAGES = [
    page("p", [Word("one", 5, 5, 30, 20, 0), Word("two", 40, 5, 70, 20, 0), TOO_LONG]),
    page("q", []),
    page("r", [Word("three", 20, 20, 77, 40, 0)], seed=1),
]


def batches(draws, *, batch_size=4, channels=1, augmentation=PLAIN, pages=PAGES):
    return word_batches(
        pages,
        draws,
        Alphabet(),
        batch_size=batch_size,
        channels=channels,
        augmentation=augmentation,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_holds_the_crops_the_texts_and_where_the_ink_stands(channels, generator):
    batch = next(batches(generator, channels=channels))
    sources = {word.text: (p, word) for p in PAGES for word in p.words}
    assert batch.images.shape == (4, channels, 32, 128)
    for image, text, span in zip(batch.images, batch.texts, batch.spans, strict=True):
        source, word = sources[text]
        crop = word_crop(page_tensor(source.clean, channels), word)
        assert torch.equal(image, crop.float() / 255)
        assert span.right - span.left == word.right - word.left
        columns = (image[0] < 1).any(dim=0).nonzero()
        assert (columns.min(), columns.max() + 1) == (span.left - 2, span.right + 2)


def test_every_word_that_qualifies_is_as_likely(generator):
    stream = batches(generator, batch_size=60)
    texts = [text for _ in range(10) for text in next(stream).texts]
    assert set(texts) == {"one", "two", "three"}
    assert all(160 < texts.count(text) < 240 for text in set(texts))  # 200 expected, 3.5 sigma


def test_the_generator_is_the_only_memory(generator):
    stream = batches(generator, augmentation=BLURRED)
    next(stream)
    state = generator.get_state()
    second = next(stream)
    generator.set_state(state)
    again = next(batches(generator, augmentation=BLURRED))
    assert torch.equal(second.images, again.images)
    assert (second.texts, second.spans) == (again.texts, again.spans)


def test_pages_without_a_word_to_read_are_an_error_at_the_call(generator):
    with pytest.raises(ValueError, match="got none on 2 pages; rendered pages know their words"):
        batches(generator, pages=[page("a", []), page("b", [TOO_LONG])])


def test_without_augmentation_nothing_is_drawn(generator):
    before = generator.get_state()
    image = torch.rand(2, 1, 32, 128)
    assert wear(image, PLAIN, generator) is image
    assert torch.equal(generator.get_state(), before)


def test_blur_spreads_the_ink_and_keeps_its_amount(generator):
    image = torch.ones(3, 1, 32, 128)
    image[:, :, 16, 64] = 0
    worn = 1 - wear(image, BLURRED, generator)
    torch.testing.assert_close(
        worn.sum(dim=(1, 2, 3)), torch.ones(3), atol=1e-4, rtol=0
    )  # 1 - x rounds
    columns = worn.sum(dim=(1, 2))
    spread = (columns * (torch.arange(128.0) - 64) ** 2).sum(dim=1).sqrt()
    assert ((spread > 0.75) & (spread < 1.25)).all()
    assert spread.unique().numel() == 3  # each crop has its own


def test_blur_treats_channels_alike_and_white_stays_white(generator):
    image = torch.rand(2, 1, 32, 128, generator=generator).expand(-1, 3, -1, -1).clone()
    worn = wear(image, BLURRED, generator)
    torch.testing.assert_close(worn[:, :1].expand(-1, 3, -1, -1), worn)
    torch.testing.assert_close(
        wear(torch.ones(1, 1, 32, 128), BLURRED, generator).min(), torch.tensor(1.0)
    )


def test_noise_has_the_drawn_deviation(generator):
    worn = wear(torch.full((4, 1, 32, 128), 0.5), NOISY, generator)
    deviation = worn.std(dim=(1, 2, 3))
    assert ((deviation > 0.038) & (deviation < 0.062)).all()


def test_only_the_chosen_share_is_worn(generator):
    half = ReadingAugmentationConfig(probability=0.5, noise=(0.05, 0.05))
    worn = wear(torch.full((200, 1, 8, 8), 0.5), half, generator)
    untouched = (worn == worn[:, :1, :1, :1]).all(dim=3).all(dim=2).all(dim=1)
    assert 70 < untouched.sum() < 130  # 100 expected, 4 sigma


def test_worn_crops_stay_in_range(generator):
    image = torch.rand(4, 1, 32, 128, generator=generator).round()
    both = ReadingAugmentationConfig(probability=1.0, blur=(0.0, 2.0), noise=(0.2, 0.3))
    worn = wear(image, both, generator)
    assert (worn.min(), worn.max()) == (0, 1)


def test_grey_is_the_luma_and_is_repeated_for_three_channels():
    image = torch.zeros(1, 3, 2, 2)
    image[0, 1] = 0.5
    torch.testing.assert_close(as_channels(image, 1), torch.full((1, 1, 2, 2), 0.5 * 0.587))
    assert as_channels(image, 3) is image
    assert torch.equal(as_channels(image[:, 1:2], 3), torch.full((1, 3, 2, 2), 0.5))


def test_gradients_flow_through_the_luma():
    image = torch.zeros(1, 3, 1, 1, requires_grad=True)
    as_channels(image, 1).sum().backward()
    torch.testing.assert_close(image.grad.flatten(), torch.tensor([0.299, 0.587, 0.114]))


def test_other_numbers_of_channels_are_an_error():
    with pytest.raises(ValueError, match="1 or 3 channels, got 2 to make 1"):
        as_channels(torch.zeros(1, 2, 2, 2), 1)


def test_a_white_page_stays_white_in_grey():
    assert page_tensor(np.full((2, 3, 3), 255, np.uint8), 1).unique().tolist() == [255]
