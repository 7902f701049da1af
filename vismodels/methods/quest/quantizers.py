"""Quantizers of weights and of activations, with all they know in their state dict.

Legend: O output channels, G time groups, C scales of a group (channels, or one for a tensor).
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from vismodels.methods.quest.config import ActivationQuantConfig, WeightQuantConfig
from vismodels.quantization.functional import fake_quantize, to_codes
from vismodels.quantization.observers import to_rows
from vismodels.quantization.quantizers import positive_scale
from vismodels.quantization.ranges import affine_parameters, mse_range
from vismodels.quantization.spec import QuantSpec

GUESSED_RANGE = 4.0  # of features of unit variance, to both sides; calibration measures


class KeepsType(nn.Module):
    """Keeps tensors in their own type when the network changes its: half would round scales."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def moved(tensor: Tensor) -> Tensor:
            probe = fn(tensor.new_empty(0))
            return fn(tensor) if probe.dtype == tensor.dtype else tensor.to(probe.device)

        result: Self = super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return result


class WeightQuantizer(KeepsType):
    """Asymmetric quantizer of a weight with a fixed range for each output channel.

    Args:
        config: bits and the rule for ranges.
        channels: O.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, config: WeightQuantConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.spec = QuantSpec(config.bits, signed=False)
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("zero_point", torch.zeros(channels))

    @torch.no_grad()
    def initialize_(self, weight: Tensor) -> None:
        """Set the ranges that fit `weight`, (O, ...)."""
        rows = weight.flatten(1).float()
        find = mse_range if self.config.ranges == "mse" else _extremes
        scale, zero_point = affine_parameters(*find(rows, self.spec), self.spec)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)

    def codes(self, weight: Tensor) -> Tensor:
        """Return the integers, uint8, that `weight`, (O, ...), is quantized to."""
        return to_codes(weight, *self._shaped(weight), self.spec).to(torch.uint8)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantized weight, (O, ...); the gradient of the rounding is the identity's."""
        return fake_quantize(weight, *self._shaped(weight), self.spec).to(weight.dtype)

    def _shaped(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (weight.ndim - 1))
        return self.scale.view(shape), self.zero_point.view(shape)


class ActivationQuantizer(KeepsType):
    """Quantizer of an activation with trained scales and fixed zero points, for each time group.

    The gradient of a scale is that of the product: LSQ's without its scaling by the number of
    values. Steps of a scale should be relative to it, since scales differ by orders of magnitude:
    `relative_` trains the logarithm of a factor instead.

    Args:
        config: bits, sign, granularity.
        channels: C of the granularity channel, else 1.
        time_groups: G.
        axis: which axis of an activation holds the channels.
    """

    zero_point: Tensor
    log_factor: nn.Parameter | None

    def __init__(
        self, config: ActivationQuantConfig, channels: int = 1, time_groups: int = 1, axis: int = -1
    ) -> None:
        super().__init__()
        self.config, self.axis = config, axis
        self.spec = QuantSpec(config.bits, signed=config.symmetric)
        self.enabled = True  # False: activations pass as they are
        self.observe: Callable[[Tensor], None] | None = None  # called with what passes
        # Which group: one for all samples, or (B,). The network's `TimeGroups` says.
        self.group: int | Tensor = 0
        ends = torch.full((channels,), GUESSED_RANGE)
        scale, zero_point = affine_parameters(-ends, ends, self.spec)
        self.scale = nn.Parameter(scale.repeat(time_groups, 1))
        self.register_buffer("zero_point", zero_point.repeat(time_groups, 1))
        self.register_parameter("log_factor", None)

    @property
    def is_active(self) -> bool:
        """Whether activations have to pass here."""
        return self.enabled or self.observe is not None

    @torch.no_grad()
    def set_range_(self, low: Tensor, high: Tensor, group: int = 0) -> None:
        """Set the range of a time group; low and high: (C,)."""
        scale, zero_point = affine_parameters(low, high, self.spec)
        self.scale[group] = scale.to(self.scale)
        self.zero_point[group] = zero_point.to(self.zero_point)

    def effective_scale(self) -> Tensor:
        """Return the positive scales, (G, C), with their gradient."""
        scale = positive_scale(self.scale)
        return scale if self.log_factor is None else scale * self.log_factor.exp()

    def relative_(self) -> nn.Parameter:
        """Return the new logarithm of a factor, (G, C), that is trained instead of the scales."""
        if self.log_factor is None:
            self.log_factor = nn.Parameter(torch.zeros_like(self.scale))
            self.scale.requires_grad_(False)
        return self.log_factor

    @torch.no_grad()
    def absolute_(self) -> None:
        """Multiply the trained factor into the scales, which are parameters again."""
        if self.log_factor is not None:
            self.scale.copy_(self.effective_scale())
            self.scale.requires_grad_(True)
            self.log_factor = None

    def rows(self, x: Tensor) -> Tensor:
        """Return the values of `x` that share a scale, (C, n)."""
        return to_rows(x, self.axis if self.config.granularity == "channel" else None)

    def forward(self, x: Tensor, unit: bool = False) -> Tensor:
        """Return the quantized activation, of the shape and type of `x`, (B, ...).

        Args:
            x: what is quantized.
            unit: in units of the scale: code minus zero point, for a weight that holds the scale.

        Raises:
            ValueError: if samples have groups of their own and `x` has another number of samples.
        """
        if self.observe is not None:
            self.observe(x.detach())
        if not (self.enabled or unit):
            return x
        scale, zero_point = (self._shaped(each, x) for each in self._chosen(x))
        values = x
        if unit:
            values, scale = x / scale, torch.ones_like(scale)
        if self.enabled:
            values = fake_quantize(values, scale, zero_point, self.spec)
        return values.to(x.dtype)

    def _chosen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and zero point of the present group, (1 or B, C)."""
        group: slice | Tensor
        if isinstance(self.group, Tensor):
            if len(self.group) != len(x):
                raise ValueError(
                    f"{len(self.group)} samples have a time group each, but an activation has "
                    f"{len(x)}; call the network with one timestep for all, or with time_groups: 1"
                )
            group = self.group
        else:
            group = slice(self.group, self.group + 1)
        return self.effective_scale()[group], self.zero_point[group]

    def _shaped(self, values: Tensor, x: Tensor) -> Tensor:
        """Return (1 or B, C) shaped to broadcast over `x`."""
        shape = [len(values), *[1] * (x.ndim - 1)]
        shape[self.axis] = values.shape[1]
        return values.view(shape)


def _extremes(rows: Tensor, spec: QuantSpec) -> tuple[Tensor, Tensor]:
    return rows.amin(dim=1), rows.amax(dim=1)
