"""The supernet: a skeleton whose layers hold all candidates, and the choices among them.

QuantNAS, arXiv 2208.14839. One softmax over operations and bits jointly for every decision; the
cells of the basic space share their decisions and have weights of their own.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from vismodels.methods.quantnas.choice_model import ChoiceModel
from vismodels.methods.quantnas.mixed_layer import MergedLayer, PerOperationLayer
from vismodels.methods.quantnas.mixing import Mixing
from vismodels.methods.quantnas.skeletons import SkeletonNetwork, build_skeleton
from vismodels.methods.quantnas.space import (
    COST_SIZE,
    CostKind,
    Slot,
    SpaceConfig,
    layer_chain,
    rectifier_of,
)
from vismodels.nn.super_resolution import check_image

Form = Literal["merged", "per_operation"]
LAYERS = {"merged": MergedLayer, "per_operation": PerOperationLayer}


class Supernet(ChoiceModel):
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
        super().__init__(
            space.skeleton.kind,
            space.candidates(),
            space.costs(COST_SIZE),
            space.costs(COST_SIZE, cost),
        )
        self.form = form

        def make(slot: Slot) -> nn.Module:
            names = space.lists[slot.group]
            chains = {name: layer_chain(space.skeleton, slot, name) for name in names}
            bits = space.slot_bits(slot)
            blended = replace(mixing, rectifier=rectifier_of(space.skeleton, slot))
            return LAYERS[form](chains, slot.out_channels, bits, blended, space.skeleton.bias)

        self.network: SkeletonNetwork = build_skeleton(space.skeleton, make)

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, and fit the steps of direct quantization to them."""
        self.network.initialize_(generator)
        self.fit_steps_()

    def forward(self, image: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return (B, 3, scale * h, scale * w); see `ChoiceModel.forward`."""
        check_image(image)
        used = self.probabilities() if weights is None else weights
        if self.form == "merged":  # few wide convolutions: this layout is a fifth faster on CPUs
            image = image.contiguous(memory_format=torch.channels_last)
        result: Tensor = self.network(image, lambda name, layer, x: layer(x, used[name]))
        return result
