"""Windows of Hounsfield units as inputs of networks, and volumes in another size. Torch-free."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray


def centered(center: float, width: float) -> tuple[float, float]:
    """Return the limits of a window as radiologists name it, by its center and its width."""
    return center - width / 2, center + width / 2


# Name -> limits in Hounsfield units. `lung` goes from air to spongy bone; `lung_display` is what
# radiologists set to look at lungs.
WINDOWS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"lung": (-1000.0, 400.0), "lung_display": centered(-600.0, 1500.0)}
)


def window(hu: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Return `hu` clipped to a window and scaled to [-1, 1].

    Args:
        hu: any shape, Hounsfield units.
        low: becomes -1, and everything below.
        high: becomes 1, and everything above.

    Raises:
        ValueError: unless `low` is below `high`.
    """
    if not low < high:
        raise ValueError(f"a window goes from low to high, got low={low} and high={high}")
    clipped = np.clip(hu.astype(np.float32), low, high)
    return (2 * (clipped - low) / (high - low) - 1).astype(np.float32)


def resize_volume(volume: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return `volume` in another shape that covers the same space.

    Axes that shrink become means over the part of space each new voxel covers (scikit-image's
    `resize_local_mean`); axes that grow are interpolated linearly between voxel centers (SciPy's
    `zoom`). The outer faces stay where they are, as with `align_corners=False` of PyTorch: not the
    centers of the corner voxels.

    Args:
        volume: (D, H, W).
        shape: of the result.

    Raises:
        ValueError: unless both have three positive sizes.
    """
    from scipy.ndimage import zoom
    from skimage.transform import resize_local_mean

    if volume.ndim != 3 or len(shape) != 3 or min(*volume.shape, *shape) < 1:
        raise ValueError(f"expected (D, H, W) and a shape of three, got {volume.shape} and {shape}")
    result = volume.astype(np.float32)
    smaller = tuple(np.minimum(volume.shape, shape).tolist())
    if smaller != volume.shape:
        result = resize_local_mean(  # type: ignore[no-untyped-call]
            result, smaller, preserve_range=True
        )
    if smaller != tuple(shape):
        factors = np.divide(shape, smaller)
        result = zoom(result, factors, order=1, mode="nearest", grid_mode=True)
    return np.asarray(result, np.float32)
