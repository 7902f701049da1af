"""A quantized network whose weights are codes, several in a byte, and nothing else.

Weights are unpacked at every call, and thrown away after it: the network needs as little memory as
its file, and computes the bits that it computed with float weights. `execute` is for speed. Packed
from float32, it can be cast to another type afterwards: scales stay as they are.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from vismodels.methods.quest.config import WeightQuantConfig
from vismodels.methods.quest.layers import QuantizedConv2d, QuantizedLayer, QuantizedLinear
from vismodels.methods.quest.quantize import activation_quantizers, quantized_layers
from vismodels.methods.quest.quantizers import KeepsType
from vismodels.methods.quest.time_groups import time_groups_of
from vismodels.quantization.packing import pack, packed_size, unpack
from vismodels.quantization.spec import QuantSpec


class QuantizesToCodes(Protocol):
    """A quantizer of a weight, whichever way it rounds."""

    config: WeightQuantConfig
    scale: Tensor
    zero_point: Tensor

    def codes(self, weight: Tensor) -> Tensor:
        """Return the integers that `weight` is quantized to."""


class PackedWeight(KeepsType):
    """The codes of a weight, or of one part of it; it takes the place of its quantizer.

    Args:
        config: bits of a code.
        shape: of the weight, (O, ...).
    """

    packed: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, config: WeightQuantConfig, shape: Sequence[int]) -> None:
        super().__init__()
        self.config, self.shape = config, torch.Size(shape)
        self.dtype = torch.float32  # of the network, in which the float weight would be
        self.spec = QuantSpec(config.bits, signed=False)
        size = packed_size(self.shape.numel(), config.bits)
        self.register_buffer("packed", torch.zeros(size, dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(shape[0]))
        self.register_buffer("zero_point", torch.zeros(shape[0], dtype=torch.uint8))

    @classmethod
    def of(cls, quantizer: QuantizesToCodes, weight: Tensor) -> Self:
        """Return what `quantizer` makes of a weight; of one on the meta device only the shapes."""
        new = cls(quantizer.config, weight.shape)
        if not weight.is_meta:
            new.to(weight.device)
            new.packed = pack(quantizer.codes(weight), new.spec.bits)
            new.scale = quantizer.scale.detach().clone()
            new.zero_point = quantizer.zero_point.to(torch.uint8)
        return new

    def codes(self) -> Tensor:
        """Return the integers, uint8, of the weight's shape."""
        return unpack(self.packed, self.spec.bits, self.shape)

    def forward(self) -> Tensor:
        """Return the weight, float32, as its quantizer did."""
        shape = (-1, *[1] * (len(self.shape) - 1))
        centered = self.codes().float().sub_(self.zero_point.view(shape))
        return centered.mul_(self.scale.view(shape))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=self.scale.device)).dtype
        return super()._apply(fn, recurse)


class PackedLayer(QuantizedLayer):
    """A quantized layer without a float weight; `weight` is None."""

    @classmethod
    def of(cls, layer: QuantizedLayer) -> Self:
        """Return a layer with the codes of `layer`, which it shares everything else with.

        Raises:
            ValueError: if the weight is not float32, or not quantized at present.
        """
        if layer.weight.dtype != torch.float32 or not layer.quantizes_weight:
            raise ValueError(
                f"a weight is packed as it is quantized, from float32; got {layer.weight.dtype}"
                f"{'' if layer.quantizes_weight else ', its quantizer switched off'}"
            )
        pairs = list(zip(layer.weight_quantizers, layer.weight_parts(), strict=True))
        new = cls.__new__(cls)
        nn.Module.__init__(new)
        new.__dict__.update(
            {key: value for key, value in vars(layer).items() if key not in vars(new)}
        )
        new._kept = None
        new.register_parameter("weight", None)
        new.register_parameter("bias", layer._parameters["bias"])
        new.weight_quantizers = nn.ModuleList(
            PackedWeight.of(quantizer, part)  # type: ignore[arg-type]
            for quantizer, part in pairs
        )
        new.activation_quantizers = layer.activation_quantizers
        return new.train(layer.training)

    def packed_weights(self) -> list[PackedWeight]:
        """Return the codes of each part."""
        return list(self.weight_quantizers)  # type: ignore[arg-type]

    def quantized_weight(self) -> Tensor:
        """Return the weight, unpacked; of the shape that the float weight had."""
        if self._kept is not None:
            return self._kept
        parts = [packed() for packed in self.packed_weights()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer computes of `x`, in its type; in float32 as before it was packed.

        Raises:
            ValueError: if the quantizers of weights are switched off.
        """
        if not self.quantizes_weight:
            raise ValueError("a packed layer has no weight but the quantized one; enable weights")
        return super().forward(x)

    def initialize_weights_(self) -> None:
        """Raise a ValueError: ranges are those of the codes."""
        raise ValueError("a packed layer has its ranges for good; fit them before pack_")

    def _unfolded(self) -> nn.Parameter:
        """Return the quantized weight as that of a float layer."""
        weight = self.quantized_weight()
        if self.folds_channels:
            scales = [each.effective_scale()[0] for each in self._activation_quantizers()]
            weight = weight / self._per_input(torch.cat(scales))
        return nn.Parameter(weight.detach().to(self.packed_weights()[0].dtype))

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        bias = None if bias is None else bias.to(x.dtype)
        return super()._compute(x, weight.to(x.dtype), bias)


class PackedLinear(PackedLayer, QuantizedLinear):
    """A linear layer with packed weights."""

    def to_float(self) -> nn.Linear:
        """Return a float layer with the quantized weight."""
        new = super().to_float()
        new.weight = self._unfolded()
        return new


class PackedConv2d(PackedLayer, QuantizedConv2d):
    """A convolution with packed weights."""

    def to_float(self) -> nn.Conv2d:
        """Return a float layer with the quantized weight."""
        new = super().to_float()
        new.weight = self._unfolded()
        return new


@torch.no_grad()
def pack_(model: nn.Module) -> None:
    """Replace the float weights of a quantized network by their codes; it cannot be trained then.

    Trained factors of scales are multiplied in. A network on the meta device gets the shapes, into
    which a state dict can be loaded. What is packed already stays as it is.

    Raises:
        ValueError: if the network is not quantized, or a layer cannot be packed.
    """
    time_groups_of(model)
    for quantizer in activation_quantizers(model).values():
        quantizer.absolute_()
    packed: dict[nn.Module, PackedLayer] = {}
    for name, layer in quantized_layers(model).items():
        if not isinstance(layer, PackedLayer):
            kind: Any = PackedConv2d if isinstance(layer, QuantizedConv2d) else PackedLinear
            try:
                packed[layer] = kind.of(layer)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in packed:
            model.set_submodule(name, packed[module])
