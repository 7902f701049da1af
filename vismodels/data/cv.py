"""The only import of OpenCV in the package: lazy, on one thread, with a helpful error.

OpenCV serves classical operations and baselines. The resize that makes data is in `resize.py`.
"""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class SystemLibraryError(ImportError):
    """OpenCV is installed, but a library of the operating system that it needs is missing."""


def opencv() -> ModuleType:
    """Return the module `cv2`, set to one thread.

    Raises:
        SystemLibraryError: if it cannot be loaded for want of a system library.
        ImportError: if it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        if ".so" not in str(error):
            raise
        raise SystemLibraryError(
            f"OpenCV cannot be loaded ({error}): it needs system libraries that slim machines "
            "lack: install libgl1 and libglib2.0-0 with the system's package manager (Debian: "
            "`apt-get install -y libgl1 libglib2.0-0`) or use opencv-python-headless in its place"
        ) from error
    cv2.setNumThreads(1)
    module: ModuleType = cv2
    return module


def lanczos_resize(image: NDArray[np.uint8], scale: int) -> NDArray[Any]:
    """Return `image` enlarged with OpenCV's 8x8 Lanczos kernel (`INTER_LANCZOS4`).

    Args:
        image: (H, W) or (H, W, 3), uint8.
        scale: whole factor, at least 1; OpenCV does not antialias, so shrinking would alias.

    Returns:
        uint8 array with `scale` times the rows and columns.

    Raises:
        TypeError: if the image is not uint8.
        ValueError: for a scale below 1.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"expected uint8, got {image.dtype}; round and clip to [0, 255] first")
    if scale < 1:
        raise ValueError(f"expected a scale of at least 1, got {scale}; shrink with bicubic_resize")
    cv2 = opencv()
    size = (image.shape[1] * scale, image.shape[0] * scale)
    result: NDArray[Any] = cv2.resize(image, size, interpolation=cv2.INTER_LANCZOS4)
    return result
