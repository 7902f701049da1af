"""Search a supernet: alternate between its architecture and its weights, then read the genotype.

QuantNAS, arXiv 2208.14839. Architecture step: L1 + penalty_weight * H + c(epoch) * E, with H the
expected cost in units of its start and E the entropy of all decisions; weight step: L1.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.data.enlarging import evaluate
from vismodels.data.pairs import PairSet, images_to_tensor, random_patches
from vismodels.methods.quantnas.choice_model import ChoiceModel, Selected
from vismodels.methods.quantnas.config import SearchConfig, SearchSettings
from vismodels.methods.quantnas.fixed_supernet import FixedSupernet
from vismodels.methods.quantnas.mixing import Mixing
from vismodels.methods.quantnas.space import FixedSpace
from vismodels.methods.quantnas.supernet import Supernet
from vismodels.metrics.general import BITOPS, PARAMETERS, TRAIN_LOSS
from vismodels.metrics.image import PSNR_Y
from vismodels.metrics.search import (
    CHOICE_ENTROPY,
    DECISIVENESS,
    DERIVATION_GAP,
    DERIVED_PSNR,
    EXPECTED_BITOPS,
    SUPERNET_PSNR,
)
from vismodels.nas.genotype import Genotype
from vismodels.nas.relaxation import linear_temperature
from vismodels.nas.search import Scalars, alternating_step, paired
from vismodels.nn.modes import evaluation_mode
from vismodels.results import Score, Value
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit, resume
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState

PUBLISHED_SPREAD = 1.25  # of the published penalty: number of block types / 4

Batch = tuple[Tensor, Tensor]
Part = tuple[Sequence[nn.Parameter], torch.optim.Optimizer]


@dataclass(frozen=True)
class Searched:
    """What a search gives.

    Args:
        genotype: the chosen architecture.
        losses: curves of every iteration.
        course: at every validation, losses, expected cost and all probabilities
            (`head_0/simple_3x3@8`).
        score: entropy, decisiveness, quality before and after deriving.
        supernet: with its final weights.
        timings: CPU seconds; they vary from run to run.
    """

    genotype: Genotype
    losses: ScalarLog
    course: ScalarLog
    score: Score
    supernet: ChoiceModel
    timings: dict[str, float] = field(default_factory=dict)


def entropy_schedule(epoch: int, epochs: int) -> float:
    """Return the factor in [0, 1] on the entropy's weight in an epoch counted from 0.

    A linear ramp times a logarithmic one that starts after a quarter of the epochs (published
    code).
    """
    start = epochs // 4
    if epochs < 2 or epoch < start:
        return 0.0
    return epoch / (epochs - 1) * math.log(epoch - start + 2, epochs - start + 1)


def penalty(cost: Tensor, start: float, scale: str) -> Tensor:
    """Return the hardware penalty of an expected cost.

    Args:
        cost: expected cost.
        start: what it was when all candidates were equally probable.
        scale: `initial`: cost / start. `published`: 0 at start / 1.25 and 1 at 1.25 start.
    """
    if scale == "initial":
        return cost / start
    low, high = start / PUBLISHED_SPREAD, start * PUBLISHED_SPREAD
    return (cost - low) / (high - low)


def build_supernet(config: SearchConfig, noise: torch.Generator) -> ChoiceModel:
    """Return the supernet of a variant, untrained.

    Args:
        config: space and variant.
        noise: source of the quantization noise.
    """
    space, variant = config.space, config.variant
    if isinstance(space, FixedSpace):
        mixing = Mixing(variant.mode, noise, variant.distribution, activation="lsq", rectifier=None)
        return FixedSupernet(space, config.scale, mixing, variant.penalty)
    skeleton = space.skeleton
    mixing = Mixing(
        variant.mode,
        noise,
        variant.distribution,
        activation=skeleton.activation,
        rectifier=skeleton.rectifier,
    )
    return Supernet(space, mixing, variant.form, variant.penalty)


def split_images(names: Sequence[str], settings: SearchSettings) -> tuple[list[str], list[str]]:
    """Return the images that train the architecture, and those that train the weights.

    Raises:
        ValueError: for unknown names, or if one of the two gets none.
    """
    chosen = settings.architecture_images
    if isinstance(chosen, float):
        chosen = tuple(names[: round(len(names) * chosen)])
    unknown = sorted(set(chosen) - set(names))
    others = [name for name in names if name not in chosen]
    if unknown or not chosen or not others:
        raise ValueError(
            f"architecture_images must leave images for both parts of {list(names)[:8]}, "
            f"got {list(chosen)[:8]}"
        )
    return list(chosen), others


def search(
    config: SearchConfig,
    training: PairSet,
    validation: PairSet,
    *,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> Searched:
    """Return the genotype that a search finds in the space of `config`.

    Weights, architecture and the choice of the genotype see three disjoint sets of images.

    Args:
        config: space, variant, settings.
        training: divided between weights and architecture.
        validation: photographs that measure the supernet at intervals.
        name: of the variant, in its score record.
        seed: of weights, batches and noise.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted search goes on from it bit by bit.

    Raises:
        ValueError: if a photograph is smaller than the crop or the scales differ.
        FloatingPointError: if a loss is not finite.
    """
    for pairs in (training, validation):
        if pairs.scale != config.scale:
            raise ValueError(f"expected pairs of scale {config.scale}, got scale {pairs.scale}")
    run = _Run(config, seed, device)
    settings = config.settings
    images = split_images([pair.name for pair in training], settings)
    streams = [
        random_patches(training.subset(part), draws, settings.batch_size, settings.lr_crop)
        for part, draws in zip(images, run.draws, strict=True)
    ]
    if checkpoint_dir is not None:
        resume(checkpoint_dir, run.state, iterations=settings.iterations)
    begun, clock = run.state.iteration, time.process_time()
    spent = 0.0
    for end in _milestones(settings):
        fit(
            run.step,
            paired(*streams),
            run.state,
            iterations=end,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=settings.validate_every,
            log=run.losses,
        )
        spent += time.process_time() - clock
        if end not in run.course.iterations:
            run.course.append(end, run.measure(validation))
        clock = time.process_time()
    steps = max(run.state.iteration - begun, 1)
    genotype = run.chosen()
    score = _score(config, name, seed, run, genotype, validation)
    timings = {"cpu_seconds_per_step": spent / steps}
    return Searched(genotype, run.losses, run.course, score, run.supernet, timings)


class _Run:
    """The parts of one search and its step."""

    def __init__(self, config: SearchConfig, seed: int, device: torch.device | str) -> None:
        settings = config.settings
        self.config, self.settings, self.device = config, settings, device
        noise = generator(seed, "quantnas", "search", "noise")
        self.supernet = build_supernet(config, noise)
        self.supernet.initialize_(generator(seed, "quantnas", "search", "weights"))
        self.supernet.to(device)
        self.relaxing = generator(seed, "quantnas", "search", "relaxation")
        self.draws = [
            generator(seed, "quantnas", "search", part) for part in ("architecture", "batches")
        ]
        self.logits = list(self.supernet.choices.parameters())
        self.weights = list(self.supernet.network.parameters())
        self.weight_optimizer = torch.optim.Adam(
            self.weights, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.architecture_optimizer = torch.optim.Adam(
            self.logits,
            lr=settings.architecture_learning_rate,
            betas=settings.architecture_betas,
        )
        self.schedule = warmup_cosine(self.weight_optimizer, settings.iterations, settings.warmup)
        self.losses, self.course = ScalarLog(), ScalarLog()
        self.state = TrainState(
            supernet=self.supernet,
            weight_optimizer=self.weight_optimizer,
            architecture_optimizer=self.architecture_optimizer,
            schedule=self.schedule,
            noise=noise,
            relaxing=self.relaxing,
            architecture_batches=self.draws[0],
            weight_batches=self.draws[1],
            losses=self.losses,
            course=self.course,
        )
        with torch.no_grad():
            self.start_cost = float(self.supernet.expected_cost(self.supernet.probabilities()))
        self.step: Callable[[tuple[Batch, Batch]], Scalars] = self.joint_step
        if not settings.single_level:
            self.step = alternating_step(
                self.architecture_step, self.weight_step, self.is_warm, self.idle()
            )

    @property
    def epoch(self) -> int:
        """The epoch of the iteration that comes next, from 0."""
        return self.state.iteration * self.settings.epochs // self.settings.iterations

    def is_warm(self) -> bool:
        """Whether the architecture moves."""
        return self.epoch >= self.settings.architecture_warmup

    def sampled(self) -> dict[str, Tensor]:
        """Return the weights of all candidates for one forward pass."""
        progress = self.state.iteration / self.settings.iterations
        temperature = linear_temperature(progress)
        return self.supernet.sample(self.config.variant.relaxation, temperature, self.relaxing)

    def regularizer(self) -> tuple[Tensor, dict[str, float]]:
        """Return the penalty and entropy terms, and what they are made of."""
        variant, probabilities = self.config.variant, self.supernet.probabilities()
        cost = self.supernet.expected_cost(probabilities)
        entropy = self.supernet.total_entropy(probabilities)
        hardware = penalty(cost, self.start_cost, variant.penalty_scale)
        warm = self.epoch - self.settings.architecture_warmup
        weight = variant.entropy_weight * entropy_schedule(
            max(warm, 0), self.settings.epochs - self.settings.architecture_warmup
        )
        term = variant.penalty_weight * hardware.float() + weight * entropy
        return term, {"penalty": hardware.item(), "entropy": entropy.item()}

    def idle(self) -> dict[str, float]:
        """Return what to log while the architecture does not move."""
        with torch.no_grad():
            return {"architecture_loss": 0.0, **self.regularizer()[1]}

    def architecture_step(self, batch: Batch) -> Scalars:
        """Update the logits."""
        low, high = (images.to(self.device) for images in batch)
        loss = F.l1_loss(self.supernet(low, self.sampled()), high)
        term, parts = self.regularizer()
        self._descend(loss + term, (self.logits, self.architecture_optimizer))
        return {"architecture_loss": loss.item(), **parts}

    def weight_step(self, batch: Batch) -> Scalars:
        """Update the weights of all operations."""
        low, high = (images.to(self.device) for images in batch)
        with torch.no_grad():
            sampled = self.sampled()
        loss = F.l1_loss(self.supernet(low, sampled), high)
        self._descend(loss, (self.weights, self.weight_optimizer))
        self.schedule.step_update(self.state.iteration + 1)
        return {"loss": loss.item()}

    def joint_step(self, batches: tuple[Batch, Batch]) -> Scalars:
        """Update both by one pass on the weights' batch: half the cost, one level."""
        low, high = (images.to(self.device) for images in batches[1])
        loss = F.l1_loss(self.supernet(low, self.sampled()), high)
        term, parts = self.regularizer()
        moving: list[Part] = [(self.weights, self.weight_optimizer)]
        if self.is_warm():
            moving.append((self.logits, self.architecture_optimizer))
        self._descend(loss + term, *moving)
        self.schedule.step_update(self.state.iteration + 1)
        return {"architecture_loss": loss.item(), **parts, "loss": loss.item()}

    def _descend(self, loss: Tensor, *parts: Part) -> None:
        """Update each part along its own clipped gradient."""
        everything = [parameter for parameters, _ in parts for parameter in parameters]
        for parameter in everything:
            parameter.grad = None
        loss.backward(inputs=everything)  # type: ignore[no-untyped-call]
        for parameters, optimizer in parts:
            moved = [p for p in parameters if p.grad is not None]
            nn.utils.clip_grad_norm_(moved, self.settings.max_gradient_norm)
            optimizer.step()

    @torch.no_grad()
    def measure(self, validation: PairSet) -> dict[str, float]:
        """Return validation error, expected cost and all probabilities of the mixed supernet."""
        probabilities = self.supernet.probabilities()
        named = {
            f"{decision}/{candidate}": float(p)
            for decision, of_decision in probabilities.items()
            for candidate, p in zip(
                self.supernet.choice(decision).candidates, of_decision.tolist(), strict=True
            )
        }
        return {
            "validation_l1": _l1(self.supernet, validation, self.device),
            "expected_cost": float(self.supernet.expected_cost(probabilities)),
            **named,
        }

    def chosen(self) -> Genotype:
        """Return the genotype by the configured rule, from the logged probabilities."""
        position = len(self.course) - 1
        if self.settings.selection == "best_validation":
            errors = self.course.curves["validation_l1"]
            position = errors.index(min(errors))
        choices = {}
        for decision, options in self.supernet.candidates().items():
            probabilities = [self.course.curves[f"{decision}/{o}"][position] for o in options]
            choices[decision] = options[probabilities.index(max(probabilities))]
        return Genotype(self.supernet.kind, choices)


def _l1(supernet: ChoiceModel, pairs: PairSet, device: torch.device | str) -> float:
    with evaluation_mode(supernet):
        errors = [
            F.l1_loss(
                supernet(images_to_tensor(pair.lr[None]).to(device)),
                images_to_tensor(pair.hr[None]).to(device),
            ).item()
            for pair in pairs
        ]
    return fmean(errors)


def _milestones(settings: SearchSettings) -> list[int]:
    inner = range(settings.validate_every, settings.iterations, settings.validate_every)
    return [*inner, settings.iterations]


@torch.no_grad()
def _score(
    config: SearchConfig,
    name: str,
    seed: int,
    run: _Run,
    genotype: Genotype,
    validation: PairSet,
) -> Score:
    supernet, settings, variant = run.supernet, config.settings, config.variant
    probabilities = supernet.probabilities()
    mixed = evaluate(supernet, validation, border=config.scale)[PSNR_Y.name]
    selected = Selected(supernet, supernet.one_hot(genotype))
    derived = evaluate(selected, validation, border=config.scale)[PSNR_Y.name]
    gap = fmean(mixed.values()) - fmean(derived.values())
    certain = {decision: float(p.max()) for decision, p in probabilities.items()}
    return Score(
        stage="quantnas_search",
        variant=name,
        seed=seed,
        dataset={
            "card": "+".join(config.validation_sets),
            "split": "validation",
            "items": len(validation),
        },
        values=[
            Value(CHOICE_ENTROPY, float(supernet.total_entropy(probabilities))),
            Value(DECISIVENESS, fmean(certain.values()), certain),
            Value(SUPERNET_PSNR, fmean(mixed.values()), mixed),
            Value(DERIVED_PSNR, fmean(derived.values()), derived),
            Value(DERIVATION_GAP, gap),
            Value(EXPECTED_BITOPS, float(supernet.expected_cost(probabilities))),
            Value(BITOPS, supernet.genotype_bitops(genotype)),
            Value(PARAMETERS, sum(p.numel() for p in supernet.network.parameters())),
            Value(TRAIN_LOSS, fmean(run.losses.curves["loss"][-settings.validate_every :])),
        ],
        budget={
            "iterations": settings.iterations,
            "images": settings.iterations
            * settings.batch_size
            * (1 if settings.single_level else 2),
            "patch": settings.lr_crop * config.scale,
            "mode": variant.mode,
        },
    )
