"""Linear layers and convolutions on the processor's 8-bit kernels: the one place that calls them.

The kernels are oneDNN's, as torch brings them: codes of the input in uint8, integers of the weight
in int8, sums in int32, results in float32. Torch's older quantized tensors, which are deprecated,
are not needed. Processors without VNNI instructions add products of two neighbors in int16, where
255 * 127 * 2 does not fit and is cut off; `probe` finds out, and weights are limited accordingly.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.quantization.spec import QuantSpec

INT8_LARGEST, INT16_LARGEST, UINT8_LARGEST = 127, 32_767, 255
TOLERANCE = 1e-4  # of the largest value; float32 results differ by 1e-7, saturated ones by 0.1

_log = logging.getLogger(__name__)


# --- what the processor can do -------------------------------------------------------------------


@dataclass(frozen=True)
class Int8Support:
    """What the self-test of the kernels has found.

    Args:
        available: they are there, and exact for small weights.
        saturates: they are wrong for weights of 8 bits with inputs of 8 bits.
        reason: why they are not available; else empty.
    """

    available: bool
    saturates: bool = False
    reason: str = ""

    def largest_weight(self, spec: QuantSpec) -> int:
        """Return the largest 2**n - 1 that a weight may have to be exact with inputs of `spec`."""
        if not self.saturates:
            return INT8_LARGEST
        fits = min(INT8_LARGEST, INT16_LARGEST // (2 * (spec.maximum - spec.minimum)))
        return int(2 ** ((fits + 1).bit_length() - 1)) - 1


def probe() -> Int8Support:
    """Return what the 8-bit kernels of this machine can do, from products that are known exactly.

    If they cannot be used, the reason is logged as a warning.
    """
    try:
        small, large = (_largest_error(largest) for largest in (7, INT8_LARGEST))
    except (AttributeError, RuntimeError) as error:  # torch without oneDNN, or another processor
        support = Int8Support(False, reason=f"torch has no 8-bit kernels here: {error}")
    else:
        wrong = (
            "" if small < TOLERANCE else f"8-bit kernels are off by {small:.1%} for 4-bit weights"
        )
        support = Int8Support(not wrong, large >= TOLERANCE, wrong)
    if support.reason:
        _log.warning("%s; layers stay in floating point", support.reason)
    return support


def _largest_error(largest: int) -> float:
    """Return the error of both kernels for large inputs and weights up to `largest`, relative."""
    generator = torch.Generator().manual_seed(0)
    grid = InputGrid(torch.ones(1), torch.zeros(1), QuantSpec(8, signed=False))
    x = torch.randint(200, 256, (16, 320, 1, 1), generator=generator).float()
    values = torch.randint(0, largest + 1, (64, 320, 1, 1), generator=generator)
    weight = IntegerWeight(values.to(torch.int8), torch.ones(64))
    flat = IntegerWeight(weight.values.flatten(1), weight.scale)
    exact = x.flatten(1).double() @ values.flatten(1).double().T
    results = (
        Int8Linear(flat, None, (grid,))(x.flatten(1)),
        Int8Conv2d(weight, None, (grid,))(x).flatten(1),
    )
    return float(max((result - exact).abs().max() for result in results) / exact.max())


# --- integers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InputGrid:
    """The codes of an input: clamp(round(x / scale) + zero_point).

    Args:
        scale: (1,), or (C,) for one of each input channel.
        zero_point: like `scale`, integral values in the range of `spec`: the code of zero.
        spec: bits and sign; at most 8 bits.
        folded: the weight has been multiplied with the scales of its input channels beforehand, so
            that the kernel takes code - zero_point as the value.

    Raises:
        ValueError: for more than 8 bits, or scales of channels that are not folded.
    """

    scale: Tensor
    zero_point: Tensor
    spec: QuantSpec
    folded: bool = False

    def __post_init__(self) -> None:
        if self.spec.bits > 8:
            raise ValueError(f"8-bit kernels take inputs of at most 8 bits, got {self.spec.bits}")
        if self.scale.numel() != 1 and not self.folded:
            raise ValueError(
                f"{self.scale.numel()} scales of input channels cannot be taken out of an integer "
                "product; fold them into the weight"
            )


@dataclass(frozen=True)
class IntegerWeight:
    """A weight as integers around zero.

    Args:
        values: (O, ...), int8.
        scale: (O,), float32.
        limited: largest magnitude that some output channels were rounded to once more; None for a
            weight that is exact.
    """

    values: Tensor
    scale: Tensor
    limited: int | None = None

    @classmethod
    def of(cls, codes: Tensor, scale: Tensor, zero_point: Tensor, largest: int) -> "IntegerWeight":
        """Return the integers codes - zero_point, which may not be larger than `largest`.

        Output channels with larger ones are rounded once more, to as many as there may be.

        Args:
            codes: (O, ...), integers.
            scale: O values.
            zero_point: O integral values.
            largest: at most 127; see `Int8Support.largest_weight`.
        """
        column = (-1, *[1] * (codes.ndim - 1))
        centered = codes.int() - zero_point.view(column).int()
        magnitude = centered.flatten(1).abs().amax(1)
        shrunk = magnitude.clamp_min(largest).double() / largest  # 1 for what fits
        values = (centered / shrunk.view(column)).round().to(torch.int8)
        limited = largest if bool((magnitude > largest).any()) else None
        return cls(values, (scale.flatten().double() * shrunk).float(), limited)


@dataclass(frozen=True)
class _Kernel:
    """A grid as the kernel takes it, whose smallest code is 0.

    Args:
        scale: to divide the input by: a number, or (C,).
        shift: to add: a number, or (C,); the code of zero.
        largest: code.
        bias: (O,), float32; for a folded grid with what the codes of zero would add.
        folded: see `InputGrid`.
    """

    scale: float | Tensor
    shift: float | Tensor
    largest: int
    bias: Tensor | None
    folded: bool

    @classmethod
    def of(cls, grid: InputGrid, weight: IntegerWeight, bias: Tensor | None) -> "_Kernel":
        scale = grid.scale.detach().float().flatten()
        shift = grid.zero_point.detach().float().flatten() - grid.spec.minimum
        largest = grid.spec.maximum - grid.spec.minimum
        bias = None if bias is None else bias.detach().double()
        if grid.folded:
            # sum w (code - shift) = sum w code - sum w shift, the last the same at all positions
            channels = weight.values.double().view(*weight.values.shape[:2], -1).sum(2)
            outputs, inputs = channels.shape
            if shift.numel() % inputs or outputs % (groups := shift.numel() // inputs):
                raise ValueError(
                    f"{shift.numel()} scales of input channels do not fit a weight of "
                    f"{tuple(weight.values.shape)}"
                )
            shifts = shift.double().view(groups, inputs).repeat_interleave(outputs // groups, 0)
            constant = -weight.scale.double() * (channels * shifts).sum(1)
            bias = constant if bias is None else bias + constant
        floats = None if bias is None else bias.float()
        if grid.folded:
            return cls(scale, shift, largest, floats, True)
        return cls(scale.item(), shift.item(), largest, floats, False)

    def codes(self, x: Tensor, channel_axis: int) -> Tensor:
        """Return the codes of `x`, uint8, the same as those of `functional.fake_quantize`."""
        scale, shift = self.scale, self.shift
        if isinstance(scale, Tensor) and isinstance(shift, Tensor):
            shape = [1] * x.ndim
            shape[channel_axis] = -1
            scale, shift = scale.view(shape), shift.view(shape)
        rounded = (x.float() / scale).round_()  # half precision would round to other codes
        if self.largest <= INT8_LARGEST:
            return rounded.add_(shift).clamp_(0, self.largest).to(torch.int8).view(torch.uint8)
        # Torch makes int8 of floats several times as fast as uint8; flipping the highest bit of
        # code - 128 gives the code. Code - zero point is an integer, so that nothing is rounded.
        rounded.add_(shift - 128).clamp_(-128, self.largest - 128)
        return rounded.to(torch.int8).view(torch.uint8).bitwise_xor_(128)

    def arguments(self) -> tuple[float, int]:
        """Return scale and zero point as the kernel is told them."""
        if isinstance(self.scale, Tensor) or isinstance(self.shift, Tensor):
            return 1.0, 0
        return self.scale, int(self.shift)


class _Int8Layer(nn.Module):
    """What both layers share: scales of the weight, and what the kernel is told of each grid."""

    _packed: Tensor  # the weight in the kernel's own layout

    def __init__(
        self, weight: IntegerWeight, bias: Tensor | None, grids: Sequence[InputGrid]
    ) -> None:
        super().__init__()
        if not grids:
            raise ValueError("an 8-bit layer needs a grid for its input, got none")
        if len({grid.folded for grid in grids}) > 1 or (grids[0].folded and len(grids) > 1):
            raise ValueError(
                "time groups with scales of input channels would need a weight for each group"
            )
        self._weight_scale = weight.scale
        self._weight_shift = torch.zeros(len(weight.scale), dtype=torch.int32)
        self._kernels = [_Kernel.of(grid, weight, bias) for grid in grids]

    def resident_bytes(self) -> int:
        """Return the bytes that the layer holds; the kernel's own layout may add padding."""
        held = [self._packed, self._weight_scale, self._weight_shift]
        held += [kernel.bias for kernel in self._kernels if kernel.bias is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


class Int8Linear(_Int8Layer):
    """A linear layer on integers.

    Args:
        weight: (out features, in features).
        bias: (out features,), or None.
        grids: of the input, one for each time group.

    Raises:
        ValueError: without a grid, or with scales of another number of input channels.
    """

    def __init__(
        self, weight: IntegerWeight, bias: Tensor | None, grids: Sequence[InputGrid]
    ) -> None:
        super().__init__(weight, bias, grids)
        self._packed = torch.ops.onednn.qlinear_prepack(weight.values, None)

    @torch.no_grad()
    def forward(self, x: Tensor, group: int = 0) -> Tensor:
        """Return (..., out features) of `x`, (..., in features), by grid `group`; no gradient."""
        kernel = self._kernels[group]
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            kernel.codes(x, -1).contiguous(),
            *kernel.arguments(),
            self._packed,
            self._weight_scale,
            self._weight_shift,
            kernel.bias,
            1.0,  # scale and zero point of a quantized output
            0,
            torch.float32,
            "none",  # nothing is done to the result
            [],
            "",
        )
        return y.to(x.dtype)


class Int8Conv2d(_Int8Layer):
    """A convolution on integers; the padding is the code of zero.

    Args:
        weight: (out channels, in channels / groups, height, width).
        bias: (out channels,), or None.
        grids: of the input, one for each time group.
        stride: of height and width.
        padding: of height and width, with zeros.
        dilation: of height and width.
        groups: as in `nn.Conv2d`.

    Raises:
        ValueError: without a grid, or with scales of another number of input channels.
    """

    def __init__(
        self,
        weight: IntegerWeight,
        bias: Tensor | None,
        grids: Sequence[InputGrid],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__(weight, bias, grids)
        # The kernel pads with its zero point; zero points of channels are padded in front of it.
        self.outside = padding if grids[0].folded else (0, 0)
        inside = (0, 0) if grids[0].folded else padding
        self._form = (list(stride), list(inside), list(dilation), groups)
        # Scale and zero point of the input are given here only to say that there is a zero point.
        self._packed = torch.ops.onednn.qconv_prepack(
            weight.values, weight.scale, 1.0, 1, *self._form
        )

    @torch.no_grad()
    def forward(self, x: Tensor, group: int = 0) -> Tensor:
        """Return (B, out channels, H', W') of `x`, (B, C, H, W), by grid `group`; no gradient.

        The result lies channels last in memory.
        """
        kernel = self._kernels[group]
        if any(self.outside):
            height, width = self.outside
            x = F.pad(x, (width, width, height, height))
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(
            kernel.codes(x, 1),
            *kernel.arguments(),
            self._packed,
            self._weight_scale,
            self._weight_shift,
            kernel.bias,
            *self._form,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return y.to(x.dtype)
