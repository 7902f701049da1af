"""A quantized network on the processor's 8-bit kernels, with a report of what that brings.

Every layer that the kernels can compute is executed: within a quantized network that costs less
than to unpack its weights. Whether the float network would have been faster is measured.
"""

import copy
import logging
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vismodels.methods.quest.attention import QuantizedAttnProcessor
from vismodels.methods.quest.execute_attention import ExecutedAttnProcessor
from vismodels.methods.quest.packed import PackedConv2d, PackedLayer, pack_
from vismodels.methods.quest.quantize import dequantize_, quantized_layers
from vismodels.methods.quest.quantizers import ActivationQuantizer
from vismodels.quantization.int8 import (
    InputGrid,
    Int8Conv2d,
    Int8Linear,
    Int8Support,
    IntegerWeight,
    probe,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExecutionReport:
    """What `execute_int8_` did.

    Args:
        executed: names of layers that run on integers.
        kept: name -> why not, of those that are computed in floating point.
        limited: name -> bits of its weights, of executed layers whose codes had to be rounded once
            more for the kernels.
        speed_ratio: CPU-seconds of the float network, in the faster of two memory layouts, by those
            of the executed one; None if it was not measured.
    """

    executed: tuple[str, ...]
    kept: Mapping[str, str]
    limited: Mapping[str, int]
    speed_ratio: float | None = None

    def __str__(self) -> str:
        lines = [f"{len(self.executed)} layers run on 8-bit integers, {len(self.kept)} in float"]
        lines += [f"  {reason}: {', '.join(names)}" for reason, names in _grouped(self.kept)]
        for bits, names in _grouped(self.limited):
            lines.append(f"{len(names)} layers are executed with weights of {bits} bits")
        if self.speed_ratio is not None:
            verdict = "faster" if self.speed_ratio > 1 else "not faster"
            lines.append(f"{verdict} than float: {self.speed_ratio:.2f} x its speed")
        return "\n".join(lines)


class ExecutedLayer(nn.Module):
    """A layer on integers, one kernel for each part of its input; without gradient.

    Args:
        layer: packed, with calibrated activations.
        support: what the self-test of the kernels has found.

    Raises:
        ValueError: if the kernels cannot compute it.
    """

    def __init__(self, layer: PackedLayer, support: Int8Support) -> None:
        super().__init__()
        if not support.available:
            raise ValueError(support.reason)
        if (device := layer.packed_weights()[0].packed.device).type != "cpu":
            raise ValueError(
                f"8-bit kernels run on the processor, and its weight is on {device}; move the "
                "network there first"
            )
        self.input_axis = layer.input_axis
        self.sizes = [part.stop - part.start for part in layer.parts]
        self.activation_quantizers = layer.activation_quantizers  # know the time group
        self.limited: int | None = None
        kernels: list[Int8Conv2d | Int8Linear] = []
        bias: Tensor | None = layer._parameters["bias"]
        for number, packed in enumerate(layer.packed_weights()):
            quantizer = self._quantizers()[number]
            if not quantizer.enabled:
                raise ValueError("its input is not quantized")
            weight = IntegerWeight.of(
                packed.codes(),
                packed.scale,
                packed.zero_point,
                support.largest_weight(quantizer.spec),
            )
            self.limited = self.limited or weight.limited
            grids = [
                InputGrid(scale, zero_point, quantizer.spec, folded=layer.folds_channels)
                for scale, zero_point in zip(
                    quantizer.effective_scale(), quantizer.zero_point, strict=True
                )
            ]
            try:
                kernels.append(_kernel(layer, weight, bias if number == 0 else None, grids))
            except RuntimeError as error:  # of torch: a form that this build does not have
                what = str(error).strip().partition("\n")[0]
                raise ValueError(f"torch cannot prepare its kernel: {what}") from error
        self.kernels = nn.ModuleList(kernels)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the quantized layer computes of `x`, up to the rounding of float sums."""
        if len(self.sizes) == 1:
            return self._part(0, x)
        parts = torch.split(x, self.sizes, self.input_axis)
        total = self._part(0, parts[0])
        for number, part in enumerate(parts[1:], start=1):
            total += self._part(number, part)
        return total

    def kernel_bytes(self) -> int:
        """Return the bytes of the kernels, which are neither parameters nor buffers."""
        return sum(kernel.resident_bytes() for kernel in self.kernels)  # type: ignore[operator]

    def _part(self, number: int, x: Tensor) -> Tensor:
        kernel, group = self.kernels[number], self._quantizers()[number].group
        if not isinstance(group, Tensor):
            result: Tensor = kernel(x, group)
            return result
        found = [(group == each).nonzero()[:, 0] for each in torch.unique(group)]
        results = torch.cat([kernel(x[rows], int(group[rows[0]])) for rows in found])
        return torch.empty_like(results).index_copy_(0, torch.cat(found), results)

    def _quantizers(self) -> list[ActivationQuantizer]:
        return list(self.activation_quantizers)  # type: ignore[arg-type]


def execute_int8_(
    model: nn.Module, example: Mapping[str, Any] | None = None, rounds: int = 5
) -> ExecutionReport:
    """Run the layers of a quantized network on 8-bit kernels, and return what came of it.

    The network is packed, and neither trained nor saved afterwards. Layers that the kernels cannot
    compute stay packed, for a reason that is reported and logged. Products of attention are of
    integers in float32; see `execute_attention`.

    Args:
        model: quantized and calibrated; changed in place. On another device than the processor
            all of its layers stay packed.
        example: arguments of a call, with which the speed is measured.
        rounds: calls of each network that the median is taken of.

    Raises:
        ValueError: if the network is not quantized.
    """
    pack_(model)
    twin = None
    if example is not None:
        twin = copy.deepcopy(model)
        dequantize_(twin)
    support = probe()
    executed: dict[nn.Module, ExecutedLayer] = {}
    kept: dict[str, str] = {}
    limited: dict[str, int] = {}
    names = []
    for name, layer in quantized_layers(model).items():
        assert isinstance(layer, PackedLayer)
        try:
            executed[layer] = ExecutedLayer(layer, support)
        except ValueError as error:
            kept[name] = str(error)
            continue
        names.append(name)
        if largest := executed[layer].limited:
            limited[name] = largest.bit_length() + 1  # with the sign
    for reason, layers in _grouped(kept):
        if support.available:  # else the self-test has logged it
            few = ", ".join(layers[:5] + ["..."] * (len(layers) > 5))
            _log.warning("%d layers stay in float (%s): %s", len(layers), few, reason)
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in executed:
            model.set_submodule(name, executed[module])
        elif isinstance(module, QuantizedAttnProcessor):
            model.set_submodule(name, ExecutedAttnProcessor.of(module))
    ratio = None if twin is None or example is None else _speed_ratio(model, twin, example, rounds)
    return ExecutionReport(tuple(names), kept, limited, ratio)


def _kernel(
    layer: PackedLayer, weight: IntegerWeight, bias: Tensor | None, grids: list[InputGrid]
) -> Int8Conv2d | Int8Linear:
    if not isinstance(layer, PackedConv2d):
        return Int8Linear(weight, bias, grids)
    padding = (0, 0) if layer.padding == "valid" else layer.padding
    if layer.padding_mode != "zeros" or isinstance(padding, str):
        raise ValueError(f"its padding is {layer.padding!r}, of {layer.padding_mode}")
    return Int8Conv2d(
        weight,
        bias,
        grids,
        stride=_pair(layer.stride),
        padding=_pair(padding),
        dilation=_pair(layer.dilation),
        groups=layer.groups,
    )


@torch.no_grad()
def _speed_ratio(
    model: nn.Module, twin: nn.Module, example: Mapping[str, Any], rounds: int
) -> float:
    """Return CPU-seconds of the faster float layout by those of the executed network."""
    last = copy.deepcopy(twin).to(memory_format=torch.channels_last)
    calls: list[Callable[[], object]] = [
        lambda: model(**example), lambda: twin(**example), lambda: last(**example)
    ]  # fmt: skip
    seconds: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + 1):  # the first is for warming up
        for measured, call in zip(seconds, calls, strict=True):
            before = time.process_time()
            call()
            if number:
                measured.append(time.process_time() - before)
    executed, *floats = map(statistics.median, seconds)
    return min(floats) / executed


def _grouped(reasons: Mapping[str, Any]) -> list[tuple[Any, list[str]]]:
    """Return value -> names, in the order in which values come first."""
    groups: dict[Any, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return list(groups.items())


def _pair(size: tuple[int, ...]) -> tuple[int, int]:
    return size[0], size[1]
