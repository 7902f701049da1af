"""Quantization as pure functions: uniform affine, LSQ, HWGQ, and noise in place of rounding.

LSQ: Esser et al., "Learned Step Size Quantization" (ICLR 2020, arXiv 1902.08153).
HWGQ: Cai et al., "Deep Learning with Low Precision by Half-wave Gaussian Quantization" (CVPR 2017,
arXiv 1702.00953).
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vismodels.quantization.spec import QuantSpec

Distribution = Literal["uniform", "gaussian"]

SAMPLED_VALUES = 20_000  # of a tensor, in the search for a step

# Bits -> step for half a standard normal distribution, as in the published code of QuantNAS. Not
# quite optimal: the squared error is up to 8 % above the least one to 4 bits, 37 % at 8.
HWGQ_STEPS = {
    1: 1.0576462792297525,
    2: 0.6356366866203315,
    3: 0.3720645813370479,
    4: 0.21305606790772952,
    8: 0.020300567823662602,
    16: 9.714825915156693e-05,
}


def round_straight_through(x: Tensor) -> Tensor:
    """Return `x` rounded (halves to even), with the gradient of the identity."""
    return x + (x.round() - x).detach()


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> Tensor:
    """Return `x` quantized and mapped back, with a straight-through gradient for the rounding.

    round(x / scale) + zero_point, clipped to the range of `spec`, mapped back.

    Args:
        x: any shape, floating point, finite.
        scale: broadcastable to `x`; positive.
        zero_point: like `scale`, integral values: the integer that stands for zero.
        spec: bits and sign.

    Returns:
        Tensor like `x`; its gradient passes to `x` where the rounded value is in the range, and is
        zero elsewhere. `scale` and `zero_point` get theirs as well.
    """
    if spec.is_full_precision:
        return x
    if not torch.is_grad_enabled():  # the same numbers, in one new tensor
        return to_codes(x, scale, zero_point, spec).sub_(zero_point).mul_(scale)
    quantized: Tensor = _FakeQuantize.apply(x, scale, zero_point, spec)
    return quantized


class _FakeQuantize(torch.autograd.Function):
    """`fake_quantize` with its gradients written down, several times faster than operations are.

    With levels n = clip(round(x / s) + z) - z, the quantized x~ = n s has, where x is in the range,
    dx~/dx = 1, dx~/ds = n - x / s and dx~/dz = 0; elsewhere 0, n and -s. Masks are numbers, since
    operations on booleans are not vectorized on the CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> Tensor:
        ratio = x / scale
        rounded = ratio.round().add_(zero_point)
        levels = rounded.clamp(spec.minimum, spec.maximum)
        passes = torch.eq(rounded, levels, out=rounded)
        levels.sub_(zero_point)
        slope = torch.addcmul(levels, ratio, passes, value=-1) if ctx.needs_input_grad[1] else None
        ctx.save_for_backward(passes, slope, scale, zero_point)
        ctx.kind = x.dtype
        return levels.mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        passes, slope, scale, zero_point = ctx.saved_tensors
        to_x = to_scale = to_zero_point = None
        if ctx.needs_input_grad[0]:
            to_x = (gradient * passes).to(ctx.kind)
        if slope is not None:
            to_scale = _sum_of_products(gradient, slope, scale)
        if ctx.needs_input_grad[2]:
            lost = (passes - 1) * scale
            to_zero_point = _sum_of_products(gradient, lost, zero_point)
        return to_x, to_scale, to_zero_point, None


def _sum_of_products(first: Tensor, second: Tensor, like: Tensor) -> Tensor:
    """Return the sum of products over all axes that `like` was broadcast along."""
    if like.numel() == 1:
        return torch.dot(first.reshape(-1), second.reshape(-1)).to(like.dtype).view(like.shape)
    return (first * second).sum_to_size(like.shape).to(like.dtype)


@torch.no_grad()
def to_codes(x: Tensor, scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> Tensor:
    """Return the integers that `x` is quantized to, clamp(round(x / scale) + zero_point).

    Args:
        x: any shape, floating point, finite.
        scale: broadcastable to `x`; positive.
        zero_point: like `scale`, integral values: the integer that stands for zero.
        spec: bits and sign; bits below 32.

    Returns:
        A new tensor of integral values in the range of `spec`, of the type of `x / scale`.
    """
    codes = (x / scale).round_().add_(zero_point)
    return codes.clamp_(spec.minimum, spec.maximum)


def lsq(x: Tensor, scale: Tensor, spec: QuantSpec, gradient_scale: float) -> Tensor:
    """Return `x` quantized with a step that learns: round(clamp(x / scale)) * scale.

    The gradient of the step is Eq. (3) of the LSQ paper times `gradient_scale` (its section 2.2);
    that of `x` passes inside the range and is zero outside.

    Args:
        x: any shape, floating point.
        scale: broadcastable to `x`; positive.
        spec: bits and sign.
        gradient_scale: 1 / sqrt(largest integer * number of elements) in the paper.
    """
    if spec.is_full_precision:
        return x
    step = scale.detach() + (scale - scale.detach()) * gradient_scale  # the value is exact
    clamped = (x / step).clamp(spec.minimum, spec.maximum)
    return round_straight_through(clamped) * step


def lsq_step(x: Tensor, spec: QuantSpec, channels: bool = False) -> Tensor:
    """Return the step that LSQ starts from: 2 mean|x| / sqrt(largest integer).

    Args:
        x: any shape.
        spec: bits and sign.
        channels: one step for each index of the first axis, shaped to broadcast over `x`;
            otherwise one of shape (1,).
    """
    magnitude = x.detach().abs()
    if channels:
        mean = magnitude.mean(dim=tuple(range(1, x.ndim)), keepdim=True)
    else:
        mean = magnitude.mean().reshape(1)
    return torch.clamp_min(2 * mean / spec.maximum**0.5, torch.finfo(x.dtype).tiny)


@torch.no_grad()
def mse_step(x: Tensor, spec: QuantSpec, channels: bool = False) -> Tensor:
    """Return the step with the least mean squared error, of those that clip at a share of max|x|.

    Arguments and shape as for `lsq_step`; shares from 1/20 to 1. Of a tensor with many values, a
    fixed sample is looked at.
    """
    rows = x.detach().flatten(1) if channels else x.detach().reshape(1, -1)
    top = rows.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    if (count := rows.shape[1]) > SAMPLED_VALUES:
        # Multiples of a large prime are spread evenly; every n-th value may be one image column.
        rows = rows[:, torch.arange(SAMPLED_VALUES, device=x.device) * 2_654_435_761 % count]
    least, best = torch.full_like(top, torch.inf), top / spec.maximum
    for share in torch.linspace(0.05, 1, 20).tolist():
        step = top * share / spec.maximum
        quantized = (rows / step).round().clamp(spec.minimum, spec.maximum) * step
        error = (quantized - rows).square().mean(dim=1, keepdim=True)
        best = torch.where(error < least, step, best)
        least = torch.minimum(error, least)
    return best.view(-1, *[1] * (x.ndim - 1)) if channels else best.view(1)


def hwgq(x: Tensor, bits: int) -> Tensor:
    """Return the half-wave Gaussian quantization of `x`, the rectifier included.

    round(clamp(x, 0, d (2**bits - 1)) / d) * d with a fixed step d; 32 bits are a plain ReLU. The
    gradient passes inside the clipping range and is zero outside.

    Args:
        x: any shape, floating point; made for unit variance before the rectifier.
        bits: a key of `HWGQ_STEPS`, or 32.

    Raises:
        ValueError: for bits without a published step.
    """
    spec = QuantSpec(bits, signed=False)
    if spec.is_full_precision:
        return x.relu()
    if bits not in HWGQ_STEPS:
        raise ValueError(f"HWGQ has steps for {sorted(HWGQ_STEPS)} bits, got {bits}")
    step = HWGQ_STEPS[bits]
    levels = round_straight_through(x.clamp(0, step * spec.maximum) / step)
    return levels * step


@torch.no_grad()
def quantization_noise(
    x: Tensor,
    bits: int,
    generator: torch.Generator,
    distribution: Distribution = "uniform",
) -> Tensor:
    """Return noise as large as the rounding error of a min-max quantizer of `x`, without gradient.

    With the step D = (max x - min x) / (2**bits - 1) over the whole tensor: D * U(-1/2, 1/2), whose
    variance D**2 / 12 is that of rounding, or D * N(0, 1) / 2, as published with QuantNAS, whose
    variance is three times as large.

    Args:
        x: any shape, floating point.
        bits: 32 gives zeros.
        generator: source of randomness; numbers are drawn on its device and moved.
        distribution: `uniform` or `gaussian`.
    """
    noise = draw_noise(x.shape, x, generator, distribution)
    return noise.mul_(rounding_steps(x, (bits,))[0])


@torch.no_grad()
def rounding_steps(x: Tensor, bits: Sequence[int]) -> Tensor:
    """Return the steps of min-max quantizers of `x`, (len(bits),); zero for 32 bits.

    Raises:
        ValueError: for bits outside [1, 32].
    """
    low, high = torch.aminmax(x)
    specs = [QuantSpec(b, signed=False) for b in bits]
    parts = [0.0 if spec.is_full_precision else 1 / spec.maximum for spec in specs]
    return (high - low) * x.new_tensor(parts)


@torch.no_grad()
def draw_noise(
    shape: Sequence[int], like: Tensor, generator: torch.Generator, distribution: Distribution
) -> Tensor:
    """Return rounding noise of a quantizer whose step is 1.

    Args:
        shape: of the result.
        like: gives type and device.
        generator: source of randomness; numbers are drawn on its device and moved.
        distribution: `uniform` on [-1/2, 1/2], or `gaussian` with standard deviation 1/2.
    """
    noise = torch.empty(tuple(shape), dtype=like.dtype, device=generator.device)
    if distribution == "uniform":
        noise.uniform_(-0.5, 0.5, generator=generator)
    else:
        noise.normal_(0, 0.5, generator=generator)
    return noise.to(like.device)
