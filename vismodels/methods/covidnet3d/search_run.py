"""The parts of one search, its steps, and what it measures of itself.

He et al. (2021), arXiv 2101.05442: first-order bilevel search with hard Gumbel-softmax samples. In
the published code the sample is cast to booleans, so that no gradient reaches the architecture;
here it does, and three estimators of it can be compared:

- `one_path`, the paper's: one candidate of each block runs, with a straight-through gradient.
- `all_paths`: the soft Gumbel softmax; every candidate runs.
- `policy`: the losses of several sampled networks on one batch, without any gradient through the
  network. The straight-through gradient of a trained branch's scale is near zero, since the
  branch's own normalization has been trained to that scale; differences of losses are not.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.data.volumes import VolumeSet
from vismodels.methods.covidnet3d.config import SearchConfig
from vismodels.methods.covidnet3d.derivation import score_path
from vismodels.methods.covidnet3d.supernet import Supernet
from vismodels.nas.choice import named_probabilities
from vismodels.nas.policy import policy_step, sample_path
from vismodels.nas.relaxation import Relaxation, exponential_temperature
from vismodels.nas.search import Scalars, alternating_step
from vismodels.nn.modes import evaluation_mode
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.noise import global_noise
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState

Batch = tuple[Tensor, Tensor]


class SearchRun:
    """The parts of one search and its step.

    Args:
        config: space, variant, settings.
        shape: (D, H, W) of the volumes.
        class_weights: of the loss, (classes,).
        seed: of weights, batches and samples.
        device: where to compute.
    """

    def __init__(
        self,
        config: SearchConfig,
        shape: tuple[int, int, int],
        class_weights: Tensor,
        seed: int,
        device: torch.device | str,
    ) -> None:
        settings = config.settings
        self.config, self.settings, self.device, self.shape = config, settings, device, shape
        self.class_weights = class_weights.to(device)
        self.supernet = Supernet(config.space)
        self.supernet.initialize_(generator(seed, "covidnet3d", "search", "weights"))
        self.supernet.to(device).to(memory_format=torch.channels_last_3d)
        self.sampling, self.noise = (
            generator(seed, "covidnet3d", "search", part) for part in ("sampling", "dropout")
        )
        self.draws = [
            generator(seed, "covidnet3d", "search", part) for part in ("architecture", "batches")
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
            weight_decay=settings.architecture_weight_decay,
        )
        self.schedule = warmup_cosine(self.weight_optimizer, settings.iterations)
        self.losses, self.course = ScalarLog(), ScalarLog()
        self.state = TrainState(
            supernet=self.supernet,
            weight_optimizer=self.weight_optimizer,
            architecture_optimizer=self.architecture_optimizer,
            schedule=self.schedule,
            sampling=self.sampling,
            noise=self.noise,
            architecture_batches=self.draws[0],
            weight_batches=self.draws[1],
            losses=self.losses,
            course=self.course,
        )
        with torch.no_grad():
            self.start_cost = float(self.supernet.expected_macs(shape))
        self.step = alternating_step(
            self.architecture_step, self.weight_step, self.is_warm, self.idle()
        )

    @property
    def warm_iterations(self) -> int:
        """The number of iterations that move the weights alone."""
        return round(self.settings.warmup_share * self.settings.iterations)

    def is_warm(self) -> bool:
        """Whether the architecture moves."""
        return self.state.iteration >= self.warm_iterations

    @property
    def progress(self) -> float:
        """Share of the architecture's iterations that are done, in [0, 1]."""
        after = self.state.iteration - self.warm_iterations
        return max(after, 0) / max(self.settings.iterations - self.warm_iterations, 1)

    def loss(self, batch: Batch, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted cross-entropy of the supernet under `weights`, a scalar."""
        volumes, labels = (part.to(self.device) for part in batch)
        with global_noise(self.noise):
            logits = self.supernet(volumes, weights)
        return F.cross_entropy(logits, labels, self.class_weights)

    def sampled(self) -> dict[str, Tensor]:
        """Return the weights of all candidates for one pass, by the configured estimator."""
        estimator = self.config.variant.estimator
        if estimator == "policy":
            return sample_path(self.supernet.decisions(), self.sampling)[0]
        temperature = exponential_temperature(self.progress, *self.settings.temperature)
        relaxation: Relaxation = "hard_gumbel" if estimator == "one_path" else "gumbel"
        return self.supernet.sample(relaxation, temperature, self.sampling)

    def regularizer(self) -> tuple[Tensor, dict[str, float]]:
        """Return the terms of cost and entropy, and what they are made of."""
        cost = (self.supernet.expected_macs(self.shape) / max(self.start_cost, 1.0)).log()
        entropy = self.supernet.entropy()
        weight = self.settings.entropy_weight * self.progress
        term = self.settings.cost_weight * cost + weight * entropy
        return term, {"log_cost": cost.item(), "entropy": entropy.item()}

    def idle(self) -> dict[str, float]:
        """Return what to log while the architecture does not move."""
        with torch.no_grad():
            return {"architecture_loss": 0.0, **self.regularizer()[1]}

    def architecture_step(self, batch: Batch) -> Scalars:
        """Update the logits."""
        if self.config.variant.estimator == "policy":

            @torch.no_grad()
            def loss_of(weights: Mapping[str, Tensor]) -> float:
                return self.loss(batch, weights).item()

            with evaluation_mode(self.supernet.network.dropout):  # its noise says nothing of paths
                loss, value = policy_step(
                    self.supernet.decisions(), loss_of, self.settings.paths, self.sampling
                )
        else:
            loss = self.loss(batch, self.sampled())
            value = loss.item()
        term, parts = self.regularizer()
        self.architecture_optimizer.zero_grad(set_to_none=True)
        (loss + term).backward(inputs=self.logits)  # type: ignore[no-untyped-call]
        self.architecture_optimizer.step()
        return {"architecture_loss": value, **parts}

    def weight_step(self, batch: Batch) -> Scalars:
        """Update the weights of the operations that a sample runs."""
        with torch.no_grad():
            weights = self.sampled()
        loss = self.loss(batch, weights)
        self.weight_optimizer.zero_grad(set_to_none=True)
        used = self.supernet.used_parameters(weights)
        loss.backward(inputs=used)  # type: ignore[no-untyped-call]
        moved = [p for p in self.weights if p.grad is not None]
        nn.utils.clip_grad_norm_(moved, self.settings.max_gradient_norm)
        self.weight_optimizer.step()
        if self.settings.schedule == "cosine":
            self.schedule.step_update(self.state.iteration + 1)
        return {"loss": loss.item()}

    def measure(self, calibration: Sequence[Tensor], held_out: VolumeSet) -> dict[str, float]:
        """Return loss and accuracy of the most probable network, and all probabilities.

        Args:
            calibration: batches of volumes for the network's normalization statistics.
            held_out: volumes that move neither weights nor architecture.
        """
        best = self.supernet.best()
        loss, accuracy = score_path(self.supernet, best, calibration, held_out)
        return {
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            **named_probabilities(self.supernet.decisions()),
        }
