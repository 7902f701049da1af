"""The same prompts from the same noise, painted by one network after another."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from vismodels.data.array_files import read_arrays
from vismodels.figures import Picture, figure_to
from vismodels.methods.quest.score_stage import FLOAT, OTHER_NOISE, PROMPTS, SHOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = 1.05  # edge of an image
LETTERS = 22  # of a prompt in a line


def draw_rows(problem: str, arms: Sequence[str], stage: Path, folder: Path) -> Picture:
    """Draw the images of the float network and of arms into `images_<problem>.png`, a row each.

    Args:
        problem: its name.
        arms: that are shown, in order.
        stage: folder of the stage `score` of this problem.
        folder: where to draw.

    Raises:
        FileError: if the stored images are damaged.
    """
    arrays = read_arrays(stage / SHOWN)
    prompts = arrays[PROMPTS].tolist()
    rows = (FLOAT, OTHER_NOISE, *arms)
    file = f"images_{problem}.png"
    size = INCHES * len(prompts) + 1.2, INCHES * len(rows) + 0.6
    with figure_to(folder / file, *size) as figure:
        grid = figure.subplots(len(rows), len(prompts), squeeze=False)
        for row, (panels, name) in enumerate(zip(grid, rows, strict=True)):
            for axes, image, prompt in zip(panels, arrays[name], prompts, strict=True):
                _show(axes, image, textwrap.fill(prompt, LETTERS) if row == 0 else "")
            panels[0].set_ylabel(
                name.replace("_", "\n"), fontsize=8, rotation=0, ha="right", va="center"
            )
    return Picture(
        file=file,
        title=f"The same noise through every network, {problem}",
        caption="Test prompts, the first seed. The images of a column begin with the same noise, "
        "except in the second row, which shows how far apart two images of one prompt are without "
        "any quantization.",
        alt=f"Images of {len(prompts)} prompts in columns ({'; '.join(filter(None, prompts))}). "
        f"Rows from top to bottom: {', '.join(name.replace('_', ' ') for name in rows)}.",
    )


def _show(axes: "Axes", image: NDArray[Any], title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=6)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
