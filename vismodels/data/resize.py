"""The bicubic resize of the super-resolution field: antialiased, a = -0.5, as MATLAB's `imresize`.

Published scores rest on low-resolution images made this way. Other bicubics (torch and OpenCV:
a = -0.75, no antialiasing by default; Pillow: other borders) make other images and shift PSNR by
up to several dB. Kernel: Keys, "Cubic convolution interpolation for digital image processing",
IEEE TASSP 29 (1981).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_SUPPORT = 4.0  # width of the cubic kernel, in samples of the coarser grid

Border = Literal["symmetric", "replicate"]


def bicubic_resize(
    image: NDArray[Any],
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    border: Border = "symmetric",
) -> NDArray[Any]:
    """Return `image` resized with the bicubic kernel (a = -0.5), antialiased when it shrinks.

    The axis that shrinks more is resized first, rows first when equal. uint8 images are rounded
    (half up) and clipped to [0, 255] after each of the two passes; float images are neither.
    Sums run in float64 and in a fixed order: no linear-algebra library decides how ties round.

    Args:
        image: (H, W) or (H, W, C), uint8, float32 or float64.
        size: height and width of the result; the scales of the axes follow from it.
        scale: factor for both axes; the result has ceil(H * scale) x ceil(W * scale) pixels.
        border: how the image goes on outside: mirrored (MATLAB today) or with its edge pixels
            (older MATLAB, which made the stored pairs of Set5 and Set14). For x1/4 only the two
            outermost rows and columns of the result differ.

    Returns:
        Array of the dtype of `image`.

    Raises:
        TypeError: for another dtype.
        ValueError: for another shape, an empty image, or not exactly one of `size` and `scale`.
    """
    if image.dtype not in (np.uint8, np.float32, np.float64):
        raise TypeError(f"expected uint8, float32 or float64, got {image.dtype}; convert it first")
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f"expected a non-empty (H, W) or (H, W, C) image, got {image.shape}")
    height, width = image.shape[:2]
    if scale is not None and size is None and scale > 0:
        sizes = (_scaled(height, scale), _scaled(width, scale))
        scales = (float(scale), float(scale))
    elif size is not None and scale is None and min(size) > 0:
        sizes, scales = size, (size[0] / height, size[1] / width)
    else:
        raise ValueError(
            f"give either a positive size or a positive scale, got size={size}, scale={scale}"
        )
    result = image
    for axis in sorted((0, 1), key=lambda axis: scales[axis]):
        result = _resize_axis(result, axis, sizes[axis], scales[axis], border)
    return result


def cubic_kernel(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cubic convolution kernel with a = -0.5 at `x`; zero outside (-2, 2)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _scaled(length: int, scale: float) -> int:
    # In floats 100 * 0.07 = 7.000000000000001: take the error off before the ceiling.
    return int(np.ceil(np.round(length * scale, 9)))


def _resize_axis(
    image: NDArray[Any], axis: int, size: int, scale: float, border: Border
) -> NDArray[Any]:
    indices, weights = _taps(image.shape[axis], size, scale, border)
    source = np.moveaxis(image, axis, 0)
    column = (size,) + (1,) * (image.ndim - 1)
    total = np.zeros((size, *source.shape[1:]))
    for index, weight in zip(indices.T, weights.T, strict=True):
        total += weight.reshape(column) * source[index]
    if image.dtype == np.uint8:
        total = np.clip(np.floor(total + 0.5), 0, 255)
    return np.ascontiguousarray(np.moveaxis(total.astype(image.dtype), 0, axis))


def _taps(
    length: int, size: int, scale: float, border: Border
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return source indices and weights of every output sample, both (size, taps)."""
    shrink = min(scale, 1.0)  # antialiasing: the kernel is 1 / scale times wider when shrinking
    support = _SUPPORT / shrink
    centers = (np.arange(size) + 0.5) / scale - 0.5
    first = np.floor(centers - support / 2).astype(np.intp)
    indices = first[:, None] + np.arange(int(np.ceil(support)) + 2)
    weights = cubic_kernel((centers[:, None] - indices) * shrink)
    weights /= weights.sum(axis=1, keepdims=True)
    if border == "replicate":
        return np.clip(indices, 0, length - 1), weights
    folded = indices % (2 * length)  # ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    return np.where(folded < length, folded, 2 * length - 1 - folded), weights
