"""Image files as uint8 RGB arrays, and the few exact operations on such arrays."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vismodels.files import FileError, atomic_path


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """Return the pixels of an image file as (H, W, 3) uint8 RGB, exactly as they are stored.

    Grey is replicated to three channels; alpha is dropped, without blending; palettes are looked
    up; of 16-bit samples the high byte is kept; of several frames the first. Colour profiles and
    the EXIF orientation are ignored, so that the array depends on the stored pixels only.

    Raises:
        FileError: if the file is missing, damaged, truncated, no image, or holds 32-bit samples.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith("I;16"):
                high = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(high[:, :, None], 3, axis=2)
            if image.mode in ("I", "F"):
                raise FileError(
                    f"{path}: holds 32-bit samples (Pillow mode {image.mode}); "
                    "save it with 8 or 16 bits a sample"
                )
            return np.array(image.convert("RGB"))
    except FileError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileError(f"{path}: cannot be read as an image ({error}); fetch it again") from error


def write_png(path: Path | str, image: NDArray[np.uint8]) -> None:
    """Write a (H, W) or (H, W, 3) uint8 array as PNG, whole or not at all.

    The file holds pixels only (no times, no software names): equal arrays make equal files as
    long as the compression library is the same.

    Raises:
        TypeError: if the array is not uint8.
        ValueError: for another shape.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"{path}: expected uint8, got {image.dtype}; round and clip to [0, 255]")
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ValueError(f"{path}: expected (H, W) or (H, W, 3), got {image.shape}")
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", compress_level=6)


def crop_to_multiple(image: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Return `image` without the last rows and columns that exceed a multiple of `multiple`.

    Args:
        image: (H, W) or (H, W, C).
        multiple: usually the scale of a super-resolution network.

    Raises:
        ValueError: if the image is smaller than `multiple`.
    """
    height, width = image.shape[:2]
    if multiple < 1 or min(height, width) < multiple:
        raise ValueError(f"a {height}x{width} image has no crop that is a multiple of {multiple}")
    return image[: height - height % multiple, : width - width % multiple]


def box_shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return the means of `factor` x `factor` blocks, rounded half up.

    Takes the traces of JPEG compression out of a photograph before it serves as ground truth.
    Rows and columns beyond the last whole block are dropped.

    Args:
        image: (H, W) or (H, W, C), uint8.
        factor: edge of a block in pixels.

    Raises:
        ValueError: if the image is smaller than one block.
    """
    image = crop_to_multiple(image, factor)
    height, width = image.shape[0] // factor, image.shape[1] // factor
    blocks = image.reshape(height, factor, width, factor, *image.shape[2:])
    area = factor * factor
    total = blocks.sum(axis=(1, 3), dtype=np.int64)
    means: NDArray[np.uint8] = ((2 * total + area) // (2 * area)).astype(np.uint8)
    return means
