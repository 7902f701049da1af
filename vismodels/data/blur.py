"""Photographs of pages out of focus, by a hand that shakes: the model of Hradis et al.

"Convolutional neural networks for direct text deblurring", BMVC 2015: a point becomes an
anti-aliased disc (defocus) convolved with the path of a random walk (shake); Gaussian noise and
8-bit samples follow. Uneven light and a JPEG file are ours.
"""

import math
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
    to_float,
    to_uint8,
    uneven_light,
)
from vismodels.data.ranges import Range, Shares, draw, draw_count

_SUBSAMPLES = 16  # per pixel and axis, for the edge of the disc
_MOMENTUM = 0.9
_WALK_STEPS = 64
_POINTS_A_STEP = 16

Kernel = NDArray[np.float64]


class BlurConfig(Config):
    """How pages are photographed; every page draws its own values from these ranges.

    Args:
        kind: tells this configuration from that of worn paper.
        defocus_radius: of the disc, pixels.
        shake_size: extent of the walk, pixels; 1 is a still hand.
        light: loss of light at the darkest place of a page.
        noise: standard deviation in 8-bit levels.
        jpeg_quality: 1 to 100.
    """

    kind: Literal["blur"] = "blur"
    defocus_radius: Range
    shake_size: Range
    light: Shares
    noise: Range
    jpeg_quality: Qualities


def degrade_blur(
    image: NDArray[np.uint8], config: BlurConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a page photographed out of focus by an unsteady hand, through a JPEG file.

    Args:
        image: (H, W, 3) uint8, the clean page.
        config: ranges.
        rng: source of all choices.
    """
    disc = defocus_kernel(draw(config.defocus_radius, rng))
    walk = shake_kernel(draw(config.shake_size, rng), rng)
    blurred = blur(to_float(image), convolved(disc, walk))
    lit = uneven_light(blurred, draw(config.light, rng), rng)
    noisy = add_noise(lit, draw(config.noise, rng), rng)
    return jpeg_round_trip(to_uint8(noisy), draw_count(config.jpeg_quality, rng))


def defocus_kernel(radius: float) -> Kernel:
    """Return the image of a point out of focus: an anti-aliased disc of sum 1.

    Args:
        radius: pixels, at least 0; up to half a pixel the disc lies within one pixel.

    Returns:
        (2r+1, 2r+1), each sample in proportion to the part of its pixel that the disc covers.

    Raises:
        ValueError: if the radius is negative.
    """
    if radius < 0:
        raise ValueError(f"expected a radius of at least 0 pixels, got {radius}")
    reach = max(0, math.ceil(radius - 0.5))
    size = (2 * reach + 1) * _SUBSAMPLES
    centers = (np.arange(size) + 0.5) / _SUBSAMPLES - (reach + 0.5)
    inside = centers[:, None] ** 2 + centers[None, :] ** 2 <= max(radius, 0.5) ** 2
    blocks = inside.reshape(2 * reach + 1, _SUBSAMPLES, 2 * reach + 1, _SUBSAMPLES)
    covered = blocks.mean(axis=(1, 3))
    kernel: Kernel = covered / covered.sum()
    return kernel


def shake_kernel(size: float, rng: np.random.Generator) -> Kernel:
    """Return the path of a shaking hand during the exposure: a smooth random walk of sum 1.

    The walk keeps nine tenths of its velocity at each step. It is centred on its mean, so that a
    page does not move, and scaled to reach the edge of the kernel.

    Args:
        size: extent in pixels, at least 1.
        rng: source of the walk.

    Returns:
        Square kernel, its side the smallest odd number that is at least `size`.

    Raises:
        ValueError: if `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"expected a size of at least 1 pixel, got {size}")
    velocity = np.zeros(2)
    steps = []
    for push in rng.standard_normal((_WALK_STEPS, 2)):
        velocity = _MOMENTUM * velocity + push
        steps.append(velocity)
    corners = np.cumsum(steps, axis=0)
    times = np.linspace(0, _WALK_STEPS - 1, _WALK_STEPS * _POINTS_A_STEP)
    walk = np.column_stack([np.interp(times, np.arange(_WALK_STEPS), axis) for axis in corners.T])
    walk -= walk.mean(axis=0)
    walk *= (size - 1) / 2 / np.abs(walk).max()
    return _rasterized(walk, math.ceil((size - 1) / 2))


def convolved(first: Kernel, second: Kernel) -> Kernel:
    """Return the kernel of two blurs after one another, of sum 1."""
    from scipy.signal import convolve2d

    both = convolve2d(first, second)
    kernel: Kernel = both / both.sum()
    return kernel


def blur(image: Image, kernel: Kernel) -> Image:
    """Return `image` convolved with `kernel`; its edges are repeated outwards.

    Args:
        image: float32 in [0, 1], (H, W) or (H, W, 3).
        kernel: of odd height and width and of sum 1, not negative.

    Raises:
        ValueError: if the kernel has no central sample.
    """
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"expected a kernel of odd height and width, got {kernel.shape}")
    cv2 = opencv()
    turned = np.ascontiguousarray(kernel[::-1, ::-1])  # OpenCV correlates
    blurred: Image = cv2.filter2D(image, -1, turned, borderType=cv2.BORDER_REPLICATE)
    return blurred.clip(0, 1)


def _rasterized(points: NDArray[np.float64], reach: int) -> Kernel:
    """Return equal weights of sum 1 at `points`, shared by the four pixels around each."""
    kernel = np.zeros((2 * reach + 2, 2 * reach + 2))
    low = np.floor(points).astype(int)
    part = points - low
    for row in (0, 1):
        for column in (0, 1):
            weight = np.abs(1 - row - part[:, 1]) * np.abs(1 - column - part[:, 0])
            np.add.at(kernel, (low[:, 1] + row + reach, low[:, 0] + column + reach), weight)
    # Nothing lies beyond the outermost centres.
    return np.asarray(kernel[:-1, :-1] / len(points), np.float64)
