"""Pictures of the super-resolution example: curves of training and windows of test images."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from vismodels.data.images import read_image
from vismodels.figures import Picture, draw_curves, figure_to
from vismodels.methods.super_resolution.config import CLASSICAL, FiguresConfig
from vismodels.results import SCORES, read_scores
from vismodels.training.log import ScalarLog

FIGURE_WIDTH = 7.0  # inches
COLUMNS = 3
WINDOWS = 32  # points of a loss curve


def draw_figures(
    config: FiguresConfig, trained: Sequence[Path], scored: Path, folder: Path
) -> list[Picture]:
    """Draw all pictures of the example into `folder` and return their list.

    Args:
        config: names of the networks, and the windows that were cut.
        trained: folders of the stage `train`.
        scored: folder of the stage `score`.
        folder: where to draw.
    """
    losses: dict[str, list[ScalarLog]] = {}
    validation: dict[str, list[ScalarLog]] = {}
    for path in trained:
        (record,) = read_scores(path / SCORES)
        losses.setdefault(record.variant, []).append(ScalarLog.read_csv(path / "losses.csv"))
        validation.setdefault(record.variant, []).append(
            ScalarLog.read_csv(path / "validation.csv")
        )
    images = [crop.image for crop in config.crops]
    variants = [*CLASSICAL, *config.networks]
    return [
        draw_training(validation, folder),
        draw_losses(losses, folder),
        *(draw_crops(image, scored / "crops" / image, variants, folder) for image in images),
    ]


def draw_training(logs: Mapping[str, Sequence[ScalarLog]], folder: Path) -> Picture:
    """Draw validation PSNR-Y over iterations, one line per network and seed."""
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
    """Draw the training loss over iterations, as means over windows, one line per run."""
    curves = {name: [_windows(log) for log in runs] for name, runs in logs.items()}
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


def _windows(log: ScalarLog) -> tuple[list[int], list[float]]:
    """Return the last iteration and the mean loss of each window."""
    length = math.ceil(len(log) / WINDOWS)
    starts = range(0, len(log), length)
    ends = [log.iterations[min(start + length, len(log)) - 1] for start in starts]
    return ends, [fmean(log.curves["loss"][start : start + length]) for start in starts]


def draw_crops(image: str, crops: Path, variants: Sequence[str], folder: Path) -> Picture:
    """Draw one window of a test image as every variant shows it, side by side."""
    file = f"crop_{image}.png"
    rows = math.ceil(len(variants) / COLUMNS)
    height, width = read_image(crops / f"{variants[0]}.png").shape[:2]
    panel = FIGURE_WIDTH / COLUMNS
    with figure_to(folder / file, FIGURE_WIDTH, rows * (panel * height / width + 0.25)) as figure:
        grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()  # `flat` runs only once
        for axes in grid:
            axes.set_axis_off()
        for axes, variant in zip(grid, variants, strict=False):
            axes.imshow(read_image(crops / f"{variant}.png"), interpolation="nearest")
            axes.set_title(variant)
    return Picture(
        file=file,
        title=f"Window of the test photograph “{image}”",
        caption="The original and its reconstructions from the small image, first seed.",
        alt=f"The same window of {image} {len(variants)} times: {', '.join(variants)}.",
    )
