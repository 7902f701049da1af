"""Pictures of the super-resolution example: curves of training and windows of test images."""

from collections.abc import Sequence
from pathlib import Path

from vismodels.data.windows import draw_windows
from vismodels.figures import Picture
from vismodels.methods.super_resolution.config import CLASSICAL, FiguresConfig
from vismodels.training.curves import draw_losses, draw_training, read_runs


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
    images = [crop.image for crop in config.crops]
    variants = [*CLASSICAL, *config.networks]
    return [
        draw_training(read_runs(trained, "validation.csv"), folder),
        draw_losses(read_runs(trained, "losses.csv"), folder),
        *(draw_windows(image, scored, variants, folder) for image in images),
    ]
