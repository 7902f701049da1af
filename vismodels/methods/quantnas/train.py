"""Train one network from scratch: a genotype, a uniform or random one, or a published network.

QuantNAS, arXiv 2208.14839: Adam, cosine, L1, quantized from the first iteration unless told
otherwise.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.data.enlarging import evaluate
from vismodels.data.pairs import PairSet, random_patches
from vismodels.methods.quantnas.build import bits_text, build_network, costs
from vismodels.methods.quantnas.config import (
    TrainConfig,
    TrainingSettings,
)
from vismodels.metrics.general import TRAIN_LOSS
from vismodels.metrics.image import PSNR_Y
from vismodels.nas.genotype import Genotype
from vismodels.nn.super_resolution import SuperResolutionNetwork
from vismodels.quantization.layers import (
    enable_quantizers_,
    initialize_steps_,
)
from vismodels.quantization.quantizers import ActivationLSQ, WeightLSQ
from vismodels.results import Score, Value, mean_value
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit, milestones, resume
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState


@dataclass(frozen=True)
class Trained:
    """What training gives: the network, its curves, its score on the validation images."""

    network: SuperResolutionNetwork
    losses: ScalarLog
    validation: ScalarLog
    score: Score
    timings: dict[str, float] = field(default_factory=dict)


def train(
    config: TrainConfig,
    training: PairSet,
    validation: PairSet,
    *,
    found: Genotype | None,
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
        found: genotype of the search that the network names, if it names one.
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
    network = build_network(config, found, seed).to(device)
    sizes = (settings.batch_size, settings.lr_crop)
    calibration, _ = next(random_patches(training, _draws(seed, "calibration"), *sizes))
    calibration = calibration.to(device)
    initialize_steps_(network, calibration, start=settings.step_start)
    rate = config.variant.learning_rate or settings.learning_rate
    optimizer = torch.optim.Adam(_groups(network, rate, settings))
    scheduler = warmup_cosine(optimizer, settings.iterations, settings.warmup)
    draws = _draws(seed, "batches")
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
        if 0 < state.iteration == settings.float_warmup:
            enable_quantizers_(network, True)
            initialize_steps_(network, calibration, start=settings.step_start)
        low, high = (images.to(device) for images in batch)
        loss = F.l1_loss(network(low), high)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), settings.max_gradient_norm)
        optimizer.step()
        scheduler.step_update(state.iteration + 1)
        return {"loss": loss.item()}

    if checkpoint_dir is not None:
        resume(checkpoint_dir, state, iterations=settings.iterations)
    # At the end of a float warm-up they are off until the next step, validation included.
    enable_quantizers_(
        network, state.iteration > settings.float_warmup or not settings.float_warmup
    )
    begun, spent = state.iteration, 0.0
    for end in milestones(settings.iterations, settings.validate_every):
        clock = time.process_time()
        fit(
            step,
            random_patches(training, draws, *sizes),
            state,
            iterations=end,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=settings.validate_every,
            log=losses,
        )
        spent += time.process_time() - clock
        if end not in course.iterations:
            scored = evaluate(network, validation, border=config.scale)
            course.append(end, {PSNR_Y.name: fmean(scored[PSNR_Y.name].values())})
    network.eval()
    timings = {"cpu_seconds_per_step": spent / max(state.iteration - begun, 1)}
    score = _score(config, name, network, losses, validation, seed)
    return Trained(network, losses, course, score, timings)


def _draws(seed: int, part: str) -> torch.Generator:
    return generator(seed, "quantnas", "train", part)


def _groups(network: nn.Module, rate: float, settings: TrainingSettings) -> list[dict[str, object]]:
    """Return the optimizer's groups: weights, and the quantizers' steps with their own rate."""
    steps = {
        parameter
        for module in network.modules()
        if isinstance(module, (WeightLSQ, ActivationLSQ))
        for parameter in module.parameters()
    }
    others = [parameter for parameter in network.parameters() if parameter not in steps]
    groups: list[dict[str, object]] = [
        {"params": others, "lr": rate, "weight_decay": settings.weight_decay}
    ]
    if steps:
        ordered = [parameter for parameter in network.parameters() if parameter in steps]
        groups.append({"params": ordered, "lr": rate * settings.step_rate, "weight_decay": 0.0})
    return groups


def _score(
    config: TrainConfig,
    name: str,
    network: nn.Module,
    losses: ScalarLog,
    validation: PairSet,
    seed: int,
) -> Score:
    scored = evaluate(network, validation, border=config.scale)
    settings = config.training
    return Score(
        stage="quantnas_train",
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
            *costs(network),
        ],
        budget={
            "iterations": settings.iterations,
            "images": settings.iterations * settings.batch_size,
            "patch": settings.lr_crop * config.scale,
            "bits": bits_text(network),
        },
    )
