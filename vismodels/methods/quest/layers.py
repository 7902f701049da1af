"""Convolutions and linear layers that quantize what they multiply.

Weights and inputs are quantized and mapped back, so that a float kernel computes what an integer
one would. With one scale for each input channel, s_c, that holds only if the scales leave the sum
over channels: they go into the weight, W'_c = W_c s_c, which is quantized in their place, and the
input is handed on as code minus zero point. A padded zero is the code of zero then, as it should.

A layer that takes a concatenation may quantize its parts on their own (Q-Diffusion, Li et al. 2023,
arXiv 2302.04304, Sec. 4.2); their products are summed.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.methods.quest.config import ActivationQuantConfig, WeightQuantConfig
from vismodels.methods.quest.quantizers import ActivationQuantizer, WeightQuantizer


class QuantizedLayer(nn.Module):
    """What quantized layers share; `weight` and `bias` stay those of the float layer.

    Weights are always quantized to their present ranges: after a change of weights or of scales
    that are folded into them, `initialize_weights_` fits new ones.
    """

    weight: Tensor
    bias: Any  # a parameter or None
    weight_quantizers: nn.ModuleList  # one for each part
    activation_quantizers: nn.ModuleList
    input_axis: int  # that holds the input's channels

    def _add_quantizers(
        self,
        weights: WeightQuantConfig,
        activations: ActivationQuantConfig,
        time_groups: int,
        split: int | None,
    ) -> None:
        channels = self._input_channels()
        if split is not None and not (0 < split < channels and self.weight.shape[1] == channels):
            raise ValueError(
                f"a split lies between the {channels} channels of an input without groups, got "
                f"{split}"
            )
        bounds = [0, channels] if split is None else [0, split, channels]
        self.parts = tuple(slice(*ends) for ends in pairwise(bounds))
        self.folds_channels = activations.granularity == "channel"
        self.quantizes_weight = True  # False: the float weight is used
        self._kept: Tensor | None = None
        self.weight_quantizers = nn.ModuleList(
            WeightQuantizer(weights, self.weight.shape[0]) for _ in self.parts
        )
        self.activation_quantizers = nn.ModuleList(
            ActivationQuantizer(
                activations,
                part.stop - part.start if self.folds_channels else 1,
                time_groups,
                self.input_axis,
            )
            for part in self.parts
        )

    def folded_weight(self) -> Tensor:
        """Return the float weight that is quantized, of the shape of `weight`."""
        if not self.folds_channels:
            return self.weight
        return (self.weight * self._per_input(self._folded_scales())).to(self.weight.dtype)

    def weight_parts(self) -> list[Tensor]:
        """Return the slices of `folded_weight`, one for each weight quantizer."""
        weight = self.folded_weight()
        return [weight] if len(self.parts) == 1 else [weight[:, part] for part in self.parts]

    def quantized_weight(self) -> Tensor:
        """Return `folded_weight` quantized and mapped back, with the gradient of the identity."""
        if self._kept is not None:
            return self._kept
        pairs = zip(self.weight_quantizers, self.weight_parts(), strict=True)
        quantized = [quantizer(part) for quantizer, part in pairs]
        return quantized[0] if len(quantized) == 1 else torch.cat(quantized, dim=1)

    def unfolded(self, weight: Tensor) -> Tensor:
        """Return the value of `weight` whose `folded_weight` is this one."""
        if not self.folds_channels:
            return weight
        return (weight / self._per_input(self._folded_scales())).to(self.weight.dtype)

    def initialize_weights_(self) -> None:
        """Set the ranges of the weights to fit the present weights."""
        for quantizer, part in zip(self.weight_quantizers, self.weight_parts(), strict=True):
            assert isinstance(quantizer, WeightQuantizer)
            quantizer.initialize_(part.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer computes of `x`; without quantization, the float layer's bits."""
        if not self.quantizes_weight:
            return self._compute(self._quantized_input(x, unit=False), self.weight, self.bias)
        return self._compute(self.quantized_input(x), self.quantized_weight(), self.bias)

    def quantized_input(self, x: Tensor) -> Tensor:
        """Return the input as `quantized_weight` meets it, of the shape of `x`."""
        return self._quantized_input(x, self.folds_channels)

    def _quantized_input(self, x: Tensor, unit: bool) -> Tensor:
        quantizers = self._activation_quantizers()
        if len(quantizers) == 1:
            quantized: Tensor = quantizers[0](x, unit)
            return quantized
        if not (unit or any(each.is_active for each in quantizers)):
            return x
        sizes = [part.stop - part.start for part in self.parts]
        pairs = zip(quantizers, torch.split(x, sizes, self.input_axis), strict=True)
        return torch.cat([each(part, unit) for each, part in pairs], self.input_axis)

    def _folded_scales(self) -> Tensor:
        return torch.cat([each.effective_scale()[0] for each in self._activation_quantizers()])

    def _activation_quantizers(self) -> list[ActivationQuantizer]:
        return list(self.activation_quantizers)  # type: ignore[arg-type]

    def _input_channels(self) -> int:
        raise NotImplementedError

    def _per_input(self, values: Tensor) -> Tensor:
        """Return one value for each input channel, shaped to broadcast over the weight."""
        raise NotImplementedError

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError


Layer = TypeVar("Layer", bound=nn.Module)
Quantized = TypeVar("Quantized", bound=QuantizedLayer)


class QuantizedLinear(QuantizedLayer, nn.Linear):
    """A linear layer that quantizes its weight and its input, (B, ..., features)."""

    input_axis = -1

    @classmethod
    def from_float(
        cls,
        layer: nn.Linear,
        weights: WeightQuantConfig,
        activations: ActivationQuantConfig,
        time_groups: int = 1,
        split: int | None = None,
    ) -> Self:
        """Return a quantized layer that shares the parameters of `layer`.

        Args:
            layer: any linear layer.
            weights: how they are quantized.
            activations: how its input is.
            time_groups: sets of scales of the input.
            split: features of the first of two parts of the input; None for a single one.

        Raises:
            ValueError: for a split outside the features.
        """
        new = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        _share(layer, new)
        new._add_quantizers(weights, activations, time_groups, split)
        return _finished(new, layer)

    def to_float(self) -> nn.Linear:
        """Return a float layer with the same parameters."""
        new = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        return _share(self, new)

    def _input_channels(self) -> int:
        return self.in_features

    def _per_input(self, values: Tensor) -> Tensor:
        return values

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)


class QuantizedConv2d(QuantizedLayer, nn.Conv2d):
    """A convolution that quantizes its weight and its input, (B, channels, H, W)."""

    input_axis = 1

    @classmethod
    def from_float(
        cls,
        layer: nn.Conv2d,
        weights: WeightQuantConfig,
        activations: ActivationQuantConfig,
        time_groups: int = 1,
        split: int | None = None,
    ) -> Self:
        """Return a quantized layer that shares the parameters of `layer`.

        Args:
            layer: any convolution.
            weights: how they are quantized.
            activations: how its input is.
            time_groups: sets of scales of the input.
            split: channels of the first of two parts of the input; None for a single one.

        Raises:
            ValueError: for a split outside the channels, or of a convolution with groups.
        """
        new = cls(**_convolution_arguments(layer))
        _share(layer, new)
        new._add_quantizers(weights, activations, time_groups, split)
        return _finished(new, layer)

    def to_float(self) -> nn.Conv2d:
        """Return a float layer with the same parameters."""
        return _share(self, nn.Conv2d(**_convolution_arguments(self)))

    def _input_channels(self) -> int:
        return self.in_channels

    def _per_input(self, values: Tensor) -> Tensor:
        grouped = values.view(self.groups, 1, -1)  # the inputs of each group of outputs
        outputs = self.out_channels // self.groups
        return grouped.expand(-1, outputs, -1).reshape(self.out_channels, -1, 1, 1)

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output: Tensor = self._conv_forward(x, weight, bias)
        return output


@contextmanager
def kept_weights(model: nn.Module, names: Collection[str] | None = None) -> Iterator[None]:
    """Quantize weights once for the whole block, which is what takes most of a short call.

    Inside, changes of these weights, of their quantizers and of scales folded into them are not
    seen, and they get no gradient.

    Args:
        model: holds quantized layers.
        names: of the layers whose weights do not change; None for all.
    """
    layers = [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, QuantizedLayer) and (names is None or name in names)
    ]
    try:
        with torch.no_grad():
            for layer in layers:
                layer._kept = layer.quantized_weight().detach()
        yield
    finally:
        for layer in layers:
            layer._kept = None


def _convolution_arguments(layer: nn.Conv2d) -> dict[str, Any]:
    return {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "bias": layer.bias is not None,
        "padding_mode": layer.padding_mode,
        "device": "meta",
    }


def _share(source: nn.Module, target: Layer) -> Layer:
    for name, parameter in source.named_parameters(recurse=False):
        target.register_parameter(name, parameter)
    return target.train(source.training)


def _finished(new: Quantized, layer: nn.Module) -> Quantized:
    for quantizers in (new.weight_quantizers, new.activation_quantizers):
        quantizers.to(new.weight.device)
    if not new.weight.is_meta:  # else its values, and the ranges, are loaded later
        new.initialize_weights_()
    new.train(layer.training)
    return new
