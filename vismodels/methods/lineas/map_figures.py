"""What maps do to each layer, and how their learning went."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from vismodels.figures import COLOURS, Picture, draw_curves, figure_to
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.metrics.scenes import ACCURACIES, LOWEST_ACCURACY
from vismodels.training.curves import WINDOWS, window_means
from vismodels.training.log import ScalarLog

NAMED = 60  # layers at most whose names are written
MARKERS = "os^Dv*"


def draw_layers(problem: str, arm: str, maps: Mapping[str, Maps], folder: Path) -> Picture:
    """Draw what the maps of an arm do to each layer into `layers_<problem>_<arm>.svg`.

    Args:
        problem: its name.
        arm: its name.
        maps: concept -> maps, of the same layers.
        folder: where to draw.
    """
    layers = list(next(iter(maps.values())))
    quantities: dict[str, Callable[[AffineMap], float]] = {
        "support (%)": lambda each: 100 * each.active().float().mean().item(),
        "mean |scale - 1|": lambda each: (each.scale - 1).abs().mean().item(),
        "mean |shift|": lambda each: each.shift.abs().mean().item(),
    }
    every = math.ceil(len(layers) / NAMED)
    file = f"layers_{problem}_{arm}.svg"
    with figure_to(folder / file, 8.0, 1.2 + 0.13 * len(layers) / every) as figure:
        panels = figure.subplots(1, len(quantities), sharey=True)
        for axes, (title, quantity) in zip(panels, quantities.items(), strict=True):
            for number, (concept, learnt) in enumerate(maps.items()):
                axes.plot(
                    [quantity(learnt[layer]) for layer in layers],
                    range(len(layers)),
                    color=COLOURS[number % len(COLOURS)],
                    marker=MARKERS[number % len(MARKERS)],
                    markersize=3,
                    linewidth=0.6,
                    label=concept,
                )
            axes.set_xlim(left=0)
            axes.set_xlabel(title)
        panels[0].set_yticks(range(0, len(layers), every), layers[::every], fontsize=6)
        panels[0].set_ylim(len(layers) - 0.5, -0.5)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    return Picture(
        file=file,
        title=f"What the maps of {arm} change, {problem}",
        caption="Layers from top to bottom in the order they run, first seed. Support is the share "
        "of units whose map is not the identity's.",
        alt="Dots for each layer. " + "; ".join(_told(name, each) for name, each in maps.items()),
    )


def _told(concept: str, maps: Maps) -> str:
    def change(each: AffineMap) -> float:
        return (each.scale - 1).abs().mean().item() + each.shift.abs().mean().item()

    most = max(maps, key=lambda layer: change(maps[layer]))
    return f"{concept}: support {100 * maps.support():.0f} %, most is changed at {most}"


def draw_loss(
    problem: str, arm: str, logs: Mapping[str, Sequence[ScalarLog]], folder: Path
) -> Picture:
    """Draw the transport loss over the iterations into `loss_<problem>_<arm>.svg`.

    Args:
        problem: its name.
        arm: its name.
        logs: concept -> log of each seed, with the curve `loss`.
        folder: where to draw.
    """
    curves = {concept: [window_means(log) for log in runs] for concept, runs in logs.items()}
    file = f"loss_{problem}_{arm}.svg"
    with figure_to(folder / file, 6.0, 3.2) as figure:
        axes = figure.subplots()
        draw_curves(axes, curves)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("iteration")
        axes.set_ylabel("transport loss")
    ends = "; ".join(
        f"{concept} from {fmean(y[0] for _, y in runs):.3g} to {fmean(y[-1] for _, y in runs):.3g}"
        for concept, runs in curves.items()
    )
    return Picture(
        file=file,
        title=f"How {arm} learns, {problem}",
        caption="Distance of steered to target activations, which is minimized, averaged over "
        f"{WINDOWS} windows at most; one line for each seed. Each iteration sees other prompts and "
        "other noise, and so it never reaches 0.",
        alt=f"Line plot of the loss over iterations; means over seeds: {ends}.",
    )


def draw_model_courses(
    losses: Sequence[ScalarLog], courses: Sequence[ScalarLog], folder: Path
) -> Picture:
    """Draw loss and attributes of the scene model over its iterations into `scene_model.svg`.

    Args:
        losses: of each run, with the curve `loss`.
        courses: of each run, with a curve for each of the `ACCURACIES`, and for the lowest.
        folder: where to draw.
    """
    with figure_to(folder / "scene_model.svg", 8.0, 3.2) as figure:
        left, right = figure.subplots(1, 2)
        for log in losses:
            left.plot(*window_means(log), color=COLOURS[0])
        left.set_ylabel("training loss")
        left.set_ylim(bottom=0)
        for log in courses:
            lowest = log.curves[LOWEST_ACCURACY.name]
            right.plot(log.iterations, lowest, color="0.8", linewidth=6, label="lowest")
        draw_curves(
            right,
            {
                name: [(log.iterations, log.curves[metric.name]) for log in courses]
                for name, metric in ACCURACIES.items()
            },
        )
        right.set_ylabel("read as the caption says (%)")
        for axes in (left, right):
            axes.set_xlabel("iteration")
    ends = {
        name: fmean(log.curves[metric.name][-1] for log in courses)
        for name, metric in ACCURACIES.items()
    }
    return Picture(
        file="scene_model.svg",
        title="Course of the scene model",
        caption=f"Left the loss, averaged over {WINDOWS} windows of equal length; right how often "
        "the judge reads an attribute of one-step images as their validation captions say. Nothing "
        "is selected by it: the last iteration counts.",
        alt="Line plots over iterations; last values: "
        f"{', '.join(f'{name} {value:.1f} %' for name, value in ends.items())}.",
    )
