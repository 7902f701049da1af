"""PSNR and SSIM on the luma channel, as the super-resolution field measures them.

Protocol of published x4 tables: 8-bit RGB, BT.601 luma rounded to 8 bits, `scale` border pixels
cut. SSIM: Wang et al., "Image quality assessment: from error visibility to structural similarity",
IEEE TIP 13 (2004), with its 11x11 Gaussian window.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.results import Metric

_SSIM_WINDOW = 11

PSNR_Y = Metric(
    "psnr_y",
    "PSNR-Y",
    unit="dB",
    higher_is_better=True,
    protocol="8-bit RGB result; BT.601 luma (16 to 235) rounded to whole levels; peak 255; border "
    "of `scale` pixels cut; mean over images",
    digits=2,
)
PSNR_Y_FLOAT = Metric(
    "psnr_y_float",
    "PSNR-Y (luma not rounded)",
    unit="dB",
    higher_is_better=True,
    protocol="as PSNR-Y, but the luma of the 8-bit images is not rounded",
    digits=2,
)
SSIM_Y = Metric(
    "ssim_y",
    "SSIM-Y",
    higher_is_better=True,
    protocol="luma and border as PSNR-Y; Gaussian window 11x11, sigma 1.5; population covariance; "
    "range 255; mean over images",
    digits=4,
)


def luma(image: NDArray[np.uint8], rounded: bool = True) -> NDArray[Any]:
    """Return the BT.601 luma of an RGB image: 16 for black, 235 for white.

    Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255, computed with integers, so that halves round
    up on every machine.

    Args:
        image: (H, W, 3) uint8 RGB.
        rounded: round to whole levels (uint8); otherwise float64.

    Raises:
        TypeError: if the image is not uint8.
        ValueError: if it is not (H, W, 3).
    """
    if image.dtype != np.uint8:
        raise TypeError(f"expected uint8 RGB, got {image.dtype}; round and clip to [0, 255] first")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an RGB image of shape (H, W, 3), got {image.shape}")
    weights = np.array([65481, 128553, 24966])
    weighted: NDArray[np.int64] = image.astype(np.int64) @ weights  # (Y - 16) * 255000
    if not rounded:
        return 16 + weighted / 255000
    levels: NDArray[np.uint8] = (16 + (weighted + 127500) // 255000).astype(np.uint8)
    return levels


def psnr_y(
    result: NDArray[np.uint8], target: NDArray[np.uint8], border: int = 4, rounded: bool = True
) -> float:
    """Return the peak signal-to-noise ratio of the luma in dB (peak 255).

    Identical images have infinite PSNR. Score files refuse infinity, on purpose: it means that a
    target was scored against itself.

    Args:
        result: (H, W, 3) uint8 RGB.
        target: like `result`.
        border: pixels cut from every side; by custom the scale.
        rounded: round the luma to whole levels, as published tables do.

    Raises:
        TypeError: if an image is not uint8.
        ValueError: if shapes differ or the border leaves nothing.
    """
    a, b = _cropped_luma(result, target, border, rounded, smallest=1)
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * math.log10(255**2 / error) if error > 0 else math.inf


def ssim_y(result: NDArray[np.uint8], target: NDArray[np.uint8], border: int = 4) -> float:
    """Return the structural similarity of the rounded luma, at most 1.

    Gaussian window 11x11 with sigma 1.5, population covariance, range 255, averaged over the
    pixels whose window lies inside the cropped image.

    Args:
        result: (H, W, 3) uint8 RGB.
        target: like `result`.
        border: pixels cut from every side; by custom the scale.

    Raises:
        TypeError: if an image is not uint8.
        ValueError: if shapes differ or the border leaves less than 11x11 pixels.
    """
    from skimage.metrics import structural_similarity

    a, b = _cropped_luma(result, target, border, rounded=True, smallest=_SSIM_WINDOW)
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    return float(similarity)


def _cropped_luma(
    result: NDArray[np.uint8],
    target: NDArray[np.uint8],
    border: int,
    rounded: bool,
    smallest: int,
) -> tuple[NDArray[Any], NDArray[Any]]:
    if result.shape != target.shape:
        raise ValueError(
            f"result {result.shape} and target {target.shape} differ in shape; crop the target to "
            "a multiple of the scale before it is shrunk (data.images.crop_to_multiple)"
        )
    a, b = luma(result, rounded), luma(target, rounded)
    height, width = a.shape
    if border < 0 or min(height, width) - 2 * border < smallest:
        raise ValueError(
            f"a border of {border} must leave at least {smallest}x{smallest} pixels of "
            f"the {height}x{width} image; use a smaller border or larger images"
        )
    inside = (slice(border, height - border), slice(border, width - border))
    return a[inside], b[inside]
