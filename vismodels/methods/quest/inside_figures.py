"""What happens inside a quantized network: sensitive layers, activations, courses of finetuning."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from vismodels.figures import COLOURS, LINE_STYLES, Picture, draw_curves, figure_to
from vismodels.methods.quest.config import LAYER_SETS, Patterns
from vismodels.methods.quest.layer_sets import fitting
from vismodels.training.curves import WINDOWS, window_means
from vismodels.training.log import ScalarLog

NAMED = 10  # layers at most whose names are written
COLUMNS = 3  # of panels
SMALLEST = 1e-6  # error in percent that is drawn
# What a layer is, by the first pattern that fits its name; others are projections.
KINDS: Mapping[str, Patterns] = {
    "fed by the time": LAYER_SETS["wide"].temporal,
    "attention": (r".*\.attn\d\.to_.*",),
    "feed-forward": (r".*\.ff\.net\..*",),
    "convolution": (r"(.*\.)?conv\w*",),
    "projection": (".*",),
}


def draw_sensitivity(problem: str, arm: str, errors: Mapping[str, float], folder: Path) -> Picture:
    """Draw what every layer's quantization does alone into `sensitivity_<problem>.svg`.

    Args:
        problem: its name.
        arm: how the layers are quantized.
        errors: layer -> error of the network's output in percent, in the network's order.
        folder: where to draw.
    """
    groups = by_kind(errors)
    colours = {kind: COLOURS[number] for number, kind in enumerate(KINDS)}
    kind_of = {name: kind for kind, names in groups.items() for name in names}
    worst = sorted(errors, key=lambda name: errors[name], reverse=True)[:NAMED]
    file = f"sensitivity_{problem}.svg"
    with figure_to(folder / file, 9.0, 3.4) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        place = 0
        for kind, names in groups.items():
            heights = [max(errors[name], SMALLEST) for name in names]
            places = range(place, place + len(names))
            left.bar(places, heights, width=0.9, color=colours[kind], label=kind)
            place += len(names) + 2
        left.set_yscale("log")
        left.set_xticks([])
        left.set_xlabel("layers by kind, in the order the network lists them")
        left.set_ylabel("error of the output (%)")
        right.barh(
            range(len(worst)),
            [errors[name] for name in worst],
            color=[colours[kind_of[name]] for name in worst],
        )
        right.set_yticks(range(len(worst)), worst, fontsize=6)
        right.invert_yaxis()
        right.set_xlabel("error of the output (%)")
        for axes in (left, right):
            axes.set_axisbelow(True)
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    means = "; ".join(
        f"{kind} {fmean(errors[name] for name in names):.3g} %" for kind, names in groups.items()
    )
    return Picture(
        file=file,
        title=f"Which layers suffer, {problem}",
        caption=f"Squared error of the denoiser's output, in percent of its mean square, when one "
        f"layer alone is quantized as in {arm}, its weight and its input together; validation "
        f"prompts. Left all {len(errors)} layers, logarithmic scale; right the most sensitive.",
        alt=f"Bar plots. Means by kind: {means}. Most sensitive: "
        f"{', '.join(f'{name} ({errors[name]:.3g} %)' for name in worst[:3])}.",
    )


def by_kind(names: Mapping[str, float]) -> dict[str, list[str]]:
    """Return kind -> its layers, in their order; kinds without a layer are left out."""
    left, groups = list(names), {}
    for kind, patterns in KINDS.items():
        if found := fitting(left, patterns):
            groups[kind] = list(found)
            left = [name for name in left if name not in found]
    return groups


def draw_histograms(
    problem: str, histograms: Mapping[str, Mapping[str, NDArray[np.float64]]], folder: Path
) -> Picture:
    """Draw distributions of layers' inputs into `activations_<problem>.svg`, a panel for each.

    Args:
        problem: its name.
        histograms: arm -> layer -> (2, bins), left edges of equal bins and shares.
        folder: where to draw.
    """
    layers = list(next(iter(histograms.values())))
    rows = ceil(len(layers) / COLUMNS)
    file = f"activations_{problem}.svg"
    with figure_to(folder / file, 8.0, 0.5 + 2.0 * rows) as figure:
        grid = figure.subplots(rows, COLUMNS, squeeze=False)
        for axes in grid.flat[len(layers) :]:
            axes.set_axis_off()
        for axes, layer in zip(grid.flat, layers, strict=False):
            for number, (arm, found) in enumerate(histograms.items()):
                edges, shares = found[layer]
                width = edges[1] - edges[0]
                axes.stairs(
                    shares / width,
                    [*edges, edges[-1] + width],
                    color=COLOURS[number % len(COLOURS)],
                    linestyle=LINE_STYLES[number % len(LINE_STYLES)],
                    label=arm.replace("_", " "),
                )
            axes.set_yscale("log")
            axes.set_title(layer, fontsize=6)
        figure.supxlabel("input of the layer", fontsize=9)
        figure.supylabel("density", fontsize=9)
        handles = grid[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=len(histograms))
    ends = "; ".join(
        f"{layer} from {' and '.join(_told(found[layer]) for found in histograms.values())}"
        for layer in layers
    )
    names = [arm.replace("_", " ") for arm in histograms]
    return Picture(
        file=file,
        title=f"Activations before and after, {problem}",
        caption="Distribution of the inputs of feed-forward blocks' last layers, first seed of "
        f"{' and '.join(names)}, on the same validation inputs from all timesteps; the vertical "
        "scale is logarithmic. Few large values stretch the range that few levels have to cover.",
        alt=f"Histograms with logarithmic height of {len(layers)} layers. Range of inputs: {ends}.",
    )


def _told(histogram: NDArray[np.float64]) -> str:
    edges = histogram[0]
    return f"{edges[0]:.2g} to {2 * edges[-1] - edges[-2]:.2g}"


def draw_courses(problem: str, logs: Mapping[str, Sequence[ScalarLog]], folder: Path) -> Picture:
    """Draw the loss of every stage of finetuning into `courses_<problem>.svg`, a panel for each.

    Args:
        problem: its name.
        logs: name of arm and stage -> log of each seed, with the curve `loss`.
        folder: where to draw.
    """
    curves = {name: [window_means(log) for log in runs] for name, runs in logs.items()}
    rows = ceil(len(curves) / COLUMNS)
    file = f"courses_{problem}.svg"
    with figure_to(folder / file, 8.0, 0.5 + 2.0 * rows) as figure:
        grid = figure.subplots(rows, COLUMNS, squeeze=False)
        for axes in grid.flat[len(curves) :]:
            axes.set_axis_off()
        for axes, (name, runs) in zip(grid.flat, curves.items(), strict=False):
            draw_curves(axes, {name: runs})
            axes.get_legend().remove()
            axes.set_title(name, fontsize=8)
            axes.set_ylim(bottom=0)
        figure.supxlabel("iteration", fontsize=9)
        figure.supylabel("loss", fontsize=9)
    ends = "; ".join(
        f"{name} from {fmean(y[0] for _, y in runs):.3g} to {fmean(y[-1] for _, y in runs):.3g}"
        for name, runs in curves.items()
    )
    return Picture(
        file=file,
        title=f"How finetuning goes, {problem}",
        caption=f"Loss of every arm and stage, averaged over {WINDOWS} windows at most; a line for "
        "each seed. Losses of different arms are sums of different terms: their heights cannot be "
        "compared.",
        alt=f"Line plots of losses over iterations; means over seeds: {ends}.",
    )
