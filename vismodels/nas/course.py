"""How far searches have decided: the entropy of all decisions over the iterations."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vismodels.figures import COLOURS, Picture, figure_to
from vismodels.training.log import ScalarLog


def draw_entropy(logs: Mapping[str, Sequence[ScalarLog]], folder: Path) -> Picture:
    """Draw the entropy of all decisions over time into `entropy.svg`, a panel for each search.

    Args:
        logs: name of the search -> losses of each seed, with the curve `entropy`.
        folder: where to draw.
    """
    columns = min(4, len(logs))
    rows = math.ceil(len(logs) / columns)
    with figure_to(folder / "entropy.svg", 7.6, 0.6 + 1.6 * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for axes in list(grid.ravel())[len(logs) :]:
            axes.set_axis_off()
        for axes, (name, runs) in zip(grid.ravel(), logs.items(), strict=False):
            for log in runs:
                axes.plot(log.iterations, log.curves["entropy"], color=COLOURS[0], linewidth=1.0)
            axes.set_title(name, fontsize=7)
            axes.set_ylim(0, 1.06 * max(max(log.curves["entropy"]) for log in runs))
            axes.tick_params(labelsize=7)
        label_time(grid, len(logs))
        figure.supylabel("entropy (nats)", fontsize=8.5)
    ends = "; ".join(
        f"{name} from {runs[0].curves['entropy'][0]:.2f} to "
        + ", ".join(f"{log.curves['entropy'][-1]:.2f}" for log in runs)
        for name, runs in logs.items()
    )
    return Picture(
        file="entropy.svg",
        title="Entropy of the decisions",
        caption="Sum over all decisions of the entropy of their probabilities, over the iterations "
        "of the search, one line for each seed. At the start all candidates are equally probable; "
        "at 0 everything is decided. Each panel has its own scale from 0.",
        alt=f"{len(logs)} line plots of the entropy in nats, first and last value of each seed: "
        f"{ends}.",
    )


def label_time(grid: Any, used: int) -> None:
    """Label the time axis below each column of panels, of which the first so many are used."""
    columns = grid.shape[1]
    for number, axes in enumerate(grid.ravel()[:used]):
        if number + columns >= used:
            axes.set_xlabel("iteration", fontsize=7.5)
            axes.tick_params(labelbottom=True)
