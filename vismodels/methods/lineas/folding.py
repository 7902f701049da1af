"""Maps put into the weights of the layers they follow: no hook, no cost, a plain checkpoint.

Where a layer ends in an affine operation, scale (W x + b) + shift is one again. That holds for
linear layers, convolutions and normalizations, hence for the layers that LinEAS steers in a UNet.
"""

from collections import Counter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vismodels.methods.lineas.layers import component_of, pipeline_modules, split_layer
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.nn.hooks import select_modules

# By exact class: a subclass may compute something else. affine: has a place for a shift, even if
# it is empty; scale: adds a shift only where it was built with one.
FOLDABLE: dict[str, Literal["affine", "scale"]] = {
    "torch.nn.modules.linear.Linear": "affine",
    "torch.nn.modules.conv.Conv1d": "affine",
    "torch.nn.modules.conv.Conv2d": "affine",
    "torch.nn.modules.conv.Conv3d": "affine",
    "torch.nn.modules.normalization.GroupNorm": "affine",
    "torch.nn.modules.normalization.LayerNorm": "affine",
    "diffusers.models.normalization.FP32LayerNorm": "affine",
    "torch.nn.modules.normalization.RMSNorm": "scale",
    "diffusers.models.normalization.RMSNorm": "scale",
    "transformers.models.t5.modeling_t5.T5LayerNorm": "scale",
}


@torch.no_grad()
def fold_(
    pipeline: Any, maps: Maps, strength: float = 1.0, *, create: bool = False
) -> tuple[str, ...]:
    """Put `maps` into the pipeline's weights, all or none, and return the parameters created.

    Afterwards the pipeline computes what it would under `steer`, up to rounding to its type, and
    `save_pretrained` writes a checkpoint that needs nothing of this package.

    Args:
        pipeline: of diffusers; changed in place.
        maps: of its layers.
        strength: from 0, which changes nothing, to 1.
        create: add biases, or weights of a norm without any, where a layer has none. They work in
            memory and are saved, but `from_pretrained` builds the layers without them and drops
            them: only without `create` a reloaded checkpoint is sure to be the folded one.

    Raises:
        KeyError: for a layer that the pipeline does not have, with the nearest one.
        ValueError: if a map cannot be folded, with the reason for every one; nothing is changed.
    """
    folded = maps.at(strength)
    if strength == 0:
        return ()
    refused = refusals(pipeline, folded, create=create)
    if refused:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in refused.items())
        raise ValueError(
            f"{len(refused)} of {len(maps)} maps cannot be folded: {reasons}. Fold the others "
            "(maps.subset) and leave these to steer()"
        )
    modules = pipeline_modules(pipeline)
    created: list[str] = []
    for layer, each in folded.items():
        component: Any = modules[component_of(layer)]
        name = split_layer(layer)[0]
        module = modules.get_submodule(name)
        created += [f"{name}.{field}" for field in _fold(module, each, component.dtype)]
    return tuple(created)


def refusals(pipeline: Any, maps: Maps, *, create: bool = False) -> dict[str, str]:
    """Return layer -> reason for the maps that `fold_` would refuse.

    Raises:
        KeyError: for a layer that the pipeline does not have, with the nearest one.
    """
    modules = pipeline_modules(pipeline)
    named = select_modules(modules, {split_layer(layer)[0] for layer in maps})
    weights = Counter(id(p) for _, p in modules.named_parameters(remove_duplicate=False))
    reasons = {}
    for layer, each in maps.items():
        name, element = split_layer(layer)
        module = named[name]
        if maps.mode != "all":
            reason = f"mode {maps.mode!r} does not move every position alike"
        elif each.is_bounded:
            reason = "its map acts on a range of values only"
        elif element:
            reason = f"element {element} of an output is no output of the layer's weights"
        elif any(weights[id(parameter)] > 1 for parameter in module.parameters(recurse=False)):
            reason = "another layer shares its weights"
        else:
            reason = _refusal(module, each, create)
        if reason:
            reasons[layer] = reason
    return reasons


def _refusal(module: nn.Module, each: AffineMap, create: bool) -> str:
    """Return why a map cannot be folded into a layer, or nothing."""
    kind = FOLDABLE.get(f"{type(module).__module__}.{type(module).__qualname__}")
    if kind is None:
        return f"a {type(module).__name__} does not end in an affine operation known to fold"
    weight, bias = _parameters(module)
    shifted = bool(each.shift.any())
    if weight is not None and not weight.is_floating_point():
        return f"its weights are {weight.dtype}; fold before quantizing"
    units = _units(module)
    if units != each.units:
        return f"it has {units} units and its map {each.units}"
    if shifted and bias is None and kind == "scale":
        return f"a {type(module).__name__} without bias has no place for a shift"
    missing = [
        field
        for field, needed, tensor in (("weight", True, weight), ("bias", shifted, bias))
        if needed and tensor is None
    ]
    if missing and not create:
        return (
            f"it has no {' and no '.join(missing)}; create=True adds them, which a reloaded "
            "checkpoint would lack"
        )
    return ""


def _fold(module: nn.Module, each: AffineMap, dtype: torch.dtype) -> list[str]:
    """Change a layer's parameters and return the names of those that are new."""
    created = []
    weight, bias = _parameters(module)
    device = next((p.device for p in (weight, bias) if p is not None), torch.device("cpu"))
    scale, shift = each.scale.to(device, torch.float64), each.shift.to(device, torch.float64)
    if weight is None:
        weight = _new(module, "weight", torch.ones(each.units, dtype=dtype, device=device))
        created.append("weight")
    if bias is None and shift.any():
        bias = _new(module, "bias", torch.zeros(each.units, dtype=weight.dtype, device=device))
        created.append("bias")
    weight.copy_(weight.double() * scale.view(-1, *[1] * (weight.ndim - 1)))
    if bias is not None:
        bias.copy_(bias.double() * scale + shift)
    return created


def _new(module: nn.Module, name: str, value: Tensor) -> nn.Parameter:
    parameter = nn.Parameter(value, requires_grad=False)
    setattr(module, name, parameter)
    return parameter


def _parameters(module: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    return getattr(module, "weight", None), getattr(module, "bias", None)


def _units(module: nn.Module) -> int | None:
    """Return the number of units of a foldable layer, None for a norm over several axes."""
    weight, _ = _parameters(module)
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    shape = getattr(module, "normalized_shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) == 1 else None
    return None if weight is None else len(weight)
