"""Pictures of the multi-level activation: its curve, courses, segmentations, violations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vismodels.data.array_files import read_arrays
from vismodels.data.brain_cases import LEVELS
from vismodels.figures import COLOURS, Picture, draw_curves, figure_to
from vismodels.methods.multilevel_activation.activation import (
    Steps,
    activate,
    derivative,
    thresholds,
)
from vismodels.methods.multilevel_activation.config import (
    MultiLevelActivationConfig,
    MultiLevelConfig,
    ProblemConfig,
)
from vismodels.methods.multilevel_activation.shown import SHOWN, Arrays
from vismodels.metrics.segmentation import REGIONS
from vismodels.training.curves import read_runs
from vismodels.training.log import ScalarLog

LEVEL_COLORS = ("#000000", "#009E73", "#E69F00", "#D55E00")  # of levels; 0 is not drawn
VIOLATION_COLORS = ("#56B4E9", "#F0E442")  # TC outside WT, ET outside TC


def draw_figures(
    config: MultiLevelActivationConfig,
    *,
    trained: Sequence[Path],
    scored: Sequence[Path],
    folder: Path,
) -> list[Picture]:
    """Draw all pictures into `folder` and return their list.

    Args:
        config: problems and their models.
        trained: folders `<problem>/<model>/<seed>` of the stage `train`, of all problems.
        scored: folders of the stage `score`, named as the problems.
        folder: where to draw.
    """
    pictures = []
    for stage in scored:
        name = stage.name
        problem = config.problems[name]
        pictures += draw_activation(name, problem, folder)
        own = [path for path in trained if path.parents[1].name == name]
        if own:  # others use the networks of another problem
            pictures.append(draw_courses(name, problem, read_runs(own, "validation.csv"), folder))
        arrays = read_arrays(stage / SHOWN)
        pictures += draw_montage(name, problem, arrays, folder)
        pictures += draw_violation(name, problem, arrays, folder)
    return pictures


def draw_activation(name: str, problem: ProblemConfig, folder: Path) -> list[Picture]:
    """Draw the first multi-level activation of a problem into `activation_<problem>.svg`."""
    heads = [variant.head for variant in problem.models.values()]
    found = [head for head in heads if isinstance(head, MultiLevelConfig)]
    if not found:
        return []
    steps = Steps(LEVELS, found[0].steepness, found[0].spacing)
    bounds = thresholds(steps, found[0].decode)
    width = max(abs(bound) for bound in bounds) + 6 / steps.steepness
    z = torch.linspace(-width, width, 601, dtype=torch.float64)
    with figure_to(folder / f"activation_{name}.svg", 6.0, 3.4) as figure:
        axes = figure.subplots()
        axes.plot(z, activate(z, steps), color=COLOURS[0], label="activation a(z)")
        slope = derivative(z, steps) / steps.steepness
        axes.plot(z, slope, color=COLOURS[1], linestyle="--", label="slope / k")
        for bound, region in zip(bounds, REGIONS, strict=True):
            axes.axvline(bound, color="0.6", linewidth=0.8, linestyle=":")
            axes.annotate(region, (bound, LEVELS - 1.1), fontsize=8, ha="right", rotation=90)
        axes.set_xlabel("logit z")
        axes.set_ylabel("level")
        axes.legend(loc="center right")
    return [
        Picture(
            file=f"activation_{name}.svg",
            title="The multi-level activation",
            caption=f"k = {steps.steepness:g}, h = {steps.spacing:g}. Plateaus are the levels "
            "healthy, edema, core, enhancing; right of a dotted line a voxel is in the region, "
            "so that a region always lies within the one before. Between steps the slope stays "
            "above 0, and a voxel can still change its level.",
            alt=f"Curve with three steps at {', '.join(f'{bound:.3f}' for bound in bounds)}, from "
            "0 to 3, and its slope with three peaks.",
        )
    ]


def draw_courses(
    name: str, problem: ProblemConfig, logs: Mapping[str, Sequence[ScalarLog]], folder: Path
) -> Picture:
    """Draw Dice of fixed validation patches over iterations into `courses_<problem>.svg`.

    Args:
        name: of the problem.
        problem: whose cases they are.
        logs: model -> log of each seed, with curves `dice_wt`, `dice_tc`, `dice_et`.
        folder: where to draw.
    """
    ends = []
    with figure_to(folder / f"courses_{name}.svg", 8.4, 3.2) as figure:
        panels = figure.subplots(1, len(REGIONS), sharey=True)
        for axes, region in zip(panels, REGIONS, strict=True):
            metric = f"dice_{region.lower()}"
            curves = {
                model: [(log.iterations, log.curves[metric]) for log in runs]
                for model, runs in logs.items()
            }
            draw_curves(axes, curves)
            axes.set_title(region)
            axes.set_xlabel("iteration")
            last = {model: [y[-1] for _, y in runs] for model, runs in curves.items()}
            ends += [f"{region} {m} {min(v):.2f} to {max(v):.2f}" for m, v in last.items()]
        panels[0].set_ylabel("Dice of validation patches")
    return Picture(
        file=f"courses_{name}.svg",
        title=f"How fast heads learn, {name}",
        caption="Dice over fixed patches of the validation cases together, one line for each seed. "
        "The last iteration counts, none is selected; the learning rates of the default run were "
        f"chosen by these patches (decision 0016).{_noted(problem)}",
        alt=f"Line plots over iterations; last values: {'; '.join(ends)}.",
    )


def draw_montage(name: str, problem: ProblemConfig, arrays: Arrays, folder: Path) -> list[Picture]:
    """Draw truth and predictions of the cases to show into `segmentations_<problem>.png`."""
    from matplotlib.colors import ListedColormap

    models, cases = problem.scoring.shown, problem.scoring.cases
    if not cases:
        return []
    columns = ("flair", "t1ce", "truth", *models)
    colors = ListedColormap(LEVEL_COLORS)
    with figure_to(
        folder / f"segmentations_{name}.png", 1.5 * len(columns), 1.75 * len(cases) + 0.3
    ) as figure:
        grid = figure.subplots(len(cases), len(columns), squeeze=False)
        for line, case in zip(grid, cases, strict=True):
            for axes, column in zip(line, columns, strict=True):
                gray = arrays[f"{case}/{'flair' if column == 'flair' else 't1ce'}"]
                axes.imshow(_upright(gray), cmap="gray", vmin=-2.5, vmax=3.5)
                if column not in ("flair", "t1ce"):
                    levels = _upright(arrays[f"{case}/{column}"])
                    drawn = np.ma.masked_equal(levels, 0)
                    axes.imshow(drawn, cmap=colors, vmin=0, vmax=LEVELS - 1, interpolation="none")
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(visible=False)
                if case == cases[0]:
                    axes.set_title(column.replace("_", " "), fontsize=8)
            line[0].set_ylabel(case, fontsize=7)
    return [
        Picture(
            file=f"segmentations_{name}.png",
            title=f"Truth and predictions, {name}",
            caption="The axial slice with most core of test cases. Green is edema, orange the core "
            f"without enhancement, red the enhancing tumor.{_noted(problem)}",
            alt=f"Brain slices of {len(cases)} cases: FLAIR, T1ce, the true levels, and those of "
            f"{', '.join(models)}.",
        )
    ]


def draw_violation(
    name: str, problem: ProblemConfig, arrays: Arrays, folder: Path
) -> list[Picture]:
    """Draw the worst violation of the nesting into `violation_<problem>.png`, if there is one."""
    keys = [key for key in arrays if key.startswith("violation/") and key.endswith("/image")]
    if not keys:
        return []
    key = keys[0].removesuffix("/image")
    _, model, case = key.split("/")
    core, enhancing = arrays[f"{key}/wrong"]
    with figure_to(folder / f"violation_{name}.png", 3.6, 4.2) as figure:
        axes = figure.subplots()
        axes.imshow(_upright(arrays[f"{key}/image"]), cmap="gray", vmin=-2.5, vmax=3.5)
        for mask, color in zip((core, enhancing), VIOLATION_COLORS, strict=True):
            drawn = np.zeros((*_upright(mask).shape, 4))
            drawn[_upright(mask)] = [*(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1.0]
            axes.imshow(drawn, interpolation="none")
        axes.set_axis_off()
    return [
        Picture(
            file=f"violation_{name}.png",
            title=f"Where the nesting is violated, {name}",
            caption=f"The slice in which most voxels do: {model}, {case}, over T1ce. Blue is core "
            f"outside of the whole tumor ({int(core.sum())} voxels), yellow enhancing tumor "
            f"outside of the core ({int(enhancing.sum())}).{_noted(problem)}",
            alt=f"Brain slice with {int(core.sum() + enhancing.sum())} marked voxels.",
        )
    ]


def _noted(problem: ProblemConfig) -> str:
    """Return what a caption says about the cases, as a further sentence."""
    note = problem.cases.note
    return f" {note.capitalize()}." if note else ""


def _upright(slice_: NDArray[Any]) -> NDArray[Any]:
    """Return an axial slice (right, front) as it is looked at: front up, patient's right left."""
    return np.asarray(slice_.T[::-1, ::-1])
