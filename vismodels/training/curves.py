"""Pictures of training: quality on validation images and loss, over iterations."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from vismodels.figures import Picture, draw_curves, figure_to
from vismodels.results import SCORES, read_scores
from vismodels.training.log import ScalarLog

WINDOWS = 32  # points of a loss curve


def read_runs(folders: Sequence[Path], file: str) -> dict[str, list[ScalarLog]]:
    """Return variant -> the log of each run, of stage folders that hold one score record each.

    Args:
        folders: in the order of the seeds.
        file: name of the log in each of them.

    Raises:
        FileError: if a folder has no such log.
    """
    runs: dict[str, list[ScalarLog]] = {}
    for folder in folders:
        (record,) = read_scores(folder / SCORES)
        runs.setdefault(record.variant, []).append(ScalarLog.read_csv(folder / file))
    return runs


def draw_training(logs: Mapping[str, Sequence[ScalarLog]], folder: Path) -> Picture:
    """Draw validation PSNR-Y over iterations into `training.svg`, a line per network and seed.

    Args:
        logs: name of the network -> log of each seed, with the curve `psnr_y`.
        folder: where to draw.
    """
    curves = {
        name: [(log.iterations, log.curves["psnr_y"]) for log in runs]
        for name, runs in logs.items()
    }
    with figure_to(folder / "training.svg") as figure:
        axes = figure.subplots()
        draw_curves(axes, curves)
        axes.set_xlabel("iteration")
        axes.set_ylabel("validation PSNR-Y (dB)")
    last = {name: [y[-1] for _, y in runs] for name, runs in curves.items()}
    ends = ", ".join(f"{name} {min(v):.2f} to {max(v):.2f} dB" for name, v in last.items())
    return Picture(
        file="training.svg",
        title="Course of training",
        caption="PSNR-Y on the validation photographs while training, one line per seed. "
        "Nothing is selected by it: the last iteration counts.",
        alt=f"Line plot of validation PSNR over iterations; final values: {ends}.",
    )


def draw_losses(logs: Mapping[str, Sequence[ScalarLog]], folder: Path) -> Picture:
    """Draw the training loss into `losses.svg`, as means over windows, a line per run.

    Args:
        logs: name of the network -> log of each seed, with the curve `loss`.
        folder: where to draw.
    """
    curves = {name: [window_means(log) for log in runs] for name, runs in logs.items()}
    with figure_to(folder / "losses.svg") as figure:
        axes = figure.subplots()
        draw_curves(axes, curves)
        axes.set_yscale("log")
        axes.set_xlabel("iteration")
        axes.set_ylabel("training loss (mean absolute error)")
    last = {name: [y[-1] for _, y in runs] for name, runs in curves.items()}
    ends = ", ".join(f"{name} {min(v):.4f} to {max(v):.4f}" for name, v in last.items())
    return Picture(
        file="losses.svg",
        title="Training loss",
        caption=f"Mean absolute error of the patches, averaged over {WINDOWS} windows of equal "
        "length, one line per seed.",
        alt=f"Line plot of the training loss over iterations; last window: {ends}.",
    )


def window_means(log: ScalarLog) -> tuple[list[int], list[float]]:
    """Return the last iteration and the mean of the curve `loss` in each of 32 equal windows."""
    length = math.ceil(len(log) / WINDOWS)
    starts = range(0, len(log), length)
    ends = [log.iterations[min(start + length, len(log)) - 1] for start in starts]
    return ends, [fmean(log.curves["loss"][start : start + length]) for start in starts]
