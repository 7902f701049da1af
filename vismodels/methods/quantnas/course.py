"""How a search decides: the probabilities of all candidates over the iterations."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vismodels.figures import COLOURS, Picture, figure_to
from vismodels.methods.quantnas.space import parse_candidate
from vismodels.nas.course import label_time
from vismodels.nas.genotype import Genotype
from vismodels.training.log import ScalarLog

# More hues, told apart by colour-blind readers, for spaces with many operations.
OPERATION_COLOURS = (*COLOURS, "#000000", "#882255", "#999933", "#888888")
BIT_STYLES: Mapping[int, Any] = {
    2: (0, (1, 1)),
    4: (0, (4, 1.5)),
    8: "-",
    16: (0, (6, 1, 1, 1)),
    32: (0, (1, 3)),
}


def probability_curves(
    log: ScalarLog, candidates: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, list[float]]]:
    """Return decision -> candidate -> probability over time, from the even start on.

    Args:
        log: of the search, with a curve `decision/candidate` for each.
        candidates: decision -> its candidates.
    """
    return {
        decision: {
            option: [1 / len(options), *log.curves[f"{decision}/{option}"]] for option in options
        }
        for decision, options in candidates.items()
    }


def draw_probabilities(
    name: str,
    seed: int,
    log: ScalarLog,
    genotype: Genotype,
    candidates: Mapping[str, Sequence[str]],
    folder: Path,
) -> Picture:
    """Draw the probabilities of all candidates into `probabilities_<name>.svg`, a panel each."""
    curves = probability_curves(log, candidates)
    time = [0, *log.iterations]
    parsed = [parse_candidate(option) for options in candidates.values() for option in options]
    operations = list(dict.fromkeys(operation for operation, _ in parsed))
    bits = list(dict.fromkeys(width for _, width in parsed))
    colours = {
        operation: OPERATION_COLOURS[number % len(OPERATION_COLOURS)]
        for number, operation in enumerate(operations)
    }
    columns = 3 if len(curves) <= 6 else 4 if len(curves) <= 12 else 5
    rows = math.ceil(len(curves) / columns)
    file = f"probabilities_{name}.svg"
    small = 6.2 if columns == 5 else 7.5
    with figure_to(folder / file, 1.8 * columns + 0.6, 0.75 + 1.55 * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in list(grid.ravel())[len(curves) :]:
            axes.set_axis_off()
        for axes, (decision, options) in zip(grid.ravel(), curves.items(), strict=False):
            for option, line in options.items():
                operation, width = parse_candidate(option)
                axes.plot(
                    time, line, color=colours[operation], linestyle=BIT_STYLES[width], linewidth=1.2
                )
            axes.set_title(f"{decision}\n{genotype.choices[decision]}", fontsize=small)
            axes.set_ylim(-0.03, 1.03)
            axes.tick_params(labelsize=7)
        label_time(grid, len(curves))
        figure.supylabel("probability", fontsize=8.5)
        figure.legend(
            handles=_handles(colours, bits),
            loc="outside lower center",
            ncols=4,
            fontsize=7.5,
        )
    certain = {decision: max(line[-1] for line in of.values()) for decision, of in curves.items()}
    ends = "; ".join(f"{d} {genotype.choices[d]} {p:.2f}" for d, p in certain.items())
    return Picture(
        file=file,
        title=f"How the search “{name}” decides",
        caption=f"Probability of every candidate over the iterations of the search, seed {seed}: "
        "one panel for each decision, headed by what was chosen; the operation gives the colour, "
        "the bits the style of the line. At the start all are equally probable.",
        alt=f"{len(curves)} line plots of probabilities. Chosen candidates and the largest "
        f"probability at the end: {ends}.",
    )


def _handles(colours: Mapping[str, str], bits: Sequence[int]) -> list[object]:
    from matplotlib.lines import Line2D

    operations = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    widths = [
        Line2D([], [], color="0.25", linestyle=BIT_STYLES[width], label=f"{width} bits")
        for width in bits
    ]
    return [*operations, *widths]
