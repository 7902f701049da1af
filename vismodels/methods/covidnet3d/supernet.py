"""The supernet: every block holds all its candidates, and runs those that have a weight.

He et al. (2021), arXiv 2101.05442: one path is sampled for each pass by a one-hot Gumbel softmax
(Jang et al. 2017, arXiv 1611.01144) with a straight-through gradient.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vismodels.methods.covidnet3d.network import Trunk, check_volume
from vismodels.methods.covidnet3d.operations import build_operation, draw_weights_
from vismodels.methods.covidnet3d.space import (
    IDENTITY,
    Shape,
    SpaceConfig,
    operation_macs,
)
from vismodels.nas.choice import Choice
from vismodels.nas.genotype import Genotype
from vismodels.nas.relaxation import Relaxation

Weights = Mapping[str, Tensor]


class MixedBlock(nn.Module):
    """x + sum over candidates of weight times branch(x); a branch without weight does not run.

    Args:
        candidates: names of the operations.
        channels: of input and output.
        has_residual: False for the first block of a stage in the published code's layout.
    """

    def __init__(
        self, candidates: tuple[str, ...], channels: int, has_residual: bool = True
    ) -> None:
        super().__init__()
        self.candidates, self.has_residual = candidates, has_residual
        branches = {name: build_operation(name, channels) for name in candidates}
        self.branches = nn.ModuleDict({n: b for n, b in branches.items() if b is not None})

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        """Return features like the input, (B, C, D, H, W).

        Args:
            features: the input.
            weights: of the candidates, (n,).
        """
        mixed = features
        for name, weight, active in zip(self.candidates, weights, weights.tolist(), strict=True):
            if not active:
                continue
            if name in self.branches:
                branch: Tensor = self.branches[name](features)
                change = weight * branch
            elif name == IDENTITY and self.has_residual:
                change = weight * features  # twice the input, as published
            else:
                change = None
            if not self.has_residual:
                change = weight * features if change is None else change
                mixed = change if mixed is features else mixed + change
            elif change is not None:
                mixed = mixed + change
        return mixed


class Path(nn.Module):
    """One network of a supernet, with the supernet's weights.

    Args:
        supernet: shared, not copied.
        genotype: which network.
    """

    def __init__(self, supernet: "Supernet", genotype: Genotype) -> None:
        super().__init__()
        self.supernet, self.weights = supernet, supernet.one_hot(genotype)

    def forward(self, volume: Tensor) -> Tensor:
        """Return the logits, (B, classes), of (B, C, D, H, W)."""
        logits: Tensor = self.supernet(volume, self.weights)
        return logits


class Supernet(nn.Module):
    """All networks of a space at once, and the decisions between them.

    Args:
        config: the space.
    """

    def __init__(self, config: SpaceConfig) -> None:
        super().__init__()
        self.config = config
        candidates = config.candidates()
        self.choices = nn.ModuleDict({name: Choice(of) for name, of in candidates.items()})
        self.network = Trunk(
            config,
            lambda name, channels, residual: MixedBlock(candidates[name], channels, residual),
        )
        self.initialize_()

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights of all candidates anew; logits become zero.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        draw_weights_(self.network, generator)
        for choice in self.choices.values():
            nn.init.zeros_(choice.logits)  # type: ignore[arg-type]

    def forward(self, volume: Tensor, weights: Weights) -> Tensor:
        """Return the logits, (B, classes).

        Args:
            volume: (B, C, D, H, W).
            weights: decision -> weights of its candidates, (n,).
        """
        check_volume(volume, self.config.in_channels)
        logits: Tensor = self.network(volume, lambda name, block, x: block(x, weights[name]))
        return logits

    def used_parameters(self, weights: Weights) -> list[nn.Parameter]:
        """Return the parameters that a pass with these weights of the candidates runs through."""
        idle = {
            f"blocks.{decision}.branches.{name}."
            for decision, of_decision in weights.items()
            for name, weight in zip(
                self.choice(decision).candidates, of_decision.tolist(), strict=True
            )
            if not weight
        }
        return [
            parameter
            for name, parameter in self.network.named_parameters()
            if not any(name.startswith(branch) for branch in idle)
        ]

    def choice(self, decision: str) -> Choice:
        """Return one decision."""
        choice = self.choices[decision]
        assert isinstance(choice, Choice)
        return choice

    def decisions(self) -> dict[str, Choice]:
        """Return all decisions by name, in the order of the network."""
        return {name: self.choice(name) for name in self.choices}

    def sample(
        self, relaxation: Relaxation, temperature: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the weights of all candidates for one pass; see `Choice.weights`."""
        return {
            name: self.choice(name).weights(relaxation, temperature, generator)
            for name in self.choices
        }

    def one_hot(self, genotype: Genotype) -> dict[str, Tensor]:
        """Return the weights that select one network."""
        return {name: self.choice(name).one_hot(op) for name, op in genotype.choices.items()}

    def probabilities(self) -> dict[str, Tensor]:
        """Return decision -> probabilities of its candidates, (n,)."""
        return {name: self.choice(name).probabilities() for name in self.choices}

    def best(self) -> Genotype:
        """Return the network of the most probable candidates."""
        return self.config.genotype({name: self.choice(name).best() for name in self.choices})

    def entropy(self) -> Tensor:
        """Return the sum over all decisions of their entropy in nats."""
        return torch.stack([self.choice(name).entropy() for name in self.choices]).sum()

    def expected_macs(self, shape: Shape) -> Tensor:
        """Return the expected multiply-accumulates of all searched blocks, a scalar.

        Args:
            shape: (depth, height, width) of the input.
        """
        sizes = self.config.sizes(shape)
        terms = []
        for stage in self.config.stages():
            for block in stage.blocks:
                probabilities = self.choice(block).probabilities()
                costs = [
                    operation_macs(name, stage.channels, sizes[block])
                    for name in self.choice(block).candidates
                ]
                terms.append((probabilities * probabilities.new_tensor(costs)).sum())
        return torch.stack(terms).sum()
