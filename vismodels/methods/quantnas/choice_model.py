"""What every supernet has: decisions with prices, and the architectures they stand for."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vismodels.methods.quantnas.mixing import MixedWeight
from vismodels.nas.choice import Choice, entropy
from vismodels.nas.genotype import Genotype
from vismodels.nas.relaxation import Relaxation
from vismodels.nn.super_resolution import ramp
from vismodels.quantization.layers import initialize_steps_


class ChoiceModel(nn.Module):
    """A network with choices in it: how probable they are, what they cost, which is best.

    Subclasses own `network`, whose parameters are the weights of all candidates.

    Args:
        kind: name of the space, for genotypes.
        candidates: decision -> names.
        bitops: decision -> BitOPs of each candidate at a 32x32 LR image.
        costs: the same in the units of the penalty.
    """

    network: nn.Module

    def __init__(
        self,
        kind: str,
        candidates: Mapping[str, Sequence[str]],
        bitops: Mapping[str, Sequence[int]],
        costs: Mapping[str, Sequence[int]],
    ) -> None:
        super().__init__()
        self.kind, self.bitops = kind, bitops
        self.choices = nn.ModuleDict(
            {name: Choice(options) for name, options in candidates.items()}
        )
        for name, prices in costs.items():
            self.register_buffer(f"cost_{name}", torch.tensor(prices, dtype=torch.float64), False)

    def forward(self, image: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return (B, 3, scale * h, scale * w), not clamped.

        Args:
            image: (B, 3, h, w), RGB in [0, 1].
            weights: decision -> weights of its candidates; None: the probabilities.

        Raises:
            ValueError: if `image` has another shape.
            TypeError: if `image` is not floating point.
        """
        raise NotImplementedError

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, and fit the steps of direct quantization to them."""
        raise NotImplementedError

    def fit_steps_(self) -> None:
        """Set all steps of direct quantization to fit the present weights, and a ramp of grey."""
        for module in self.modules():
            if isinstance(module, MixedWeight):
                module.initialize_steps_()
        initialize_steps_(self, ramp(next(self.network.parameters())))

    def choice(self, name: str) -> Choice:
        """Return a decision."""
        module = self.choices[name]
        assert isinstance(module, Choice)
        return module

    def decisions(self) -> dict[str, Choice]:
        """Return all decisions by name, in the order of the network."""
        return {name: self.choice(name) for name in self.choices}

    def candidates(self) -> dict[str, tuple[str, ...]]:
        """Return decision -> names of its candidates."""
        return {name: self.choice(name).candidates for name in self.choices}

    def probabilities(self) -> dict[str, Tensor]:
        """Return decision -> probabilities of its candidates."""
        return {name: self.choice(name).probabilities() for name in self.choices}

    def sample(
        self, relaxation: Relaxation, temperature: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return decision -> weights of its candidates for one forward pass."""
        return {
            name: self.choice(name).weights(relaxation, temperature, generator)
            for name in self.choices
        }

    def expected_cost(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the expected cost at a 32x32 LR image, a differentiable float64 scalar."""
        costs = [weights[name].double() @ self.get_buffer(f"cost_{name}") for name in self.choices]
        return torch.stack(costs).sum()

    def total_entropy(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the entropies of all decisions, in nats."""
        return torch.stack([entropy(weights[name]) for name in self.choices]).sum()

    def genotype(self) -> Genotype:
        """Return the most probable candidate of every decision."""
        return Genotype(self.kind, {name: self.choice(name).best() for name in self.choices})

    def genotype_bitops(self, genotype: Genotype) -> int:
        """Return the BitOPs of one architecture at a 32x32 LR image, searched layers only."""
        self.check(genotype)
        return sum(
            self.bitops[name][options.index(genotype.choices[name])]
            for name, options in self.candidates().items()
        )

    def one_hot(self, genotype: Genotype) -> dict[str, Tensor]:
        """Return the weights that select one architecture.

        Raises:
            ConfigError: if the genotype is none of the space, with the nearest name.
        """
        self.check(genotype)
        return {name: self.choice(name).one_hot(genotype.choices[name]) for name in self.choices}

    def check(self, genotype: Genotype) -> None:
        """Raise `ConfigError` if the genotype is none of this model's, with the nearest name."""
        genotype.check(self.kind, self.candidates())


class Selected(nn.Module):
    """A supernet with fixed weights of its candidates, as a network of its own.

    Args:
        supernet: shared, not copied.
        weights: decision -> weights of its candidates.
    """

    def __init__(self, supernet: ChoiceModel, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.supernet, self.selection = supernet, weights

    def forward(self, image: Tensor) -> Tensor:
        """Return what the supernet makes of `image` with these weights."""
        result: Tensor = self.supernet(image, self.selection)
        return result
