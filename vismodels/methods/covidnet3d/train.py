"""Train one classifier from scratch: a network of the space, or one of another library.

He et al. (2021), arXiv 2101.05442: Adam, cosine, dropout. The last weights (or their running mean)
count; the published code keeps the checkpoint that is best on the test set.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.data.volumes import VolumeSet, volume_batches
from vismodels.methods.covidnet3d.baselines import draw_baseline
from vismodels.methods.covidnet3d.config import (
    BaselineNetwork,
    ComparedNetwork,
    RandomNetwork,
    SearchedNetwork,
    TrainConfig,
    TrainingSettings,
)
from vismodels.methods.covidnet3d.evaluation import loss_and_accuracy
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.metrics.general import PARAMETERS, TRAIN_LOSS
from vismodels.nas.genotype import Genotype
from vismodels.results import Score, Value
from vismodels.seeding import derive_seed, generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit_to_milestones
from vismodels.training.noise import global_noise
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState

STAGE = "covidnet3d_train"


@dataclass(frozen=True)
class Trained:
    """What training gives: the network, its curves, its record."""

    network: nn.Module
    losses: ScalarLog
    validation: ScalarLog
    score: Score
    timings: dict[str, float] = field(default_factory=dict)


def build_network(
    config: TrainConfig, found: Genotype | None, shape: tuple[int, int, int], seed: int
) -> nn.Module:
    """Return an untrained network.

    Args:
        config: says which one.
        found: the genotype of the search that the network names, if it names one.
        shape: (D, H, W) at which the cost of random networks is compared.
        seed: its weights depend on it alone; of genotypes, the random ones that cost what a search
            of this seed found.

    Raises:
        ConfigError: if the genotype is none of the space, with the nearest name.
    """
    source = config.variant.network
    if isinstance(source, BaselineNetwork):
        weights = derive_seed(seed, "covidnet3d", "train", "weights") % 2**63
        return draw_baseline(
            source.model, config.space.in_channels, config.space.classes, source.backbone, weights
        )
    if isinstance(source, SearchedNetwork | ComparedNetwork):
        assert found is not None  # the workflow hands over what the configuration names
        genotype = config.space.genotype(found.choices)
    elif isinstance(source, RandomNetwork):
        if found is None:
            rng = random.Random(derive_seed(source.draw, "covidnet3d", "random network"))
            genotype = config.space.draw(rng)
        else:
            rng = random.Random(derive_seed(source.draw, "covidnet3d", "random network", seed))
            genotype = config.space.random_like(config.space.genotype(found.choices), shape, rng)
    else:
        genotype = config.space.uniform(source.operation)
    network = CovidNet3D.of(config.space, genotype)
    network.initialize_(generator(seed, "covidnet3d", "train", "weights"))
    return network


def train(
    config: TrainConfig,
    training: VolumeSet,
    validation: VolumeSet,
    *,
    found: Genotype | None,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> Trained:
    """Return a network trained on `training`; the validation volumes only show the course.

    Networks trained with one seed see the same batches in the same order.

    Args:
        config: network and settings.
        training: volumes to learn from.
        validation: volumes of other patients, scored at intervals.
        found: genotype of the search that the network names, if it names one.
        name: of the network, in its record.
        seed: of weights and batches.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        FloatingPointError: if the loss is not finite.
        ValueError: if a batch is larger than the set.
    """
    settings = config.settings
    network = build_network(config, found, training.shape, seed)
    network, losses, course = train_network(
        network, settings, training, validation, seed=seed, device=device,
        checkpoint_dir=checkpoint_dir,
    )  # fmt: skip
    score = Score(
        stage=STAGE,
        variant=name,
        seed=seed,
        dataset={"card": config.data.card, "split": "train", "items": len(training)},
        values=[
            Value(TRAIN_LOSS, fmean(losses.curves["loss"][-settings.validate_every :])),
            Value(PARAMETERS, sum(p.numel() for p in network.parameters())),
        ],
        budget={
            "iterations": settings.iterations,
            "volumes": settings.iterations * settings.batch_size,
        },
        note=config.data.note,
    )
    return Trained(network, losses, course, score)


def train_network(
    network: nn.Module,
    settings: TrainingSettings,
    training: VolumeSet,
    validation: VolumeSet,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> tuple[nn.Module, ScalarLog, ScalarLog]:
    """Return the trained network, its loss curve, and loss and accuracy on `validation`.

    With `ema_decay`, what is returned and validated is the running mean of the weights.
    """
    network = channels_last(network.to(device)).train()
    averaged = (
        ModelEmaV3(network, settings.ema_decay, use_warmup=True) if settings.ema_decay else None
    )
    optimizer = _optimizer(network, settings)
    schedule = warmup_cosine(optimizer, settings.iterations, settings.warmup)
    draws = generator(seed, "covidnet3d", "train", "batches")
    noise = generator(seed, "covidnet3d", "train", "dropout")
    weights = training.class_weights().to(device) if settings.class_weights else None
    losses, course = ScalarLog(), ScalarLog()
    parts = {} if averaged is None else {"averaged": averaged.module}
    state = TrainState(
        network=network,
        optimizer=optimizer,
        schedule=schedule,
        batches=draws,
        noise=noise,
        losses=losses,
        course=course,
        **parts,
    )

    def step(batch: tuple[Tensor, Tensor]) -> Mapping[str, float]:
        volumes, labels = (part.to(device) for part in batch)
        with global_noise(noise):
            logits = network(volumes)
        loss = F.cross_entropy(logits, labels, weights, label_smoothing=settings.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), settings.max_gradient_norm)
        optimizer.step()
        schedule.step_update(state.iteration + 1)
        if averaged is not None:
            averaged.update(network, step=state.iteration + 1)
        return {"loss": loss.item()}

    result: nn.Module = network if averaged is None else averaged.module
    batches = volume_batches(
        training,
        draws,
        batch_size=settings.batch_size,
        flip=settings.flip,
        shift=settings.shift,
        level=settings.level,
    )
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
            loss, accuracy = loss_and_accuracy(result, validation, device=device)
            course.append(end, {"validation_loss": loss, "validation_accuracy": accuracy})
    return result.eval(), losses, course


def channels_last(network: nn.Module) -> nn.Module:
    """Return the network with its kernels channels last in memory, which halves a CPU's time.

    `Module.to(memory_format=...)` refuses networks with 2D and 3D kernels. `Tensor.contiguous`
    would not do: kernels of one voxel or one channel pass as both and keep their slow strides.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.to(memory_format=formats[parameter.ndim])
    return network


def _optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate)
