"""Worn and stained paper, as binarization meets it: texture, faint ink, bleed-through, stains.

Images are float32 in [0, 1], dark text on paper that is white or nearly so. Paper, stains and ink
of the back filter the light one after another, so that their effects multiply.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vismodels.config import Config
from vismodels.data.cv import opencv
from vismodels.data.degradations import (
    Image,
    Qualities,
    add_noise,
    jpeg_round_trip,
    over_channels,
    smooth_field,
    to_float,
    to_uint8,
    uneven_light,
)
from vismodels.data.ranges import Counts, Range, Shares, draw, draw_count

_OLD_PAPER = (0.93, 0.86, 0.72)  # RGB that yellowed paper reflects
_STAIN = (0.62, 0.45, 0.28)  # RGB that a full stain lets through: coffee, rust, damp


class WearConfig(Config):
    """How worn pages are; every page draws its own values from these ranges.

    Args:
        kind: tells this configuration from that of blur.
        yellowing: of the paper, 0 is white.
        mottling: unevenness of the paper.
        bleed: strength of the text on the back.
        bleed_sigma: blur of the text on the back, pixels.
        stains: their number.
        stain_strength: 1 is as dark as coffee.
        fading: loss of ink where it is faintest.
        soft: Gaussian blur of the scanner, sigma in pixels.
        light: loss of light at the darkest place of a page.
        noise: standard deviation in 8-bit levels.
        jpeg_quality: 1 to 100.
    """

    kind: Literal["wear"] = "wear"
    yellowing: Shares
    mottling: Shares
    bleed: Shares
    bleed_sigma: Range
    stains: Counts
    stain_strength: Shares
    fading: Shares
    soft: Range
    light: Shares
    noise: Range
    jpeg_quality: Qualities


def degrade_paper(
    image: NDArray[np.uint8],
    verso: NDArray[np.uint8],
    config: WearConfig,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return a scan of a page on old paper, with what is on its back shining through.

    Args:
        image: (H, W, 3) uint8, the clean page.
        verso: like `image`, the page on the back as its reader sees it.
        config: ranges.
        rng: source of all choices.
    """
    shape = image.shape[:2]
    page = faint_ink(to_float(image), draw(config.fading, rng), rng)
    strength = draw(config.bleed, rng) * (0.4 + 0.6 * smooth_field(shape, 120, rng))
    page = bleed_through(page, to_float(verso), strength, draw(config.bleed_sigma, rng))
    page = page * paper_texture(shape, draw(config.yellowing, rng), draw(config.mottling, rng), rng)
    for _ in range(draw_count(config.stains, rng)):
        page = stain(page, draw(config.stain_strength, rng), rng)
    page = uneven_light(_soft(page, draw(config.soft, rng)), draw(config.light, rng), rng)
    noisy = add_noise(page, draw(config.noise, rng), rng)
    return jpeg_round_trip(to_uint8(noisy), draw_count(config.jpeg_quality, rng))


def faint_ink(image: Image, fading: float, rng: np.random.Generator) -> Image:
    """Return `image` with ink that is paler in some words and broken in some strokes.

    Args:
        image: float32 in [0, 1], dark ink on white.
        fading: loss of ink at the faintest place, in [0, 1]; nothing becomes darker.
        rng: source of the places.
    """
    shape = image.shape[:2]
    # Words and lines differ slowly; within strokes the paper's fibres take the ink unevenly.
    loss = 0.75 * smooth_field(shape, 60, rng) + 0.25 * smooth_field(shape, 2, rng)
    return 1 - (1 - image) * over_channels(1 - np.float32(fading) * loss, image)


def bleed_through(
    image: Image, verso: Image, strength: float | NDArray[np.float32], sigma: float
) -> Image:
    """Return `image` with the mirrored, blurred text of the back shining through.

    Args:
        image: float32 in [0, 1].
        verso: like `image`, as it reads from its own side.
        strength: in [0, 1], one number or (H, W); 1 shows the back as dark as the front.
        sigma: of the Gaussian blur, pixels.

    Raises:
        ValueError: if the two sides differ in shape.
    """
    if image.shape != verso.shape:
        raise ValueError(f"front {image.shape} and back {verso.shape} differ in shape")
    back = _soft(np.ascontiguousarray(verso[:, ::-1]), sigma)
    field = np.broadcast_to(np.asarray(strength, np.float32), image.shape[:2])
    return image * (1 - over_channels(field, image) * (1 - back))


def paper_texture(
    shape: tuple[int, int], yellowing: float, mottling: float, rng: np.random.Generator
) -> Image:
    """Return a sheet of paper, (H, W, 3): its colour, clouds in it, and its grain.

    Args:
        shape: (H, W).
        yellowing: 0 for white, 1 for old paper.
        mottling: loss of light at the darkest place of the texture, in [0, 1].
        rng: source of the texture.
    """
    clouds = smooth_field(shape, 90, rng) + 0.5 * smooth_field(shape, 25, rng)
    grain = smooth_field(shape, 3, rng) + smooth_field(shape, 1.5, rng)
    texture = (clouds + 0.5 * grain) / 2.5  # in [0, 1]
    color = 1 - np.float32(yellowing) * (1 - np.array(_OLD_PAPER, np.float32))
    return np.asarray(color * (1 - np.float32(mottling) * texture)[:, :, None], np.float32)


def stain(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Return `image` with one brown stain of irregular outline, darkest along its rim.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        strength: in [0, 1]; 0 changes nothing.
        rng: source of place, size and outline.
    """
    height, width = image.shape[:2]
    radius = rng.uniform(0.08, 0.3) * min(height, width)
    row, column = rng.uniform(0, height), rng.uniform(0, width)
    rows, columns = np.ogrid[:height, :width]
    stretched = (rows - row) * rng.uniform(0.7, 1.4)
    distance = np.hypot(stretched, columns - column) / radius
    outline = distance + 0.5 * (smooth_field((height, width), radius / 2, rng) - 0.5)
    inside = 1 / (1 + np.exp(np.clip((outline - 1) * 25, -50, 50)))
    rim = np.exp(-(((outline - 0.95) / 0.06) ** 2))
    depth = np.float32(strength) * np.clip(0.5 * inside + 0.5 * rim, 0, 1).astype(np.float32)
    passed = 1 - depth[:, :, None] * (1 - np.array(_STAIN, np.float32))
    return np.asarray(image * passed, np.float32)


def _soft(image: Image, sigma: float) -> Image:
    if sigma == 0:
        return image
    cv2 = opencv()
    blurred: Image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return blurred
