"""Quantizers with a state: the learned steps of LSQ, and HWGQ in the same form."""

from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from vismodels.quantization.functional import hwgq, lsq, lsq_step, mse_step
from vismodels.quantization.spec import QuantSpec

ActivationKind = Literal["hwgq", "lsq"]
StepStart = Literal["lsq", "mse"]
Rectifier = Literal["relu", "leaky_relu", "prelu"]

STEP_STARTS = {"lsq": lsq_step, "mse": mse_step}
NEGATIVE_SLOPE = 0.1  # of a leaky ReLU, and of a PReLU at the start


class WeightLSQ(nn.Module):
    """Signed LSQ with one learned step for each output channel of a weight.

    Args:
        weight: (out channels, ...), from which the steps start.
        bits: 2 or more; 32 leaves weights as they are.
    """

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.spec = QuantSpec(bits, signed=True)
        step = lsq_step(weight, self.spec, channels=True)
        self.scale = None if self.spec.is_full_precision else nn.Parameter(step)

    def initialize_(self, weight: Tensor, start: StepStart = "lsq") -> None:
        """Set the steps to where LSQ starts for `weight`, or to the smallest squared error."""
        if self.scale is not None:
            self.scale.data.copy_(STEP_STARTS[start](weight, self.spec, channels=True))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantized weight; the gradient of the steps is scaled by the whole tensor."""
        if self.scale is None:
            return weight
        gradient_scale = (self.spec.maximum * weight.numel()) ** -0.5
        return lsq(weight, positive_scale(self.scale), self.spec, gradient_scale)


class ActivationLSQ(nn.Module):
    """LSQ of a feature map with one learned step; unsigned, it rectifies as well.

    Args:
        bits: 1 or more; 32 only rectifies, if unsigned.
        signed: keep negative values.
    """

    def __init__(self, bits: int, signed: bool = False) -> None:
        super().__init__()
        self.spec = QuantSpec(bits, signed)
        # A guess for features of unit variance; `layers.initialize_steps_` measures.
        step = torch.full((1,), 2 / self.spec.maximum**0.5)
        self.scale = None if self.spec.is_full_precision else nn.Parameter(step)

    def initialize_(self, x: Tensor, start: StepStart = "lsq") -> None:
        """Set the step to where LSQ starts for features like `x`, or to the smallest error."""
        if self.scale is not None:
            seen = x if self.spec.signed else x.relu()
            self.scale.data.copy_(STEP_STARTS[start](seen, self.spec))

    def forward(self, x: Tensor) -> Tensor:
        """Return the quantized features, of the shape of `x`, (B, ...)."""
        if self.scale is None:
            return x if self.spec.signed else x.relu()
        gradient_scale = (self.spec.maximum * max(prod(x.shape[1:]), 1)) ** -0.5
        return lsq(x, positive_scale(self.scale), self.spec, gradient_scale)


class ActivationHWGQ(nn.Module):
    """Half-wave Gaussian quantization as a module; it rectifies and learns nothing.

    Args:
        bits: one of `functional.HWGQ_STEPS`.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.spec = QuantSpec(bits, signed=False)
        hwgq(torch.zeros(1), bits)  # raises for bits without a step

    def forward(self, x: Tensor) -> Tensor:
        """Return the quantized features."""
        return hwgq(x, self.spec.bits)


def build_rectifier(kind: Rectifier) -> nn.Module:
    """Return the rectifier in front of an activation quantizer."""
    if kind == "relu":
        return nn.ReLU()
    return nn.LeakyReLU(NEGATIVE_SLOPE) if kind == "leaky_relu" else nn.PReLU(init=NEGATIVE_SLOPE)


def activation_quantizer(kind: ActivationKind, bits: int, signed: bool) -> nn.Module:
    """Return the quantizer of the input of a convolution; at 32 bits the identity.

    Args:
        kind: `hwgq` (fixed steps, rectifies, whatever `signed` says) or `lsq` (learned step).
        bits: of the activation.
        signed: what comes has negative values, which `lsq` keeps.
    """
    if QuantSpec(bits, signed=False).is_full_precision:
        return nn.Identity()
    return ActivationHWGQ(bits) if kind == "hwgq" else ActivationLSQ(bits, signed)


def positive_scale(scale: Tensor) -> Tensor:
    """Return the steps, kept away from zero, where training or zero weights could put them.

    The bound passes the gradient: a step that starts at zero, as of a convolution initialized with
    zeros, would otherwise stay there and keep its weights from moving.
    """
    magnitude = scale.abs()
    floor = max(1e-8, torch.finfo(scale.dtype).tiny)
    return magnitude + (magnitude.clamp_min(floor) - magnitude).detach()
