"""The parts of one search, its steps, and what it measures of itself.

QuantNAS, arXiv 2208.14839. Architecture step: L1 + penalty_weight * H + c(epoch) * E, with H the
expected cost in units of its start and E the entropy of all decisions; weight step: L1.
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.data.pairs import PairSet, images_to_tensor
from vismodels.methods.quantnas.choice_model import ChoiceModel
from vismodels.methods.quantnas.config import SearchConfig
from vismodels.methods.quantnas.fixed_supernet import FixedSupernet
from vismodels.methods.quantnas.mixing import Mixing
from vismodels.methods.quantnas.space import FixedSpace
from vismodels.methods.quantnas.supernet import Supernet
from vismodels.nas.choice import named_probabilities
from vismodels.nas.genotype import Genotype
from vismodels.nas.relaxation import linear_temperature
from vismodels.nas.search import Scalars, alternating_step
from vismodels.nn.modes import evaluation_mode
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState

PUBLISHED_SPREAD = 1.25  # of the published penalty: number of block types / 4

Batch = tuple[Tensor, Tensor]
Part = tuple[Sequence[nn.Parameter], torch.optim.Optimizer]


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

    Raises:
        ValueError: if the space enlarges by another factor than the configuration.
    """
    space, variant = config.space, config.variant
    if isinstance(space, FixedSpace):
        mixing = Mixing(variant.mode, noise, variant.distribution, activation="lsq", rectifier=None)
        return FixedSupernet(space, config.scale, mixing, variant.penalty)
    skeleton = space.skeleton
    if skeleton.scale != config.scale:
        raise ValueError(
            f"the space {variant.space!r} enlarges by {skeleton.scale}, the photographs are of "
            f"scale {config.scale}; set the scale of its skeleton"
        )
    mixing = Mixing(
        variant.mode,
        noise,
        variant.distribution,
        activation=skeleton.activation,
        rectifier=skeleton.rectifier,
    )
    return Supernet(space, mixing, variant.form, variant.penalty)


class SearchRun:
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
        return {
            "validation_l1": _l1(self.supernet, validation, self.device),
            "expected_cost": float(self.supernet.expected_cost(probabilities)),
            **named_probabilities(self.supernet.decisions()),
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
