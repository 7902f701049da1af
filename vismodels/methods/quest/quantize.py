"""A denoiser of diffusers made a quantized one in place, and back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import nn

from vismodels.config import suggestion
from vismodels.methods.quest.attention import QuantizedAttnProcessor
from vismodels.methods.quest.config import QuantizationSettings
from vismodels.methods.quest.layer_sets import KINDS, fitting
from vismodels.methods.quest.layers import QuantizedConv2d, QuantizedLayer, QuantizedLinear
from vismodels.methods.quest.quantizers import ActivationQuantizer
from vismodels.methods.quest.saving import allow_saving_, refuse_saving_
from vismodels.methods.quest.shortcuts import has_shortcuts
from vismodels.methods.quest.time_groups import (
    TimeGroups,
    add_routing_,
    check_timestep,
    remove_routing_,
    time_groups_of,
)

OTHER_KINDS = (
    nn.Conv1d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)  # that would stay float without a word


@dataclass(frozen=True)
class LayerReport:
    """What became of a layer.

    Args:
        name: in the network.
        kind: a convolution, a linear layer, or both products of an attention.
        weight_bits: None for attention, which has no weight of its own.
        activation_bits: of the input, or of queries, keys and values.
        softmax_bits: of the probabilities; None for a layer.
        parameters: weights and biases.
        parts: that are quantized on their own.
    """

    name: str
    kind: Literal["conv", "linear", "attention"]
    weight_bits: int | None
    activation_bits: int
    softmax_bits: int | None
    parameters: int
    parts: int


def quantize_(
    model: nn.Module, settings: QuantizationSettings, splits: Mapping[str, int] | None = None
) -> tuple[LayerReport, ...]:
    """Quantize all 2-D convolutions, linear layers and attentions of a network, and report them.

    Parameters stay the same objects under the same names. Ranges of weights are set; those of
    activations are guesses until `calibration.calibrate_` has measured them. A network of diffusers
    is not saved before it is packed, with `vismodels.integrations.diffusers.pack_for_diffusers_`.

    Args:
        model: a denoiser of diffusers, changed in place, or not at all if an error is raised.
        settings: what is quantized.
        splits: as `shortcuts.find_splits` returns them; needed by `split_shortcuts` if there are
            shortcuts.

    Raises:
        ValueError: if the network is quantized already, is itself a layer, or holds a layer that
            cannot be quantized, such as a 3-D convolution, and is not skipped, or such an
            attention; if no layer is an edge though they have bits of their own; for missing or
            unknown splits; if it takes no timestep for several time groups.
    """
    layers = _float_layers(model, settings)
    splits = _needed_splits(model, settings, splits, layers)
    attentions = _attentions(model) if settings.softmax_bits is not None else {}
    if settings.time_groups > 1:
        check_timestep(model)
    edges = set(fitting(layers, settings.edge_layers))
    if not edges and settings.edge_bits != settings.activations.bits:
        raise ValueError(
            f"no layer of {type(model).__name__} fits edge_layers "
            f"({', '.join(settings.edge_layers)}), whose inputs have {settings.edge_bits} bits; "
            "name its first and last layer"
        )
    quantized: dict[nn.Module, QuantizedLayer] = {}
    for name, layer in layers.items():
        activations = settings.edge_activations if name in edges else settings.activations
        build = (
            QuantizedConv2d.from_float if isinstance(layer, nn.Conv2d)
            else QuantizedLinear.from_float
        )  # fmt: skip
        quantized[layer] = build(
            layer,  # type: ignore[arg-type]
            settings.weights,
            activations,
            settings.time_groups,
            splits.get(name),
        )
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in quantized:
            model.set_submodule(name, quantized[module])
    for attention in attentions.values():
        processor = QuantizedAttnProcessor(
            settings.attention, settings.probabilities, settings.time_groups
        )
        _set_processor(attention, processor.to(attention.to_q.weight.device))
    state = TimeGroups(settings, splits, tuple(attentions))
    add_routing_(model, state.to(next(iter(quantized.values())).weight.device))
    refuse_saving_(model)
    return report(model)


def dequantize_(model: nn.Module) -> None:
    """Make a quantized network a float one, with its present weights, unrounded.

    Raises:
        ValueError: if it is not quantized.
    """
    for name in time_groups_of(model).attentions:
        attention = model.get_submodule(name)
        assert isinstance(attention, Attention)
        _set_processor(attention, AttnProcessor2_0())  # type: ignore[no-untyped-call]
    plain = {
        module: module.to_float()
        for module in model.modules()
        if isinstance(module, QuantizedConv2d | QuantizedLinear)
    }
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, QuantizedConv2d | QuantizedLinear):
            model.set_submodule(name, plain[module])
    remove_routing_(model)
    allow_saving_(model)


def report(model: nn.Module) -> tuple[LayerReport, ...]:
    """Return what is quantized, in the order of the network."""
    lines = []
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLayer):
            lines.append(_layer_report(name, module))
        elif isinstance(module, QuantizedAttnProcessor):
            bits = module.query.config.bits
            softmax = module.probabilities.config.bits
            place = name.removesuffix(".processor")
            lines.append(LayerReport(place, "attention", None, bits, softmax, 0, 1))
    return tuple(lines)


def activation_quantizers(model: nn.Module) -> dict[str, ActivationQuantizer]:
    """Return name -> quantizer of every activation of a quantized network, in its order."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, ActivationQuantizer)
    }


def quantized_layers(model: nn.Module) -> dict[str, QuantizedLayer]:
    """Return name -> layer of every quantized layer, in the network's order."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, QuantizedLayer)
    }


def enable_(
    model: nn.Module, *, weights: bool | None = None, activations: bool | None = None
) -> None:
    """Switch quantizers on or off; a state dict does not tell.

    Args:
        model: quantized.
        weights: of all layers; None leaves them as they are.
        activations: of all inputs and attentions; None leaves them as they are.
    """
    if weights is not None:
        for layer in quantized_layers(model).values():
            layer.quantizes_weight = weights
    if activations is not None:
        for quantizer in activation_quantizers(model).values():
            quantizer.enabled = activations


@contextmanager
def enabled(model: nn.Module, *, weights: bool, activations: bool) -> Iterator[None]:
    """Switch all quantizers as in `enable_` within the block; with both off, the float network."""
    layers, quantizers = quantized_layers(model).values(), activation_quantizers(model).values()
    before = [each.quantizes_weight for each in layers], [each.enabled for each in quantizers]
    enable_(model, weights=weights, activations=activations)
    try:
        yield
    finally:
        for layer, value in zip(layers, before[0], strict=True):
            layer.quantizes_weight = value
        for quantizer, value in zip(quantizers, before[1], strict=True):
            quantizer.enabled = value


def _float_layers(model: nn.Module, settings: QuantizationSettings) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    if any(isinstance(module, QuantizedLayer) for module in modules.values()):
        raise ValueError(f"this {type(model).__name__} is quantized already; dequantize_ it first")
    if isinstance(model, KINDS):
        raise ValueError("the network is itself a layer; put it into an nn.Sequential")
    skipped = set(fitting(modules, settings.skip))
    kept = {n: m for n, m in modules.items() if n not in skipped}
    if others := {n: type(m).__name__ for n, m in kept.items() if isinstance(m, OTHER_KINDS)}:
        raise ValueError(
            f"only Conv2d and Linear are quantized, but this {type(model).__name__} has "
            f"{', '.join(sorted(set(others.values())))}: {', '.join(list(others)[:5])} "
            f"({len(others)} in all); name them in skip, and they stay float"
        )
    found: dict[str, nn.Module] = {n: m for n, m in kept.items() if isinstance(m, KINDS)}
    if not found:
        raise ValueError(f"this {type(model).__name__} has no layer to quantize")
    for name, layer in found.items():
        hooks = layer._forward_hooks or layer._forward_pre_hooks
        if type(layer) not in KINDS or hooks or not isinstance(layer.weight, nn.Parameter):
            raise ValueError(
                f"{name}: a {type(layer).__name__} with hooks, a computed weight or a forward of "
                "its own would lose them; remove them first, or name it in skip"
            )
    return found


def _needed_splits(
    model: nn.Module,
    settings: QuantizationSettings,
    splits: Mapping[str, int] | None,
    layers: Mapping[str, nn.Module],
) -> dict[str, int]:
    if not settings.split_shortcuts:
        return {}
    if splits is None and has_shortcuts(model):
        raise ValueError(
            f"this {type(model).__name__} has shortcuts, and split_shortcuts needs to know where "
            "they join: give splits, as shortcuts.find_splits returns them"
        )
    for name in splits or {}:
        if name not in layers:
            raise ValueError(f"no layer to split is called {name!r}{suggestion(name, layers)}")
    return dict(splits or {})


def _attentions(model: nn.Module) -> dict[str, Attention]:
    found = {}
    for name, module in model.named_modules():
        processor = getattr(module, "processor", None)
        if processor is None:
            continue
        if not isinstance(module, Attention) or type(processor) is not AttnProcessor2_0:
            raise ValueError(
                f"{name}: products of a {type(processor).__name__} cannot be quantized, only those "
                "of AttnProcessor2_0, the default of UNets and DiTs; set the default processor, or "
                "softmax_bits: null, which leaves attention products float"
            )
        found[name] = module
    return found


def _set_processor(attention: Attention, processor: Any) -> None:
    attention.set_processor(processor)  # which type hints expect to be a single class


def _layer_report(name: str, layer: QuantizedLayer) -> LayerReport:
    weights: Any = layer.weight_quantizers[0]  # of whichever class: packed, or being rounded
    activations: Any = layer.activation_quantizers[0]
    if isinstance(layer, QuantizedConv2d):
        shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    else:
        assert isinstance(layer, QuantizedLinear)
        shape = (layer.out_features, layer.in_features)
    return LayerReport(
        name,
        "conv" if isinstance(layer, QuantizedConv2d) else "linear",
        weights.config.bits,
        activations.config.bits,
        None,
        prod(shape) + (0 if layer.bias is None else shape[0]),
        len(layer.parts),
    )
