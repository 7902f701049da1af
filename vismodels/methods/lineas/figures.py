"""Pictures of LinEAS: images at rising strength, what is removed and kept, layers, courses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from vismodels.choices import read_choice
from vismodels.figures import COLOURS, LINE_STYLES, Picture, figure_to
from vismodels.methods.lineas.config import LineasConfig, LineasMethod, SteeringProblem
from vismodels.methods.lineas.image_grid import draw_images
from vismodels.methods.lineas.learning_stage import COURSES, read_maps
from vismodels.methods.lineas.map_figures import draw_layers, draw_loss, draw_model_courses
from vismodels.methods.lineas.scoring import UNSTEERED, WITHOUT_WORDS
from vismodels.metrics.steering import CLIP_SCORE, CONCEPT_PRESENCE, COUNTERFACTUAL_COSINE
from vismodels.results import SCORES, Metric, Score, read_scores
from vismodels.training.log import ScalarLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = dict[float, tuple[float, float]]  # strength -> presence, cosine to the counterfactual
MARKERS = "osD^v*PX"


def draw_figures(
    config: LineasConfig,
    *,
    models: Sequence[Path],
    learnt: Sequence[Path],
    scored: Sequence[Path],
    folder: Path,
) -> list[Picture]:
    """Draw all pictures into `folder` and return their list.

    Args:
        config: problems and their arms.
        models: folders of trained scene models.
        learnt: folders `<problem>/<arm>` of the stage `learn`.
        scored: folders `<problem>/<concept>` of the stage `score`.
        folder: where to draw.
    """
    pictures = []
    for name, problem in config.problems.items():
        stages = {path.name: path for path in scored if path.parent.name == name}
        concepts = {concept: stages[concept] for concept in problem.concepts}
        arms = {path.name: path for path in learnt if path.parent.name == name}
        pictures += [
            draw_images(name, concept, problem.evaluation, stage, folder)
            for concept, stage in concepts.items()
        ]
        scores = {concept: read_scores(stage / SCORES) for concept, stage in concepts.items()}
        pictures.append(draw_tradeoff(name, list(problem.arms), scores, folder))
        for arm, stage in arms.items():
            pictures += _of_learning(config, name, problem, arm, stage, folder)
    if models:
        logs = [
            [ScalarLog.read_csv(path / file) for path in models]
            for file in ("losses.csv", "validation.csv")
        ]
        pictures.append(draw_model_courses(logs[0], logs[1], folder))
    return pictures


def _of_learning(
    config: LineasConfig,
    name: str,
    problem: SteeringProblem,
    arm: str,
    stage: Path,
    folder: Path,
) -> list[Picture]:
    settings = problem.arms[arm]
    if not isinstance(read_choice(settings.grid, stage)[1], LineasMethod):
        return []
    maps = {
        concept: next(iter(read_maps(settings, stage, concept, config.seeds[:1]).values()))
        for concept in problem.concepts
    }
    logs = {
        concept: [
            ScalarLog.read_csv(stage / COURSES / f"{concept}_seed{seed}.csv")
            for seed in config.seeds[: settings.runs]
        ]
        for concept in problem.concepts
    }
    return [draw_layers(name, arm, maps, folder), draw_loss(name, arm, logs, folder)]


def draw_tradeoff(
    name: str, arms: Sequence[str], scores: Mapping[str, Sequence[Score]], folder: Path
) -> Picture:
    """Draw what is removed and what is kept into `tradeoff_<problem>.svg`, a column a concept.

    Args:
        name: of the problem.
        arms: their names.
        scores: concept -> records of the stage `score`.
        folder: where to draw.
    """
    told = []
    with figure_to(folder / f"tradeoff_{name}.svg", 2.5 * len(scores) + 1.2, 5.8) as figure:
        grid = figure.subplots(2, len(scores), squeeze=False, sharey="row")
        for (upper, lower), (concept, records) in zip(grid.T, scores.items(), strict=True):
            metric = _presence(records)
            start = points_of(records, UNSTEERED, metric)
            for number, arm in enumerate(arms):
                runs = points_of(records, arm, metric)
                last = _draw_arm(upper, lower, number, arm, [start[s] | runs[s] for s in runs])
                told.append(f"{concept}, {arm}: {last[0]:.3g} and {last[1]:.3f}")
            ideal = points_of(records, WITHOUT_WORDS, metric)
            for ends, marker, label in ((start, "s", UNSTEERED), (ideal, "*", WITHOUT_WORDS)):
                points = [point for found in ends.values() for point in found.values()]
                point = [fmean(each) for each in zip(*points, strict=True)]
                upper.plot(*point, f"k{marker}", label=label.replace("_", " "), zorder=3)
            upper.set_title(concept)
            upper.set_xlabel(_with_unit(metric))
            lower.set_xlabel("strength")
        grid[0, 0].set_ylabel(COUNTERFACTUAL_COSINE.title)
        grid[1, 0].set_ylabel(_with_unit(metric))
        figure.legend(
            *grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8
        )
    return Picture(
        file=f"tradeoff_{name}.svg",
        title=f"What is removed and what is kept, {name}",
        caption="Above: similarity to the image of the prompt without the concept and of the same "
        "noise, over the presence of the concept, at rising strength; every curve begins at the "
        "square, the star is perfect removal, and upper left is better. Below: presence over "
        "strength. Thin lines are seeds, thick ones their means.",
        alt=f"Line plots; presence and cosine at the largest strength: {'; '.join(told)}.",
    )


def _draw_arm(
    upper: "Axes", lower: "Axes", number: int, arm: str, runs: Sequence[Points]
) -> tuple[float, float]:
    """Draw the curves of an arm and of its seeds; return presence and cosine of the last mean."""
    style: dict[str, Any] = {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
    }
    thick: dict[str, Any] = {
        "linewidth": 1.6,
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
    }
    strengths = sorted(runs[0])
    presences = [[run[strength][0] for strength in strengths] for run in runs]
    cosines = [[run[strength][1] for strength in strengths] for run in runs]
    if len(runs) > 1:
        for presence, cosine in zip(presences, cosines, strict=True):
            upper.plot(presence, cosine, **style, linewidth=0.6, alpha=0.6)
            lower.plot(strengths, presence, **style, linewidth=0.6, alpha=0.6)
    x, y = ([fmean(each) for each in zip(*v, strict=True)] for v in (presences, cosines))
    upper.plot(x, y, **style, **thick, label=arm.replace("_", " "))
    lower.plot(strengths, x, **style, **thick)
    return x[-1], y[-1]


def points_of(records: Sequence[Score], variant: str, presence: Metric) -> dict[int, Points]:
    """Return seed -> what a variant does at each strength.

    Args:
        records: of the stage `score`, of one concept.
        variant: an arm, or what it is compared with.
        presence: the metric of the concept's presence.
    """
    found: dict[int, Points] = {}
    for record in records:
        if record.variant == variant and "strength" in record.condition:
            x, y = (record.value(m.name).value or 0.0 for m in (presence, COUNTERFACTUAL_COSINE))
            found.setdefault(record.seed or 0, {})[float(record.condition["strength"])] = (x, y)
    return found


def _presence(records: Sequence[Score]) -> Metric:
    metrics = [value.metric for record in records for value in record.values]
    names = (CONCEPT_PRESENCE.name, CLIP_SCORE.name)
    return next(metric for metric in metrics if metric.name in names)


def _with_unit(metric: Metric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title
