"""Which parameters a stage of finetuning trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from vismodels.methods.quest.config import LayerSets, TuningStage
from vismodels.methods.quest.layer_sets import fitting, layer_names, parameter_share, select_layers
from vismodels.methods.quest.quantize import activation_quantizers, quantized_layers
from vismodels.methods.quest.quantizers import ActivationQuantizer

SCALES = ("scale", "log_factor")  # parameters of quantizers, which are no parameters of a network


@dataclass(frozen=True)
class Tuned:
    """What a stage trains.

    Args:
        layers: whose weights and biases are trained, or whose local errors count.
        weights: parameters of the network.
        scales: of activations, or logarithms of their factors.
        share: of the network's parameters that `weights` hold, 0 to 1.
        fixed: layers whose quantized weights stay what they are.
    """

    layers: tuple[str, ...]
    weights: tuple[nn.Parameter, ...]
    scales: tuple[nn.Parameter, ...]
    share: float
    fixed: frozenset[str]


@contextmanager
def select_tuned(model: nn.Module, stage: TuningStage, sets: LayerSets) -> Iterator[Tuned]:
    """Switch on the gradients of what a stage trains; relative scales are factors meanwhile.

    Args:
        model: quantized, with no gradients.
        stage: says what.
        sets: patterns of its layers.

    Raises:
        ValueError: if patterns fit no layer.
    """
    layers = _layers(model, stage, sets)
    if stage.weights == "all":
        named = [
            each for name, each in model.named_parameters() if name.rpartition(".")[2] not in SCALES
        ]
        share = 1.0
    else:
        named = [
            parameter
            for layer in layers
            for name, parameter in model.get_submodule(layer).named_parameters(recurse=False)
        ]
        share = parameter_share(model, layers)
    quantizers = _quantizers(model, stage, sets)
    if stage.relative_scales:
        scales = [quantizer.relative_() for quantizer in quantizers]
    else:
        scales = [quantizer.scale for quantizer in quantizers]
    for parameter in (*named, *scales):
        parameter.requires_grad_(True)
    trained = set(scales)
    fixed = frozenset(
        name
        for name, layer in quantized_layers(model).items()
        if name not in layers
        and stage.weights != "all"
        and not (layer.folds_channels and trained & set(layer.parameters()))
    )
    try:
        yield Tuned(layers, tuple(named), tuple(scales), share, fixed)
    finally:
        for quantizer in quantizers:
            quantizer.absolute_()


def _quantizers(model: nn.Module, stage: TuningStage, sets: LayerSets) -> list[ActivationQuantizer]:
    patterns = sets.temporal if stage.scales == "own" else (*sets.temporal, *sets.untouched)
    named = fitting(layer_names(model), patterns)
    return [
        quantizer
        for name, quantizer in activation_quantizers(model).items()
        if stage.scales == "all"
        or (stage.scales == "own") == any(name.startswith(f"{layer}.") for layer in named)
    ]


def _layers(model: nn.Module, stage: TuningStage, sets: LayerSets) -> tuple[str, ...]:
    match stage.weights:
        case "none":
            return ()
        case "all":
            return layer_names(model)
        case "temporal":
            return select_layers(model, sets.temporal)
        case "sensitive":
            return select_layers(model, sets.sensitive)
        case "both":
            return select_layers(model, (*sets.temporal, *sets.sensitive))
