"""Train one small super-resolution network: L1 loss, Adam, warm-up and cosine decay."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional

from vismodels.cost.counters import count
from vismodels.data.enlarging import evaluate
from vismodels.data.pairs import PairSet, random_patches
from vismodels.methods.super_resolution.config import NetworkConfig, TrainConfig
from vismodels.metrics.general import MACS, PARAMETERS, TRAIN_LOSS
from vismodels.metrics.image import PSNR_Y
from vismodels.nn.residual_sr import ESPCN, ResidualSR
from vismodels.results import Score, Value, mean_value
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit_to_milestones
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState

NETWORKS: dict[str, type[ResidualSR | ESPCN]] = {"residual_sr": ResidualSR, "espcn": ESPCN}
COST_INPUT = (1, 3, 32, 32)  # LR size at which the field counts operations


@dataclass(frozen=True)
class Trained:
    """What training gives: the network, its curves, its score on the validation images."""

    network: nn.Module
    losses: ScalarLog
    validation: ScalarLog
    score: Score


def build_network(config: NetworkConfig, scale: int, seed: int) -> nn.Module:
    """Return an untrained network whose weights depend on `seed` alone."""
    arguments = config.model.model_dump(exclude={"architecture"})
    network = NETWORKS[config.model.architecture](scale=scale, **arguments)
    network.initialize_(generator(seed, "super_resolution", "weights"))
    return network


def train(
    config: TrainConfig,
    training: PairSet,
    validation: PairSet,
    *,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> Trained:
    """Return a network trained on random patches of `training`.

    Networks trained with one seed see the same batches in the same order. The last iteration
    counts: nothing is selected, the validation images only show the course.

    Args:
        config: network and training settings.
        training: photographs to learn from.
        validation: photographs scored at intervals (PSNR-Y).
        name: of the network, in its score record.
        seed: of the weights and of the batches.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        ValueError: if a photograph is smaller than the crop or the scales differ.
        FloatingPointError: if the loss is not finite.
    """
    for pairs in (training, validation):
        if pairs.scale != config.scale:
            raise ValueError(f"expected pairs of scale {config.scale}, got scale {pairs.scale}")
    settings = config.training
    network = build_network(config.network, config.scale, seed).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.network.learning_rate)
    scheduler = warmup_cosine(optimizer, settings.iterations, settings.warmup)
    draws = generator(seed, "super_resolution", "batches")
    losses, course = ScalarLog(), ScalarLog()
    state = TrainState(
        network=network,
        optimizer=optimizer,
        scheduler=scheduler,
        batches=draws,
        losses=losses,
        course=course,
    )

    def step(batch: tuple[Tensor, Tensor]) -> Mapping[str, float]:
        low, high = (images.to(device) for images in batch)
        loss = functional.l1_loss(network(low), high)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), settings.max_gradient_norm)
        optimizer.step()
        scheduler.step_update(state.iteration + 1)
        return {"loss": loss.item()}

    batches = random_patches(training, draws, settings.batch_size, settings.lr_crop)
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
            scored = evaluate(network, validation, border=config.scale)
            course.append(end, {PSNR_Y.name: fmean(scored[PSNR_Y.name].values())})
    network.eval()
    return Trained(network, losses, course, _score(config, name, network, losses, validation, seed))


def _score(
    config: TrainConfig,
    name: str,
    network: nn.Module,
    losses: ScalarLog,
    validation: PairSet,
    seed: int,
) -> Score:
    device = next(network.parameters()).device
    cost = count(network, torch.zeros(COST_INPUT, device=device))
    scored = evaluate(network, validation, border=config.scale)
    settings = config.training
    return Score(
        stage="super_resolution_train",
        variant=name,
        seed=seed,
        dataset={
            "card": "+".join(config.validation_sets),
            "split": "validation",
            "items": len(validation),
        },
        values=[
            mean_value(PSNR_Y, scored[PSNR_Y.name]),
            Value(TRAIN_LOSS, fmean(losses.curves["loss"][-settings.validate_every :])),
            Value(PARAMETERS, cost.parameters),
            Value(MACS, cost.macs),
        ],
        budget={
            "iterations": settings.iterations,
            "images": settings.iterations * settings.batch_size,
            "patch": settings.lr_crop * config.scale,
        },
    )
