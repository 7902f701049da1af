"""Bit search in a published network: the operations are given, only precisions are chosen.

The baseline of mixed precision (Cai and Vasconcelos, "Rethinking Differentiable Search for
Mixed-Precision Neural Networks", CVPR 2020, arXiv 2004.05795) on the engine of QuantNAS.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from vismodels.cost.counters import count
from vismodels.methods.quantnas.choice_model import ChoiceModel
from vismodels.methods.quantnas.fixed import build_model
from vismodels.methods.quantnas.mixing import MixedActivation, MixedWeight, Mixing
from vismodels.methods.quantnas.space import COST_SIZE, CostKind, FixedSpace
from vismodels.nn.super_resolution import check_image


class MixedBitsConv2d(nn.Module):
    """A convolution at several precisions at once, in the place of an `nn.Conv2d`.

    The weights of its precisions are the buffer `shares`; a supernet puts its own in their place.

    Args:
        convolution: whose shape, stride, padding and groups it takes.
        bits: the precisions.
        mixing: how they are blended.
    """

    def __init__(self, convolution: nn.Conv2d, bits: tuple[int, ...], mixing: Mixing) -> None:
        super().__init__()
        self.stride, self.padding = convolution.stride, convolution.padding
        self.groups = convolution.groups
        self.mixed_weight = MixedWeight(convolution.weight.shape, bits, mixing)
        self.activation = MixedActivation(bits, mixing)
        self.bias = convolution.bias
        self.register_buffer("shares", torch.full((len(bits),), 1 / len(bits)), False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of the blended `x` with the blended weight."""
        shares = self.get_buffer("shares")
        return F.conv2d(
            self.activation(x, shares),
            self.mixed_weight(shares),
            self.bias,
            self.stride,
            self.padding,
            groups=self.groups,
        )


class FixedSupernet(ChoiceModel):
    """A published network whose convolutions choose their bits, one decision each.

    Args:
        space: the network and the bits.
        scale: 2, 3 or 4.
        mixing: how tensors of several bits are blended; without a rectifier, since the network has
            its own.
        cost: how candidates are priced.
    """

    def __init__(
        self, space: FixedSpace, scale: int, mixing: Mixing, cost: CostKind = "bitops"
    ) -> None:
        network = build_model(space.model, scale, space.bicubic_skip)
        shapes = build_model(space.model, scale, space.bicubic_skip).to("meta")
        layers = count(shapes, torch.zeros(1, 3, *COST_SIZE, device="meta")).layers
        macs = {layer.name: layer.macs for layer in layers if layer.macs}
        names = {name.replace(".", "_"): name for name in macs}
        super().__init__(
            space.model,
            {key: tuple(f"bits@{b}" for b in space.bits) for key in names},
            {key: _prices(macs[name], space.bits, "bitops") for key, name in names.items()},
            {key: _prices(macs[name], space.bits, cost) for key, name in names.items()},
        )
        self.space, self.scale, self.layer_names = space, scale, names
        for name in macs:  # in place of the convolutions
            parent, _, child = name.rpartition(".")
            owner = network.get_submodule(parent)
            convolution = getattr(owner, child)
            assert isinstance(convolution, nn.Conv2d)
            setattr(owner, child, MixedBitsConv2d(convolution, space.bits, mixing))
        self.network = network

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, and fit the steps of direct quantization to them."""
        fresh = build_model(self.space.model, self.scale, self.space.bicubic_skip)
        fresh.initialize_(generator)
        convolutions = {f"{name}.weight" for name in self.layer_names.values()}
        drawn = {
            name.replace(".weight", ".mixed_weight.weight") if name in convolutions else name: value
            for name, value in fresh.state_dict().items()
        }
        self.network.load_state_dict(drawn, strict=False)  # the steps follow
        self.fit_steps_()

    def forward(self, image: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return (B, 3, scale * h, scale * w); see `ChoiceModel.forward`."""
        check_image(image)
        used = self.probabilities() if weights is None else weights
        shares = {f"{name}.shares": used[key] for key, name in self.layer_names.items()}
        result: Tensor = functional_call(self.network, shares, (image,))
        return result


def _prices(macs: int, bits: tuple[int, ...], kind: CostKind) -> tuple[int, ...]:
    return tuple(macs * b * b if kind == "bitops" else 2 * macs * b for b in bits)
