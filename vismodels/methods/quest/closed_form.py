"""Weights fitted to quantized inputs in closed form: least squares, then GPTQ. No gradients. Ours.

Layer after layer in the order in which they run, each with the inputs it gets from the layers that
are quantized so far: bias and weight learn by ridge regression what its output lacks of the float
network's, ranges are set anew, and columns are rounded one after another.

Legend: n rows of inputs, O outputs, K inputs of an output (channels times kernel), g groups of a
convolution.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import ClosedFormConfig
from vismodels.methods.quest.layers import QuantizedConv2d, QuantizedLayer
from vismodels.methods.quest.quantize import enabled
from vismodels.methods.quest.quantizers import WeightQuantizer
from vismodels.methods.quest.unit_data import calls_of, layer_inputs, watch_outputs
from vismodels.methods.quest.units import find_units, layers_of
from vismodels.nn.modes import evaluation_mode
from vismodels.quantization.gptq import gptq
from vismodels.quantization.least_squares import compensation

USEFUL = 32  # samples of a timestep; fewer made images worse than no fit at all
SPREAD = 2_654_435_761  # a large prime: multiples of it are spread evenly over rows


@dataclass(frozen=True)
class FitReport:
    """How far the output of a layer is from the float network's; mean squared errors.

    Args:
        name: of the layer.
        before: with quantized inputs, and the weight as it was, quantized.
        after: with the weight fitted and rounded.
    """

    name: str
    before: float
    after: float


@torch.no_grad()
def fit_in_closed_form_(
    model: nn.Module,
    teacher: nn.Module,
    calibration: CalibrationSet,
    config: ClosedFormConfig = ClosedFormConfig(),  # noqa: B008 (frozen)
    *,
    batch_size: int = 32,
) -> tuple[FitReport, ...]:
    """Fit and round all weights of a network whose activations are calibrated.

    Weights stand on the grid of their quantizers afterwards, if GPTQ is asked for.

    Args:
        model: quantized and calibrated; changed in place.
        teacher: the float network, with modules of the same names.
        calibration: inputs of the float network. A few samples of many prompts are better than
            many of a few: 128 of 32 prompts did well, 140 of 7 did harm. Fewer than 32 samples of
            a timestep are warned of.
        config: which steps.
        batch_size: samples in a call.

    Returns:
        A report for each layer, in the order in which they were fitted.

    Raises:
        ValueError: for a unit that does not run.
    """
    each = len(calibration) // len(torch.unique(calibration.timesteps))
    if each < USEFUL:
        logging.getLogger(__name__).warning(
            "%d samples of a timestep are few to fit weights to; take at least %d prompts",
            each,
            USEFUL,
        )
    reports = []
    with evaluation_mode(model), enabled(model, weights=True, activations=True):
        for unit in find_units(model, calibration.select(torch.arange(1))):
            share = config.rows / len(calibration)
            targets = _target_rows(
                teacher, unit, tuple(layers_of(model, unit)), calibration, share, batch_size
            )
            calls = calls_of(model, unit, calibration, batch_size)
            for name, target in targets.items():
                layer = model.get_submodule(name)
                assert isinstance(layer, QuantizedLayer)
                entered = layer_inputs(
                    model, unit, name, calls, calibration.timesteps, batch_size
                )  # fmt: skip
                rows = torch.cat([_input_rows(layer, x, share) for x in entered], dim=1)
                reports.append(_fit_layer_(name, layer, rows, target, config))
    return tuple(reports)


def _fit_layer_(
    name: str, layer: QuantizedLayer, rows: Tensor, target: Tensor, config: ClosedFormConfig
) -> FitReport:
    """Fit one layer; rows: (g, n, K), target: (n, O)."""
    before = _error(layer, rows, target)
    groups = len(rows)
    if config.compensate:
        weight = layer.folded_weight().clone()
        residual = target - _outputs(layer, weight, rows)
        changes = [
            compensation(x, y, ridge=config.ridge, intercept=layer.bias is not None)
            for x, y in zip(rows, residual.chunk(groups, dim=1), strict=True)
        ]
        weight += torch.cat([change for change, _ in changes]).view_as(weight)
        layer.weight.data.copy_(layer.unfolded(weight))
        if layer.bias is not None:
            layer.bias.data += torch.cat([shift for _, shift in changes])
        layer.initialize_weights_()
    if config.gptq:
        layer.weight.data.copy_(layer.unfolded(_rounded(layer, rows, config.damping)))
    return FitReport(name, before, _error(layer, rows, target))


def _rounded(layer: QuantizedLayer, rows: Tensor, damping: float) -> Tensor:
    """Return the folded weight rounded by GPTQ."""
    weight = layer.folded_weight()
    quantizers = [each for each in layer.weight_quantizers if isinstance(each, WeightQuantizer)]
    flat = weight.flatten(1)
    widths = [part[0].numel() for part in layer.weight_parts()]
    scale, zero_point = (
        torch.cat(
            [
                getattr(q, kind)[:, None].expand(-1, w)
                for q, w in zip(quantizers, widths, strict=True)
            ],
            dim=1,
        )
        for kind in ("scale", "zero_point")
    )
    outputs = len(flat) // len(rows)
    grouped = [torch.split(each, outputs) for each in (flat, scale, zero_point)]
    rounded = [
        gptq(own, x.T @ x / len(x), s, z, quantizers[0].spec, damping=damping)
        for x, own, s, z in zip(rows, *grouped, strict=True)
    ]
    return torch.cat(rounded).view_as(weight)


def _error(layer: QuantizedLayer, rows: Tensor, target: Tensor) -> float:
    return (_outputs(layer, layer.quantized_weight(), rows) - target).square().mean().item()


def _outputs(layer: QuantizedLayer, weight: Tensor, rows: Tensor) -> Tensor:
    """Return what a layer with this weight puts out for rows of inputs, (n, O)."""
    matrices = weight.flatten(1).chunk(len(rows))
    products = [x @ matrix.T for x, matrix in zip(rows, matrices, strict=True)]
    output = torch.cat(products, dim=1)
    return output if layer.bias is None else output + layer.bias


def _target_rows(
    teacher: nn.Module,
    unit: str,
    layers: tuple[str, ...],
    calibration: CalibrationSet,
    share: float,
    batch_size: int,
) -> dict[str, Tensor]:
    """Return layer -> (n, O), what the float network's layers put out, in the order they run."""
    found: dict[str, list[Tensor]] = {}

    def take(name: str, output: Tensor) -> None:
        rows = output.flatten(2).transpose(1, 2) if output.ndim == 4 else output
        flat = rows.reshape(-1, rows.shape[-1])
        found.setdefault(name, []).append(flat[_places(len(flat), len(output), share)])

    watch_outputs(teacher, unit, layers, calibration, batch_size, take)
    return {name: torch.cat(rows) for name, rows in found.items()}


def _input_rows(layer: QuantizedLayer, x: Tensor, share: float) -> Tensor:
    """Return rows of quantized inputs as the weight meets them, (g, n, K)."""
    quantized = layer.quantized_input(x)
    if not isinstance(layer, QuantizedConv2d):
        flat = quantized.reshape(-1, quantized.shape[-1])
        return flat[_places(len(flat), len(x), share)][None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(quantized, layer._reversed_padding_repeated_twice, mode)
    patches = F.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
    flat = patches.transpose(1, 2).reshape(-1, patches.shape[1])
    chosen = flat[_places(len(flat), len(x), share)]
    return chosen.view(len(chosen), layer.groups, -1).transpose(0, 1)


def _places(count: int, samples: int, share: float) -> Tensor:
    """Return which of `count` rows of a batch are used: about `share` for each sample."""
    wanted = min(count, max(1, int(share * samples)))
    if wanted == count:
        return torch.arange(count)
    return torch.arange(wanted) * SPREAD % count
