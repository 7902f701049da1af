"""The supernet: a skeleton whose layers hold all candidates, and the choices among them.

QuantNAS, arXiv 2208.14839. One softmax over operations and bits jointly for every decision; the
cells of the basic space share their decisions and have weights of their own.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from vismodels.methods.quantnas.mixed_layer import MergedLayer, PerOperationLayer
from vismodels.methods.quantnas.mixing import MixedWeight, Mixing
from vismodels.methods.quantnas.skeletons import build_skeleton
from vismodels.methods.quantnas.space import CostKind, Slot, SpaceConfig, layer_chain
from vismodels.nas.choice import Choice, entropy
from vismodels.nas.genotype import Genotype
from vismodels.nas.relaxation import Relaxation
from vismodels.nn.super_resolution import check_image
from vismodels.quantization.layers import initialize_steps_

Form = Literal["merged", "per_operation"]
LAYERS = {"merged": MergedLayer, "per_operation": PerOperationLayer}

COST_SIZE = (32, 32)  # LR pixels at which the field counts operations


class Supernet(nn.Module):
    """All architectures of a space in one network.

    Args:
        space: skeleton, operations, bits.
        mixing: how tensors of several bits are blended.
        form: `merged` (fast) or `per_operation` (the definition); equal up to where noise is drawn.
        cost: how candidates are priced; see `SpaceConfig.costs`.
    """

    def __init__(
        self,
        space: SpaceConfig,
        mixing: Mixing,
        form: Form = "merged",
        cost: CostKind = "bitops",
    ) -> None:
        super().__init__()
        self.space, self.form = space, form
        self.choices = nn.ModuleDict(
            {name: Choice(options) for name, options in space.candidates().items()}
        )

        def make(slot: Slot) -> nn.Module:
            names = space.lists[slot.group]
            chains = {name: layer_chain(space.skeleton, slot, name) for name in names}
            bits = space.slot_bits(slot)
            return LAYERS[form](chains, slot.out_channels, bits, mixing, space.skeleton.bias)

        self.network = build_skeleton(space.skeleton, make)
        for name, costs in space.costs(COST_SIZE, cost).items():
            self.register_buffer(f"cost_{name}", torch.tensor(costs, dtype=torch.float64), False)

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, and fit the steps of direct quantization to them."""
        self.network.initialize_(generator)
        for module in self.modules():
            if isinstance(module, MixedWeight):
                module.initialize_steps_()
        grey = torch.linspace(0, 1, 3 * 24 * 24).view(1, 3, 24, 24)
        initialize_steps_(self, grey.to(next(self.network.parameters())))

    def forward(self, image: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return (B, 3, scale * h, scale * w), not clamped.

        Args:
            image: (B, 3, h, w), RGB in [0, 1].
            weights: decision -> weights of its candidates; None: the probabilities.

        Raises:
            ValueError: if `image` has another shape.
            TypeError: if `image` is not floating point.
        """
        check_image(image)
        used = self.probabilities() if weights is None else weights
        if self.form == "merged":  # few wide convolutions: this layout is a fifth faster on CPUs
            image = image.contiguous(memory_format=torch.channels_last)
        result: Tensor = self.network(image, lambda name, layer, x: layer(x, used[name]))
        return result

    def choice(self, name: str) -> Choice:
        """Return a decision."""
        module = self.choices[name]
        assert isinstance(module, Choice)
        return module

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
        best = {name: self.choice(name).best() for name in self.choices}
        return Genotype(self.space.skeleton.kind, best)

    def one_hot(self, genotype: Genotype) -> dict[str, Tensor]:
        """Return the weights that select one architecture.

        Raises:
            ConfigError: if the genotype is none of the space, with the nearest name.
        """
        self.space.check(genotype)
        return {name: self.choice(name).one_hot(genotype.choices[name]) for name in self.choices}
