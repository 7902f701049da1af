"""Folders of PNG or TIFF images that are the slices of one scan. Torch-free.

Such images hold grey levels, not Hounsfield units. All slices are divided by one number, the
maximum of the stack: dividing each slice by its own, as the published preparation of COVID-CTset
does, gives the same tissue another level in every slice.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vismodels.files import FileError

SUFFIXES = (".png", ".tif", ".tiff")
_SIDES = ("LR", "PA", "IS")


@dataclass(frozen=True)
class SliceGeometry:
    """What images of slices cannot say themselves.

    Args:
        axes: towards which side of the body the slices follow one another, the rows of an image
            and its columns: three letters of L, R, P, A, I (feet) and S (head). `SPL` is the
            order of `Scan`; `IPL` begins at the head.
        spacing: millimetres from slice to slice, row to row and column to column.

    Raises:
        ValueError: if the letters do not name three different axes, or a distance is not positive.
    """

    axes: str
    spacing: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.axes) != 3 or any(
            sum(letter in side for letter in self.axes) != 1 for side in _SIDES
        ):
            raise ValueError(
                f"expected one letter each of L/R, P/A and I/S, e.g. 'SPL', got {self.axes!r}"
            )
        if len(self.spacing) != 3 or not all(0 < size < np.inf for size in self.spacing):
            raise ValueError(f"expected three positive distances in mm, got {self.spacing}")

    def affine(self) -> NDArray[np.float64]:
        """Return (4, 4), index (slice, row, column) -> mm to the right, front and top.

        The first pixel of the first slice is the origin.
        """
        from nibabel.orientations import axcodes2ornt

        result = np.zeros((4, 4))
        # For each axis: which of the body's it is, and the sign.
        orientation = axcodes2ornt(tuple(self.axes))  # type: ignore[no-untyped-call]
        result[orientation[:, 0].astype(int), range(3)] = orientation[:, 1] * self.spacing
        result[3, 3] = 1.0
        return result


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts names as people count: `slice 2` before `slice 10`.

    Names that differ in zeros before a number only have equal keys.
    """
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def read_slice_images(
    folder: Path, geometry: SliceGeometry
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the images of a folder as (slices, rows, columns) in [0, 1], and their affine.

    Args:
        folder: holds images of one size and depth and nothing else; hidden files do not count.
        geometry: of the slices in the natural order of their names.

    Raises:
        FileError: for other files, damaged images, colours, several frames, images of different
            size or depth, two names of one place, or a stack without any light.
    """
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    strangers = sorted(path.name for path in paths if path.suffix.lower() not in SUFFIXES)
    if strangers:
        raise FileError(f"{folder}: holds images and {strangers[:3]}; leave the slices alone in it")
    keys = {path: natural_key(path.stem) for path in paths}
    paths.sort(key=lambda path: (keys[path], path.name))
    for path, following in pairwise(paths):
        if keys[path] == keys[following]:
            raise FileError(
                f"{folder}: {path.name} and {following.name} are one place in the stack; "
                "remove one or rename them"
            )
    slices = [_grey_levels(path) for path in paths]
    for path, levels in zip(paths, slices, strict=True):
        if (levels.shape, levels.dtype) != (slices[0].shape, slices[0].dtype):
            raise FileError(
                f"{path}: is {levels.shape} {levels.dtype}, but {paths[0].name} is "
                f"{slices[0].shape} {slices[0].dtype}; slices of a scan are alike"
            )
    stack = np.stack(slices)
    largest = int(stack.max())
    if largest == 0:
        raise FileError(f"{folder}: all slices are black")
    return (stack / np.float32(largest)).astype(np.float32), geometry.affine()


def _grey_levels(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            image.load()
            mode = image.mode
            levels = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileError(f"{path}: cannot be read as an image ({error}); fetch it again") from error
    if frames > 1:
        raise FileError(f"{path}: holds {frames} frames; save each slice as a file of its own")
    if mode == "RGB" and (levels == levels[:, :, :1]).all():
        return np.ascontiguousarray(levels[:, :, 0])
    if mode == "L":
        return levels
    if mode.startswith("I;16"):
        return levels.astype(np.uint16)
    raise FileError(f"{path}: expected grey with 8 or 16 bits, got Pillow's mode {mode}")
