"""Train one trunk with one head on patches, and watch its Dice on fixed ones.

Hu et al. (2018), arXiv 1810.09488. All heads of one seed start from the same trunk and see the same
patches. The last weights count: no iteration is selected. The Dice of fixed validation patches is
the course; the learning rates of the default run were chosen by it (decision 0016).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from vismodels.data.brain_cases import LEVELS, BrainCase
from vismodels.methods.multilevel_activation.build import build_head, build_trunk
from vismodels.methods.multilevel_activation.config import TrainConfig, TrainingSettings
from vismodels.methods.multilevel_activation.heads import Head, NestedSegmenter
from vismodels.methods.multilevel_activation.losses import level_weights
from vismodels.methods.multilevel_activation.nesting import region_masks
from vismodels.methods.multilevel_activation.patches import (
    Patch,
    PatchSource,
    fixed_patches,
    patch_batches,
)
from vismodels.metrics.general import PARAMETERS, TRAIN_LOSS
from vismodels.metrics.learning_speed import LEARNING_SPEED, learning_speed
from vismodels.metrics.segmentation import LEVEL_WEIGHTS, PATCH_DICE, REGIONS
from vismodels.nn.modes import evaluation_mode
from vismodels.results import Score, Value
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit_to_milestones
from vismodels.training.noise import global_noise
from vismodels.training.schedule import exponential_epochs, warmup_poly
from vismodels.training.state import TrainState

STAGE = "multilevel_train"
VALIDATION_BATCH = 4
EPSILON = 1.0  # voxels; a region that no patch has scores 1 where nothing is predicted


@dataclass(frozen=True)
class Trained:
    """What training gives: the network below the head, its curves, its record."""

    network: nn.Module
    losses: ScalarLog
    validation: ScalarLog
    score: Score


def train(
    config: TrainConfig,
    training: Sequence[BrainCase],
    validation: Sequence[BrainCase],
    *,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> Trained:
    """Return a network trained under the configured head.

    Args:
        config: trunk, head, settings.
        training: cases to learn from, standardized, with levels.
        validation: cases of the fixed patches that show the course.
        name: of the model, in its record.
        seed: of weights, patches and dropout.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        ValueError: if a case has no levels or no brain.
        FloatingPointError: if a loss is not finite.
    """
    settings = config.training
    source = PatchSource(training, settings.patch, settings.jitter, settings.brain_share)
    head = build_head(config.variant.head)
    network = build_trunk(config.network, head.channels, seed)
    model = NestedSegmenter(network, head).to(device)
    model.to(memory_format=torch.channels_last_3d)
    weights = _weights(training).to(device) if settings.class_weights else None
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.variant.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = _schedule(optimizer, settings)
    draws, noise = (
        generator(seed, "multilevel_activation", "train", part) for part in ("patches", "dropout")
    )
    losses, course = ScalarLog(), ScalarLog()
    state = TrainState(
        network=network,
        optimizer=optimizer,
        schedule=schedule,
        draws=draws,
        noise=noise,
        losses=losses,
        course=course,
    )

    def step(batch: Patch) -> Mapping[str, float]:
        images, levels = (part.to(device) for part in batch)
        with global_noise(noise):
            logits = model(images)
        loss = head.loss(logits, levels, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
        optimizer.step()
        schedule.step_update(state.iteration + 1)
        return {"loss": loss.item()}

    shown = fixed_patches(
        PatchSource(validation, settings.patch),
        settings.validation_patches,
        generator(0, "multilevel_activation", "validation"),  # the same for all seeds
    )
    if state.iteration == 0:
        course.append(0, patch_dice(model, head, shown, device))
    batches = patch_batches(source, draws, settings)
    for end in fit_to_milestones(
        step,
        batches,
        state,
        iterations=settings.iterations,
        every=settings.validate_every,
        checkpoint_dir=checkpoint_dir,
        log=losses,
    ):
        if end not in course.iterations:
            course.append(end, patch_dice(model, head, shown, device))
    return Trained(
        network.eval(), losses, course, _score(config, name, seed, network, losses, course, weights)
    )


@torch.no_grad()
def patch_dice(
    model: nn.Module, head: Head, patches: Patch, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Return the Dice of each region over all patches together, `dice_wt` to `dice_et`, and mean.

    Args:
        model: gives the logits.
        head: what it makes of them.
        patches: images (N, 4, d, h, w) and levels (N, d, h, w).
        device: where to compute.
    """
    images, levels = patches
    overlap, size = torch.zeros(len(REGIONS)), torch.zeros(len(REGIONS))
    with evaluation_mode(model):
        for start in range(0, len(images), VALIDATION_BATCH):
            part = slice(start, start + VALIDATION_BATCH)
            image, level = images[part], levels[part]
            found = head.regions(model(image.to(device))).cpu()
            truth = region_masks(level, LEVELS)
            overlap += (found & truth).sum(dim=(0, 2, 3, 4))
            size += found.sum(dim=(0, 2, 3, 4)) + truth.sum(dim=(0, 2, 3, 4))
    dice = ((2 * overlap + EPSILON) / (size + EPSILON)).tolist()
    named = {f"dice_{region.lower()}": value for region, value in zip(REGIONS, dice, strict=True)}
    return {**named, "dice": fmean(dice)}


def _weights(cases: Sequence[BrainCase]) -> Tensor:
    """Return the weights of the levels, (4,), by their frequency in the training cases' brains."""
    counts = np.zeros(LEVELS, np.int64)
    for case in cases:
        assert case.levels is not None  # checked where patches are drawn
        counts += np.bincount(case.levels[case.brain], minlength=LEVELS)
    return level_weights(counts.tolist())


def _schedule(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Scheduler:
    if settings.schedule == "poly":
        return warmup_poly(optimizer, settings.iterations, settings.warmup)
    return exponential_epochs(optimizer, settings.epoch, settings.decay, settings.warmup)


def _score(
    config: TrainConfig,
    name: str,
    seed: int,
    network: nn.Module,
    losses: ScalarLog,
    course: ScalarLog,
    weights: Tensor | None,
) -> Score:
    settings = config.training
    logged = (
        []
        if weights is None
        else [Value(metric, float(weights[level])) for level, metric in LEVEL_WEIGHTS.items()]
    )
    return Score(
        stage=STAGE,
        variant=name,
        seed=seed,
        dataset={
            "card": config.cases.card,
            "split": "validation, patches",
            "items": settings.validation_patches,
        },
        values=[
            Value(PATCH_DICE, course.curves["dice"][-1]),
            Value(LEARNING_SPEED, learning_speed(course.iterations, course.curves["dice"])),
            Value(TRAIN_LOSS, fmean(losses.curves["loss"][-settings.validate_every :])),
            Value(PARAMETERS, sum(parameter.numel() for parameter in network.parameters())),
            *logged,
        ],
        budget={
            "iterations": settings.iterations,
            "patches": settings.iterations * settings.batch_size,
        },
        note=config.cases.note,
    )
