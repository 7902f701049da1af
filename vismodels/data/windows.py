"""Windows of test images that a report shows: which ones, cutting and drawing them. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from vismodels.config import Config, suggestion
from vismodels.data.manifest import SetName
from vismodels.figures import Picture, figure_to

if TYPE_CHECKING:
    from vismodels.data.pairs import PairSet

CROPS = "crops"
ORIGINAL = "original"
FIGURE_WIDTH = 7.0  # inches
COLUMNS = 3
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


def draw_windows(image: str, folder: Path, variants: Sequence[str], drawn: Path) -> Picture:
    """Draw one window as every variant shows it, side by side, into `crop_<image>.png`.

    Args:
        image: name of the test image.
        folder: of the scores, where `write_windows` wrote.
        variants: which ones, in the order of the panels.
        drawn: where to draw.

    Raises:
        FileError: if a window was not written.
    """
    from vismodels.data.images import read_image

    file = f"crop_{image}.png"
    pixels = {name: read_image(folder / CROPS / image / f"{name}.png") for name in variants}
    rows = math.ceil(len(variants) / COLUMNS)
    height, width = pixels[variants[0]].shape[:2]
    panel = FIGURE_WIDTH / COLUMNS
    with figure_to(drawn / file, FIGURE_WIDTH, rows * (panel * height / width + 0.25)) as figure:
        grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()  # `flat` runs only once
        for axes in grid:
            axes.set_axis_off()
        for axes, name in zip(grid, variants, strict=False):
            axes.imshow(pixels[name], interpolation="nearest")
            axes.set_title(name)
    return Picture(
        file=file,
        title=f"Window of the test photograph “{image}”",
        caption="The original and its reconstructions from the small image, first seed.",
        alt=f"The same window of {image} {len(variants)} times: {', '.join(variants)}.",
    )
