"""Fidelity of restored pages: PSNR, SSIM and the error of their edges, on all pixels.

Unlike the measures of super-resolution in `image.py`, grey levels or RGB are compared as they are
and no border is cut. SSIM: Wang et al., "Image quality assessment: from error visibility to
structural similarity", IEEE TIP 13 (2004).
"""

import math

import numpy as np
from numpy.typing import NDArray

from vismodels.results import Metric

_SSIM_WINDOW = 11
_LAPLACIAN = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], np.int32)

PSNR = Metric(
    "psnr",
    "PSNR",
    unit="dB",
    higher_is_better=True,
    protocol="8-bit grey or RGB page, all channels together; peak 255; no border cut; mean over "
    "pages",
    digits=2,
)
SSIM = Metric(
    "ssim",
    "SSIM",
    higher_is_better=True,
    protocol="8-bit grey or RGB page, mean over channels; Gaussian window 11x11, sigma 1.5, wholly "
    "inside the page; population covariance; range 255; mean over pages",
    digits=4,
)
EDGE_MSE = Metric(
    "edge_mse",
    "Edge error",
    higher_is_better=False,
    protocol="mean squared difference of the pages after the 3x3 Laplacian (center 8, others -1), "
    "levels in [0, 1], zeros outside the page; mean over pages",
    digits=4,
)


def psnr(result: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of a page in dB (peak 255).

    Identical pages have infinite PSNR, which score files refuse.

    Args:
        result: (H, W) grey or (H, W, 3) RGB, uint8.
        target: like `result`.

    Raises:
        TypeError: if a page is not uint8.
        ValueError: if shapes are wrong or differ.
    """
    error = float(np.mean(_difference(result, target) ** 2))
    return 10 * math.log10(255**2 / error) if error > 0 else math.inf


def ssim(result: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """Return the structural similarity of a page, at most 1; for RGB the mean over the channels.

    Args:
        result: (H, W) grey or (H, W, 3) RGB, uint8, at least 11x11 pixels.
        target: like `result`.

    Raises:
        TypeError: if a page is not uint8.
        ValueError: if shapes are wrong or differ, or the page is smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _check_pages(result, target, smallest=_SSIM_WINDOW)
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        result,
        target,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2 if result.ndim == 3 else None,
    )
    return float(similarity)


def edge_mse(result: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """Return the mean squared difference of the Laplacians H(result) and H(target).

    The high-frequency term of NAF-DPM's loss (arXiv 2404.05669): 0 to 256, and sensitive to blurred
    strokes that hardly move the PSNR.

    Args:
        result: (H, W) grey or (H, W, 3) RGB, uint8; compared as levels in [0, 1].
        target: like `result`.

    Raises:
        TypeError: if a page is not uint8.
        ValueError: if shapes are wrong or differ.
    """
    from scipy.ndimage import correlate

    difference = _difference(result, target)
    kernel = _LAPLACIAN if difference.ndim == 2 else _LAPLACIAN[:, :, None]
    edges = correlate(difference, kernel, mode="constant")  # H is linear: H(a) - H(b) = H(a - b)
    return float(np.mean(edges**2)) / 255**2


def _difference(result: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.int32]:
    _check_pages(result, target)
    return result.astype(np.int32) - target


def _check_pages(result: NDArray[np.uint8], target: NDArray[np.uint8], smallest: int = 1) -> None:
    for name, page in (("result", result), ("target", target)):
        if page.dtype != np.uint8:
            raise TypeError(
                f"expected a uint8 {name}, got {page.dtype}; round and clip to [0, 255] first"
            )
        if page.ndim not in (2, 3) or (page.ndim == 3 and page.shape[2] != 3):
            raise ValueError(
                f"expected a {name} of shape (H, W) or (H, W, 3), got {page.shape}; drop an alpha "
                "channel and measure pages one by one"
            )
    if result.shape != target.shape:
        raise ValueError(
            f"result {result.shape} and target {target.shape} differ in shape; cut padding off the "
            "result, and give both in grey or both in RGB"
        )
    if min(result.shape[:2]) < smallest:
        raise ValueError(
            f"expected at least {smallest}x{smallest} pixels, got {result.shape[0]}x"
            f"{result.shape[1]}; measure larger pages"
        )
