"""Pictures of CovidNet3D: how searches decided, accuracy against size, where networks look."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from vismodels.figures import COLOURS, Picture, figure_to
from vismodels.methods.covidnet3d.config import CovidNet3DConfig, ProblemConfig
from vismodels.methods.covidnet3d.montage import draw_montage
from vismodels.methods.covidnet3d.score import STAGE
from vismodels.methods.covidnet3d.scoring_stage import SHOWN
from vismodels.metrics.classification import BALANCED_ACCURACY
from vismodels.metrics.general import PARAMETERS
from vismodels.nas.course import draw_entropy
from vismodels.results import SCORES, Score, read_scores
from vismodels.training.curves import read_runs
from vismodels.training.log import ScalarLog


def draw_figures(
    config: CovidNet3DConfig,
    *,
    searches: Sequence[Path],
    scored: Sequence[Path],
    folder: Path,
) -> list[Picture]:
    """Draw all pictures into `folder` and return their list.

    Args:
        config: problems and their networks.
        searches: folders of the stage `search`, of all problems.
        scored: folders of the stage `score`, in the order of the problems.
        folder: where to draw.
    """
    pictures = []
    for (name, problem), stage in zip(config.problems.items(), scored, strict=True):
        scores = read_scores(stage / SCORES)
        own = [path for path in searches if path.parents[1].name == name]
        if own:
            courses = read_runs(own, "course.csv")
            pictures += [
                _renamed(draw_entropy(read_runs(own, "losses.csv"), folder), name, folder),
                draw_decisions(name, problem, courses, folder),
            ]
        pictures.append(draw_sizes(name, scores, folder))
        if (stage / SHOWN).is_file():
            pictures += draw_montage(name, stage / SHOWN, folder)
    return pictures


def _renamed(picture: Picture, problem: str, folder: Path) -> Picture:
    """Return a picture whose file carries the name of the problem."""
    file = f"{Path(picture.file).stem}_{problem}{Path(picture.file).suffix}"
    (folder / picture.file).rename(folder / file)
    return Picture(file, f"{picture.title}, {problem}", picture.caption, picture.alt)


def draw_decisions(
    name: str, problem: ProblemConfig, courses: Mapping[str, Sequence[ScalarLog]], folder: Path
) -> Picture:
    """Draw the final probabilities of every decision into `decisions_<problem>.svg`.

    Args:
        name: of the problem.
        problem: its space.
        courses: search -> log of each seed, with a curve `decision/candidate` for each.
        folder: where to draw.
    """
    candidates = problem.space.candidates()
    operations = list(dict.fromkeys(o for names in candidates.values() for o in names))
    panels = [(f"{s}, run {i}", log) for s, logs in courses.items() for i, log in enumerate(logs)]
    told = []
    with figure_to(folder / f"decisions_{name}.svg", 7.4, 0.8 + 0.3 * len(candidates)) as figure:
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, log) in zip(grid, panels, strict=True):
            table = _final(log, candidates, operations)
            axes.imshow(table, vmin=0, vmax=1, cmap="Blues", aspect="auto")
            axes.grid(visible=False)
            axes.set_title(title, fontsize=7.5)
            axes.set_xticks(range(len(operations)), operations, rotation=90, fontsize=6.5)
            axes.set_yticks(range(len(candidates)), list(candidates), fontsize=6.5)
            chosen = [operations[int(np.nanargmax(row))] for row in table]
            told.append(f"{title}: {', '.join(chosen)}")
    return Picture(
        file=f"decisions_{name}.svg",
        title=f"What the searches decided, {name}",
        caption="Probability of every operation in every block at the end of the search, one panel "
        "for each run; dark is 1. Where a row is pale the search has not decided.",
        alt=f"Heat maps of probabilities. Most probable operations: {'; '.join(told)}.",
    )


def _final(
    log: ScalarLog, candidates: Mapping[str, Sequence[str]], operations: Sequence[str]
) -> NDArray[np.float64]:
    table = np.full((len(candidates), len(operations)), np.nan)
    for row, (decision, names) in enumerate(candidates.items()):
        for candidate in names:
            table[row, operations.index(candidate)] = log.curves[f"{decision}/{candidate}"][-1]
    return table


def draw_sizes(name: str, scores: Sequence[Score], folder: Path) -> Picture:
    """Draw balanced accuracy against parameters into `sizes_<problem>.svg`.

    Args:
        name: of the problem.
        scores: of the stage `score`; shortcuts, which have no parameters, become lines.
        folder: where to draw.
    """
    quality: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    for record in scores:
        if record.stage != STAGE:
            continue
        for value in record.values:
            if value.value is None:
                continue
            if value.metric.name == BALANCED_ACCURACY.name:
                quality.setdefault(record.variant, []).append(value.value)
            if value.metric.name == PARAMETERS.name:
                sizes.setdefault(record.variant, []).append(value.value)
    with figure_to(folder / f"sizes_{name}.svg", 7.0, 3.8) as figure:
        axes = figure.subplots()
        for number, (variant, values) in enumerate(quality.items()):
            color = COLOURS[number % len(COLOURS)]
            if variant in sizes:
                axes.scatter(sizes[variant], values, color=color, s=16)
                axes.annotate(
                    variant,
                    (fmean(sizes[variant]), fmean(values)),
                    xytext=(5, 3),
                    textcoords="offset points",
                    fontsize=7,
                )
            else:
                axes.axhline(values[0], color="0.6", linewidth=0.8, linestyle=":")
                axes.annotate(
                    variant, (0.005, values[0]), xycoords=("axes fraction", "data"), fontsize=6.5
                )
        axes.set_xscale("log")
        axes.set_xlabel("parameters")
        axes.set_ylabel("balanced accuracy, test (%)")
    ends = "; ".join(f"{v} {fmean(q):.1f} %" for v, q in quality.items())
    return Picture(
        file=f"sizes_{name}.svg",
        title=f"Accuracy against size, {name}",
        caption="Balanced accuracy on the test split over the number of parameters, one point for "
        "each seed; dotted lines are shortcuts that look at no picture.",
        alt=f"Scatter plot; mean balanced accuracy: {ends}.",
    )
