"""What happens to a page between paper and file: warp, uneven light, noise, JPEG.

Pure functions on RGB or grey images; randomness is a NumPy generator. Unless said otherwise images
are float32 in [0, 1], (H, W) or (H, W, 3), and stay so. Blur is in `blur.py`, the wear of old paper
in `wear.py`.
"""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from vismodels.config import Config
from vismodels.data.cv import opencv
from vismodels.data.ranges import Counts

Image = NDArray[np.float32]


def _in_jpeg_range(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1] <= 100:
        raise ValueError(f"expected JPEG qualities from 1 to 100, got [{value[0]}, {value[1]}]")
    return value


Qualities = Annotated[Counts, AfterValidator(_in_jpeg_range)]


class WarpConfig(Config):
    """How far a page may lie from straight; each value is drawn from [-limit, limit].

    Args:
        rotation: degrees.
        stretch: relative change of height and, apart from it, of width.
        shear: shift of columns per row.
    """

    rotation: float = Field(ge=0, le=45)
    stretch: float = Field(ge=0, le=0.5)
    shear: float = Field(ge=0, le=0.5)


# --- numbers -----------------------------------------------------------------------------------


def to_float(image: NDArray[np.uint8]) -> Image:
    """Return a uint8 image as float32 in [0, 1].

    Raises:
        TypeError: if the image is not uint8.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"expected uint8, got {image.dtype}; round and clip to [0, 255] first")
    return image.astype(np.float32) / np.float32(255)


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Return an image in [0, 1] as uint8, rounded; values outside are clipped."""
    levels: NDArray[np.uint8] = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return levels


def smooth_field(shape: tuple[int, int], cell: float, rng: np.random.Generator) -> Image:
    """Return a random field that varies over `cell` pixels and spans [0, 1] exactly.

    Independent numbers on a grid of that spacing, interpolated by cubics.

    Args:
        shape: (H, W).
        cell: spacing in pixels, at least 1.
        rng: source of the numbers.
    """
    if cell < 1:
        raise ValueError(f"expected a cell of at least 1 pixel, got {cell}")
    height, width = shape
    rows, columns = (max(2, round(size / cell) + 1) for size in shape)
    grid = rng.random((rows, columns), dtype=np.float32)
    cv2 = opencv()
    return _spanning_one(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC))


def over_channels(field: Image, image: Image) -> Image:
    """Return a field (H, W) in a shape that multiplies `image`, whatever its channels."""
    return field if image.ndim == 2 else field[:, :, None]


# --- geometry ----------------------------------------------------------------------------------


def draw_warp(
    shape: tuple[int, int], config: WarpConfig, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a small random affine map about the centre of an image.

    Args:
        shape: (H, W).
        config: limits.
        rng: source of the numbers.

    Returns:
        (2, 3) matrix that takes (column, row, 1) of a pixel to its column and row afterwards.
    """
    angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation))
    stretch = 1 + rng.uniform(-config.stretch, config.stretch, size=2)
    shear = rng.uniform(-config.shear, config.shear)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.array([[1, shear], [0, 1]]) @ np.diag(stretch)
    center = np.array([shape[1] - 1, shape[0] - 1]) / 2
    return np.column_stack([linear, center - linear @ center])


def warp(image: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[Any]:
    """Return `image` moved by an affine map, by cubic interpolation; edges are repeated.

    Args:
        image: (H, W) or (H, W, 3), uint8 or float32; the result is alike.
        matrix: (2, 3), as from `draw_warp`. Apply one matrix to the degraded and the clean image.
    """
    cv2 = opencv()
    warped: NDArray[Any] = cv2.warpAffine(
        image,
        matrix,
        (image.shape[1], image.shape[0]),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return warped if warped.dtype == np.uint8 else np.clip(warped, 0, 1)


# --- light, sensor, file -----------------------------------------------------------------------


def uneven_light(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Return `image` under light that falls off smoothly, from full to `1 - strength` of it.

    A slope in a random direction plus a broad cloud, in equal parts.

    Args:
        image: float32 in [0, 1].
        strength: loss of light at the darkest place, in [0, 1].
        rng: source of direction and cloud.
    """
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    rows = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    columns = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    slope = np.float32(np.sin(angle)) * rows + np.float32(np.cos(angle)) * columns
    shade = slope + smooth_field((height, width), max(height, width) / 2, rng)
    return image * over_channels(1 - np.float32(strength) * _spanning_one(shade), image)


def add_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Return `image` with independent Gaussian noise in every sample, clipped to [0, 1].

    Args:
        image: float32 in [0, 1].
        sigma: standard deviation in 8-bit levels.
        rng: source of the noise.
    """
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + noise * np.float32(sigma / 255), 0, 1)


def jpeg_round_trip(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return `image` as it comes back from a JPEG file.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        quality: 1 to 100, as the JPEG library counts.

    Raises:
        TypeError: if the image is not uint8.
        ValueError: for another quality.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"expected uint8, got {image.dtype}; convert it with to_uint8")
    if not 1 <= quality <= 100:
        raise ValueError(f"expected a JPEG quality from 1 to 100, got {quality}")
    cv2 = opencv()
    reversed_channels = np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image
    encoded = cv2.imencode(".jpg", reversed_channels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded: NDArray[np.uint8] = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    return np.ascontiguousarray(decoded[..., ::-1]) if image.ndim == 3 else decoded


def _spanning_one(field: Image) -> Image:
    low, high = float(field.min()), float(field.max())
    return (field - np.float32(low)) / np.float32(max(high - low, 1e-6))
