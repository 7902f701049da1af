"""Windows of test images that a report shows: which ones, and cutting them. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from vismodels.config import Config, suggestion
from vismodels.data.manifest import SetName

if TYPE_CHECKING:
    from vismodels.data.pairs import PairSet

CROPS = "crops"
ORIGINAL = "original"
Image: TypeAlias = NDArray[np.uint8]
Enlarge: TypeAlias = Callable[[Image], Image]


class Crop(Config):
    """A window of an HR test image that the report shows; pixels."""

    set: SetName
    image: str
    top: NonNegativeInt
    left: NonNegativeInt
    height: PositiveInt
    width: PositiveInt


def cut_windows(
    crops: Sequence[Crop], variants: Mapping[str, Enlarge], tests: Mapping[str, PairSet]
) -> dict[tuple[str, str], Image]:
    """Return (image, variant) -> pixels of each window, the original first.

    Args:
        crops: the windows.
        variants: name -> enlarging function.
        tests: name of the set -> its test pairs.

    Raises:
        ValueError: if a window does not lie within its image, or names no image or set.
    """
    windows: dict[tuple[str, str], Image] = {}
    for crop in crops:
        if crop.set not in tests:
            raise ValueError(f"a crop names the set {crop.set!r}{suggestion(crop.set, tests)}")
        (pair,) = tests[crop.set].subset([crop.image])
        bottom, right = crop.top + crop.height, crop.left + crop.width
        if bottom > pair.hr.shape[0] or right > pair.hr.shape[1]:
            raise ValueError(
                f"the crop of {crop.image} ends at row {bottom}, column {right}, but the image is "
                f"{pair.hr.shape[0]}x{pair.hr.shape[1]}; make it smaller or move it"
            )
        shown = {ORIGINAL: pair.hr} | {name: run(pair.lr) for name, run in variants.items()}
        for name, image in shown.items():
            windows[crop.image, name] = image[crop.top : bottom, crop.left : right]
    return windows


def write_windows(crops: Mapping[tuple[str, str], Image], folder: Path) -> None:
    """Write each window as `crops/<image>/<variant>.png` below `folder`."""
    from vismodels.data.images import write_png

    for (image, variant), pixels in crops.items():
        write_png(folder / CROPS / image / f"{variant}.png", pixels)
