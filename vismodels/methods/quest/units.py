"""Units that are reconstructed together: blocks, and single layers outside blocks."""

from collections.abc import Sequence

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.layers import QuantizedLayer

BLOCKS: tuple[type[nn.Module], ...] = (ResnetBlock2D, BasicTransformerBlock, Attention)


@torch.no_grad()
def find_units(
    model: nn.Module, sample: CalibrationSet, blocks: Sequence[type[nn.Module]] = BLOCKS
) -> tuple[str, ...]:
    """Return the names of all units, in the order in which they first run.

    That is not always the order of the modules: the middle of a UNet is made last.

    Args:
        model: quantized.
        sample: what it is called with once.
        blocks: outermost ones of these classes are units, and quantized layers outside them.

    Raises:
        ValueError: if a unit does not run.
    """
    units: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{unit}.") for unit in units)
        if not inside and isinstance(module, (*blocks, QuantizedLayer)) and layers_of(model, name):
            units.append(name)
    ran: dict[str, None] = {}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: ran.setdefault(name)
        )
        for name in units
    ]
    try:
        model(**sample.arguments(like=model))
    finally:
        for handle in handles:
            handle.remove()
    if missing := [name for name in units if name not in ran]:
        raise ValueError(
            f"{', '.join(missing[:5])} ({len(missing)} in all) did not run; name such layers in "
            "skip"
        )
    return tuple(ran)


def layers_of(model: nn.Module, unit: str) -> dict[str, QuantizedLayer]:
    """Return name -> quantized layer of a unit, which may be a layer itself."""
    found = model.get_submodule(unit).named_modules()
    return {
        f"{unit}.{name}" if name else unit: module
        for name, module in found
        if isinstance(module, QuantizedLayer)
    }
