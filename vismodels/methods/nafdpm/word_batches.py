"""Random batches of words cut from clean pages, some of them blurred and noisy."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vismodels.data.pages import Image, PagePair
from vismodels.data.words import Alphabet, Span, qualifies, span_in_crop, word_crop
from vismodels.methods.nafdpm.recognizer_config import ReadingAugmentationConfig

LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601
_SHARP = 1.0e-3  # standard deviation, pixels, that leaves a crop as it is


@dataclass(frozen=True)
class WordBatch:
    """Words, their crops, and where the ink stands in them.

    Args:
        images: (B, C, 32, 128) in [0, 1].
        texts: of each crop.
        spans: columns of the ink in each crop.
    """

    images: Tensor
    texts: list[str]
    spans: list[Span]


def as_channels(images: Tensor, channels: int) -> Tensor:
    """Return RGB images as a recognizer of 1 or 3 channels takes them; grey ones are repeated.

    Args:
        images: (B, 1 or 3, H, W), floating point.
        channels: of the result; RGB becomes grey by the luma of BT.601.

    Raises:
        ValueError: for other numbers of channels.
    """
    present = images.shape[1]
    if {present, channels} - {1, 3}:
        raise ValueError(f"expected images of 1 or 3 channels, got {present} to make {channels}")
    if present == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def page_tensor(image: Image, channels: int) -> Tensor:
    """Return a page (H, W, 3) as a tensor (C, H, W), uint8."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    if channels == 3:
        return pixels.contiguous()
    return as_channels(pixels[None].float(), channels)[0].round().to(torch.uint8)


def word_batches(
    pages: Sequence[PagePair],
    draws: torch.Generator,
    alphabet: Alphabet,
    *,
    batch_size: int,
    channels: int,
    augmentation: ReadingAugmentationConfig,
) -> Iterator[WordBatch]:
    """Yield endless batches of words of the clean pages, each word as likely as any other.

    Args:
        pages: with known words; those that a recognizer cannot be asked to read are left out.
        draws: source of all randomness, on the CPU.
        alphabet: of the recognizer.
        batch_size: B.
        channels: 3 for RGB, 1 for grey.
        augmentation: how crops are worn.

    Raises:
        ValueError: if no page has a word to read (at the call, not at the first batch).
    """
    words = [
        (number, word)
        for number, page in enumerate(pages)
        for word in page.words
        if qualifies(word, alphabet)
    ]
    if not words:
        raise ValueError(
            f"expected pages with words to read, got none on {len(pages)} pages; rendered pages "
            "know their words, of scans an OCR engine can tell them"
        )
    images = [page_tensor(page.clean, channels) for page in pages]

    def batches() -> Iterator[WordBatch]:
        while True:
            chosen = torch.randint(len(words), (batch_size,), generator=draws).tolist()
            picked = [words[index] for index in chosen]
            crops = torch.stack([word_crop(images[number], word) for number, word in picked])
            yield WordBatch(
                wear(crops.float() / 255, augmentation, draws),
                [word.text for _, word in picked],
                [span_in_crop(word, images[number].shape[2]) for number, word in picked],
            )

    return batches()


def wear(images: Tensor, config: ReadingAugmentationConfig, draws: torch.Generator) -> Tensor:
    """Return crops of which some are blurred and some, drawn apart from these, are noisy.

    Args:
        images: (B, C, H, W) in [0, 1], white outside.
        config: shares and strengths.
        draws: source of all randomness, on the CPU.

    Returns:
        Like `images`, clipped to [0, 1].
    """
    if config.probability == 0:
        return images
    items, channels, height, width = images.shape
    chances, strengths = torch.rand(2, 2, items, generator=draws)
    worn = chances < config.probability
    low, high = config.blur
    sigma = torch.where(worn[0], low + strengths[0] * (high - low), 0.0).clamp(min=_SHARP)
    reach = math.ceil(3 * high)
    offsets = torch.arange(-reach, reach + 1)
    kernels = torch.exp(-((offsets / sigma[:, None]) ** 2) / 2)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    groups = items * channels
    planes = functional.pad(images.reshape(1, groups, height, width), (reach,) * 4, value=1.0)
    planes = functional.conv2d(planes, kernels[:, None, None, :], groups=groups)
    planes = functional.conv2d(planes, kernels[:, None, :, None], groups=groups)
    low, high = config.noise
    deviation = torch.where(worn[1], low + strengths[1] * (high - low), 0.0)
    noise = torch.randn(images.shape, generator=draws) * deviation[:, None, None, None]
    return (planes.reshape(images.shape) + noise).clamp(0, 1)
