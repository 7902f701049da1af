"""Train predictor and denoiser from scratch, jointly, and keep the averaged weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vismodels.data.pages import PagePair
from vismodels.methods.nafdpm.config import CHANNELS, Task, TrainConfig
from vismodels.methods.nafdpm.fitting import Run, Trained, fit_and_record
from vismodels.methods.nafdpm.levels import leveled_pair
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.optimization import Optimization
from vismodels.methods.nafdpm.patches import page_batches
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.state import TrainState


def train(
    config: TrainConfig,
    training: Sequence[PagePair],
    validation: Sequence[PagePair],
    *,
    task: Task,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> Trained:
    """Return a model trained on random patches of `training`.

    Models trained with one seed see the same patches in the same order. The last iteration counts:
    nothing is selected, the validation pages only show the course.

    Args:
        config: sizes, diffusion, objective, training.
        training: pages to learn from.
        validation: pages restored at intervals, by the averaged weights, with one step.
        task: deblurring (RGB) or binarization (grey).
        name: of the model, in its score record.
        seed: of the weights, the patches and the noise.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        ValueError: if there is no page.
        FloatingPointError: if the loss is not finite.
    """
    settings, variant = config.settings, config.variant
    model = PredictAndRefine(CHANNELS[task], variant.network, variant.diffusion)
    model.initialize_(seed)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimization = Optimization(model, settings.optimizer, settings.iterations)
    patches, noise = (generator(seed, "nafdpm", what) for what in ("patches", "noise"))
    losses, course = ScalarLog(), ScalarLog()
    state = TrainState(
        **optimization.parts(), patches=patches, noise=noise, losses=losses, course=course
    )

    def step(batch: tuple[Tensor, Tensor]) -> Mapping[str, float]:
        degraded, clean = (images.to(device) for images in batch)
        alone = state.iteration < settings.predictor_iterations
        estimate = model(degraded, clean, variant.objective, noise, predictor_only=alone)
        optimization.update(estimate.losses["loss"], state.iteration + 1)
        return {name: estimate.losses[name].item() for name in ("loss", "predictor")}

    batches = page_batches(
        [leveled_pair(page) for page in training] if model.page_levels else training,
        patches,
        batch_size=settings.batch_size,
        patch=settings.patch,
        channels=CHANNELS[task],
        augmentation=settings.augmentation,
    )
    pipeline = NAFDPMPipeline.from_model(
        optimization.averaged, task, max(settings.patch), settings.threshold
    )
    return fit_and_record(
        step,
        batches,
        state,
        losses=losses,
        course=course,
        pipeline=pipeline,
        validation=validation,
        settings=settings,
        run=Run("nafdpm_train", name, seed, config.pages.validation),
        checkpoint_dir=checkpoint_dir,
    )
