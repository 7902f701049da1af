"""Grids of images at rising strength, between the unsteered image and perfect removal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from vismodels.data.array_files import read_arrays
from vismodels.figures import Picture, figure_to
from vismodels.methods.lineas.config import EvaluationConfig
from vismodels.methods.lineas.scoring import PROMPTS, SHOWN, UNSTEERED, WITHOUT_WORDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = 1.0  # edge of an image


def draw_images(
    problem: str, concept: str, config: EvaluationConfig, stage: Path, folder: Path
) -> Picture:
    """Draw images of a concept into `images_<problem>_<concept>.png`.

    Args:
        problem: its name.
        concept: its name.
        config: which arms are shown, at which strengths.
        stage: folder of the stage `score` of this concept.
        folder: where to draw.

    Raises:
        FileError: if the stored images are damaged.
    """
    arrays = read_arrays(stage / SHOWN)
    strengths = sorted(config.strengths)
    prompts = arrays[PROMPTS].tolist()
    file = f"images_{problem}_{concept}.png"
    height = (INCHES * len(config.shown) + 0.5) * len(prompts)
    with figure_to(folder / file, INCHES * (len(strengths) + 2) + 1.0, height) as figure:
        parts = figure.subfigures(len(prompts), 1, squeeze=False)[:, 0]
        for number, (part, prompt) in enumerate(zip(parts, prompts, strict=True)):
            part.suptitle(f"“{prompt}”", fontsize=8)
            grid = part.add_gridspec(len(config.shown), len(strengths) + 2)
            for column, variant, title in (
                (0, f"{UNSTEERED}/0", "unsteered"),
                (len(strengths) + 1, f"{WITHOUT_WORDS}/1", "words removed"),
            ):
                _show(part.add_subplot(grid[:, column]), arrays[variant][number], title)
            for row, arm in enumerate(config.shown):
                for column, strength in enumerate(strengths):
                    axes = part.add_subplot(grid[row, column + 1])
                    title = f"strength {strength:g}" if row == 0 else ""
                    _show(axes, arrays[f"{arm}/{strength:g}"][number], title)
                    if column == 0:
                        axes.set_ylabel(arm.replace("_", "\n"), fontsize=7)
    return Picture(
        file=file,
        title=f"Taking out {concept}, {problem}",
        caption="Test prompts, all images of one of them from the same noise; the strength rises "
        "from left to right. Left the unsteered image, right the image of the prompt without the "
        "words for the concept: what perfect removal would give.",
        alt=f"Images of the prompts {_listed([repr(prompt) for prompt in prompts])}. Rows are "
        f"{_listed(config.shown)}, columns the strengths "
        f"{_listed([f'{strength:g}' for strength in strengths])}.",
    )


def _show(axes: "Axes", image: NDArray[Any], title: str) -> None:
    axes.imshow(image)  # enlarged to squares, made smaller smoothly
    axes.set_title(title, fontsize=7)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
