"""What quantization does inside a denoiser: errors by layer, distributions of activations.

Wang et al. (2025), "QuEST", arXiv 2402.03666, Sec. 3.2 and figures of activations before and after
finetuning.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.layers import QuantizedLayer
from vismodels.methods.quest.quantize import enabled, quantized_layers
from vismodels.methods.quest.quantize_stage import QuantizedArm
from vismodels.methods.quest.workflow_config import QuantizeConfig

BINS = 80
SHOWN_INPUTS = 64  # of the validation inputs, from all timesteps
INSPECTED = "inspected.npz"
SENSITIVITY, HISTOGRAM = "sensitivity", "histogram"  # what begins the names in it
WIDE = "ff.net.2"  # ends the names of layers whose inputs the paper shows


def inspect(config: QuantizeConfig, name: str, made: QuantizedArm) -> dict[str, NDArray[Any]]:
    """Return what the report shows of the inside of an arm's first network, by name.

    `sensitivity/<layer>`: a number. `histogram/<layer>`: see `activation_histograms`; of the layers
    of feed-forward blocks that widen most.

    Args:
        config: whether this arm is to be looked into.
        name: of the arm.
        made: its network, not packed.
    """
    arrays: dict[str, NDArray[Any]] = {}
    count = len(made.inputs)
    one = made.inputs.select(torch.arange(0, count, max(count // SHOWN_INPUTS, 1)))
    if name == config.sensitivity:
        for layer, error in layer_sensitivity(made.denoiser, made.teacher, one).items():
            arrays[f"{SENSITIVITY}/{layer}"] = np.array(error)
    if name in config.histograms:
        layers = [layer for layer in quantized_layers(made.denoiser) if layer.endswith(WIDE)]
        for layer, histogram in activation_histograms(made.denoiser, one, layers).items():
            arrays[f"{HISTOGRAM}/{layer}"] = histogram
    return arrays


@torch.no_grad()
def layer_sensitivity(
    model: nn.Module, teacher: nn.Module, inputs: CalibrationSet
) -> dict[str, float]:
    """Return layer -> squared error of the network's output when only it is quantized.

    In percent of the float output's mean square; weight and input of the layer together. Attention
    products stay float.

    Args:
        model: quantized, calibrated, not packed; left as it was.
        teacher: the float network.
        inputs: one batch.
    """
    call = inputs.arguments(like=teacher)
    target = teacher(**call, return_dict=False)[0]
    scale = target.square().mean().item()
    found = {}
    with enabled(model, weights=False, activations=False):
        for name, layer in quantized_layers(model).items():
            assert isinstance(layer, QuantizedLayer)
            quantizers = list(layer.activation_quantizers)
            layer.quantizes_weight = True
            for quantizer in quantizers:
                quantizer.enabled = True  # type: ignore[assignment]
            output = model(**call, return_dict=False)[0]
            layer.quantizes_weight = False
            for quantizer in quantizers:
                quantizer.enabled = False  # type: ignore[assignment]
            found[name] = 100 * (output - target).square().mean().item() / scale
    return found


@torch.no_grad()
def activation_histograms(
    model: nn.Module, inputs: CalibrationSet, layers: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return layer -> (2, BINS): left edges of equal bins, and the share of its inputs in each.

    Args:
        model: a denoiser.
        inputs: one batch.
        layers: names of layers whose inputs are counted.
    """
    modules = dict(model.named_modules())
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen[name] = args[0].detach()

        return hook

    handles = [modules[name].register_forward_pre_hook(watch(name)) for name in layers]
    try:
        model(**inputs.arguments(like=model), return_dict=False)
    finally:
        for handle in handles:
            handle.remove()
    result = {}
    for name in layers:
        counts, edges = np.histogram(seen[name].double().cpu().numpy().ravel(), BINS)
        result[name] = np.stack([edges[:-1], counts / counts.sum()])
    return result
