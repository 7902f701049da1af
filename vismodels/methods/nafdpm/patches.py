"""Random patches of page pairs, varied alike on both sides."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vismodels.data.cv import opencv
from vismodels.data.pages import PagePair
from vismodels.methods.nafdpm.config import AugmentationConfig

TEXT = 128  # a clean pixel below this level counts as text
WHITE = 255
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601
MIX_CONCENTRATION = 6  # of random mixtures of the channels around it
BLEED_SHARE, BLEED_SIGMA = 0.5, (0.7, 3.0)  # of the patches; pixels
GAMMA_SPREAD, CONTRAST_SPREAD, BRIGHTNESS_SPREAD = 0.6, 0.4, 0.15  # at tone 1
Rows = NDArray[np.uint8]


def page_batches(
    pages: Sequence[PagePair],
    draws: torch.Generator,
    *,
    batch_size: int,
    patch: tuple[int, int],
    channels: int,
    augmentation: AugmentationConfig,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield endless batches (degraded, clean), each (B, C, h, w) in [0, 1], channels_last.

    Every page is as likely as any other. Beyond the border of a page its paper goes on: the edge
    pixels of the degraded image, white beside the clean one.

    Args:
        pages: to draw from; two-valued clean pages stay two-valued.
        draws: source of all randomness, on the CPU.
        batch_size: B.
        patch: rows h and columns w.
        channels: 3 for RGB, 1 for grey.
        augmentation: how the patches are varied.

    Raises:
        ValueError: if there is no page.
    """
    if not pages:
        raise ValueError("expected at least one page to draw patches from, got none")
    sources = [_Source(page) for page in pages]
    while True:
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=draws)))
        drawn = rng.integers(len(sources), size=(2, batch_size))  # fronts, and what is behind them
        pairs = [_patch(sources[index], patch, augmentation, rng) for index in drawn[0]]
        if augmentation.bleed:
            for place, (front, back) in enumerate(drawn.T):
                if rng.random() < BLEED_SHARE:
                    first, second = pairs[place]
                    _, verso = _patch(sources[back], patch, augmentation, rng)
                    strongest = augmentation.bleed * sources[front].contrast
                    pairs[place] = bleed_through(first, verso, strongest, rng), second
        degraded = [_varied(first, channels, augmentation, rng) for first, _ in pairs]
        clean = [grey_or_rgb(second, channels) for _, second in pairs]
        yield as_batch(degraded), as_batch(clean)


class _Source:
    """A page, where its text is, and the share of light that its ink takes."""

    def __init__(self, page: PagePair) -> None:
        self.page = page
        is_text = page.clean.min(axis=2) < TEXT
        self.text = np.flatnonzero(is_text)
        self.two_valued = bool(np.isin(page.clean, (0, WHITE)).all())
        self.contrast = 0.0
        if is_text.any() and not is_text.all():
            grey = grey_or_rgb(page.degraded, 1)[..., 0]
            ink, paper = np.median(grey[is_text]), np.median(grey[~is_text])
            self.contrast = float(np.clip(1 - ink / max(paper, 1 / WHITE), 0, 1))


def _patch(
    source: _Source,
    size: tuple[int, int],
    augmentation: AugmentationConfig,
    rng: np.random.Generator,
) -> tuple[Rows, Rows]:
    """Return one pair of patches, (h, w, 3) uint8 each."""
    cv2 = opencv()
    height, width = source.page.clean.shape[:2]
    zoom = math.exp(rng.uniform(*np.log(augmentation.scale)))
    angle = rng.uniform(-augmentation.rotation, augmentation.rotation)
    if augmentation.text_share and source.text.size and rng.random() < augmentation.text_share:
        row, column = divmod(int(rng.choice(source.text)), width)
        centre = (
            row + rng.integers(-size[0] // 4, size[0] // 4 + 1),
            column + rng.integers(-size[1] // 4, size[1] // 4 + 1),
        )
    else:
        centre = tuple(
            rng.integers(min(edge // 2, whole - edge // 2), max(edge // 2, whole - edge // 2) + 1)
            for edge, whole in zip(size, (height, width), strict=True)
        )
    images = (source.page.degraded, source.page.clean)
    if zoom == 1 and angle == 0:
        pair = [
            _cut(image, centre, size, fill)
            for image, fill in zip(images, (None, WHITE), strict=True)
        ]
    else:
        matrix = cv2.getRotationMatrix2D((float(centre[1]), float(centre[0])), angle, zoom)
        matrix[:, 2] += (size[1] / 2 - centre[1], size[0] / 2 - centre[0])
        borders = (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT)
        pair = [
            cv2.warpAffine(
                image,
                matrix,
                (size[1], size[0]),
                flags=cv2.INTER_LINEAR,
                borderMode=border,
                borderValue=(WHITE, WHITE, WHITE),
            )
            for image, border in zip(images, borders, strict=True)
        ]
        if source.two_valued:
            pair[1] = np.where(pair[1] < TEXT, 0, WHITE).astype(np.uint8)
    for axis in (0, 1):
        if rng.random() < augmentation.flip:
            pair = [np.flip(image, axis) for image in pair]
    return pair[0], pair[1]


def bleed_through(image: Rows, verso: Rows, strongest: float, rng: np.random.Generator) -> Rows:
    """Return a patch through which the text of the other side shows, mirrored and blurred.

    Args:
        image: (h, w, 3) uint8, the degraded patch.
        verso: like `image`, a clean patch of any page.
        strongest: share of light that is lost at most where the other side has ink.
        rng: source of strength and blur.
    """
    strength, sigma = rng.uniform(0, strongest), rng.uniform(*BLEED_SIGMA)
    mirrored = np.ascontiguousarray(np.flip(verso, axis=1))
    ink = 1 - opencv().GaussianBlur(mirrored, (0, 0), sigma).astype(np.float32) / WHITE
    shown: Rows = (image * (1 - strength * ink) + 0.5).astype(np.uint8)
    return shown


def _cut(image: Rows, centre: Sequence[int], size: tuple[int, int], fill: int | None) -> Rows:
    """Return the window of `size` around `centre`; `fill` beyond the border, None: edge pixels."""
    starts = [int(middle) - edge // 2 for middle, edge in zip(centre, size, strict=True)]
    pads = [
        (max(-start, 0), max(start + edge - whole, 0))
        for start, edge, whole in zip(starts, size, image.shape[:2], strict=True)
    ]
    inside = tuple(
        slice(max(start, 0), start + edge) for start, edge in zip(starts, size, strict=True)
    )
    window: Rows = image[inside]
    if not any(pad for axis in pads for pad in axis):
        return window
    if fill is None:
        return np.pad(window, (*pads, (0, 0)), mode="edge")
    return np.pad(window, (*pads, (0, 0)), constant_values=fill)


def _varied(
    image: Rows, channels: int, augmentation: AugmentationConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return (h, w, C) in [0, 1] of (h, w, 3) uint8, with other tones and more noise."""
    weights = LUMA
    if augmentation.channel_mix:
        weights = rng.dirichlet(MIX_CONCENTRATION * LUMA).astype(np.float32)
    varied: NDArray[Any] = grey_or_rgb(image, channels, weights)
    if augmentation.tone:
        gamma = math.exp(rng.normal(0, GAMMA_SPREAD * augmentation.tone))
        contrast = math.exp(rng.normal(0, CONTRAST_SPREAD * augmentation.tone))
        shift = rng.normal(0, BRIGHTNESS_SPREAD * augmentation.tone)
        varied = (varied**gamma - 0.5) * contrast + 0.5 + shift
    if augmentation.noise:
        deviation = rng.uniform(0, augmentation.noise)
        varied = varied + rng.normal(0, deviation, varied.shape)
    return varied.clip(0, 1).astype(np.float32)


def grey_or_rgb(
    image: NDArray[np.uint8], channels: int, weights: NDArray[np.float32] = LUMA
) -> NDArray[np.float32]:
    """Return (h, w, C) in [0, 1] of (h, w, 3) uint8 RGB.

    Args:
        image: to convert.
        channels: 3, or 1 for grey.
        weights: of red, green and blue in the grey; BT.601's unless given.
    """
    levels: NDArray[np.float32] = image.astype(np.float32) / np.float32(WHITE)
    return levels if channels == 3 else (levels @ weights)[..., None]


def as_batch(patches: Sequence[NDArray[np.float32]]) -> Tensor:
    """Return (B, C, h, w) of (h, w, C) arrays, channels_last in memory."""
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2)
