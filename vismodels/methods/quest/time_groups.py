"""Which set of activation scales belongs to a timestep: the nearest calibrated one's.

The authors' code counts sampling steps and has the number of steps of a group written into it. The
timestep itself serves any sampler, and batches of mixed timesteps, as in finetuning.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from vismodels.methods.quest.attention import QuantizedAttnProcessor
from vismodels.methods.quest.config import QuantizationSettings
from vismodels.methods.quest.quantizers import ActivationQuantizer, KeepsType

NAME = "quantization"  # of the child of a quantized network


class TimeGroups(KeepsType):
    """What a quantized network knows of its quantization beside its quantizers.

    Args:
        settings: what is quantized, and in how many time groups.
        splits: layer -> channels of the first part of its concatenated input.
        attentions: names of the attention modules with quantized products.
    """

    timesteps: Tensor

    def __init__(
        self, settings: QuantizationSettings, splits: Mapping[str, int], attentions: Sequence[str]
    ) -> None:
        super().__init__()
        self.settings, self.splits, self.attentions = settings, dict(splits), tuple(attentions)
        # Those that the groups were calibrated at, in units of the network's timesteps.
        self.register_buffer("timesteps", torch.zeros(settings.time_groups))

    def groups_of(self, timesteps: Tensor) -> Tensor:
        """Return the groups, (B,), whose timesteps are nearest to these, (B,); the first of two."""
        distances = timesteps.to(self.timesteps).view(-1, 1) - self.timesteps
        return distances.abs().argmin(dim=1)


def time_groups_of(model: nn.Module) -> TimeGroups:
    """Return what a quantized network knows of its quantization.

    Raises:
        ValueError: if it is not quantized.
    """
    child = model._modules.get(NAME)
    if not isinstance(child, TimeGroups):
        raise ValueError(f"this {type(model).__name__} is not quantized; call quantize_ first")
    return child


def check_timestep(model: nn.Module) -> None:
    """Raise a ValueError if the network takes no timestep, by which groups are chosen."""
    if "timestep" not in inspect.signature(model.forward).parameters:
        raise ValueError(
            f"{type(model).__name__} takes no argument called timestep, by which time groups are "
            "chosen; set time_groups: 1"
        )


def add_routing_(model: nn.Module, state: TimeGroups) -> None:
    """Have a network choose the groups of its quantizers at every call, by its own timestep."""
    model.add_module(NAME, state)
    model.register_forward_pre_hook(_route, with_kwargs=True)


def remove_routing_(model: nn.Module) -> None:
    """Undo `add_routing_`."""
    for number in [key for key, hook in model._forward_pre_hooks.items() if hook is _route]:
        del model._forward_pre_hooks[number]
        del model._forward_pre_hooks_with_kwargs[number]
    del model._modules[NAME]


def _route(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    # It finds all it needs in the network it is called with: a copy of the network routes itself.
    state = time_groups_of(model)
    for name in state.attentions:
        attention = model.get_submodule(name)
        assert isinstance(attention, Attention)
        if not isinstance(attention.processor, QuantizedAttnProcessor):
            raise RuntimeError(
                f"{name} got the processor {type(attention.processor).__name__}, which bypasses "
                "the quantizers of its products; dequantize_ the network before changing it"
            )
    if state.settings.time_groups == 1:
        return
    arguments = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
    groups = state.groups_of(torch.as_tensor(arguments["timestep"]))
    same = bool((groups == groups[0]).all())
    for module in model.modules():
        if isinstance(module, ActivationQuantizer):
            module.group = int(groups[0]) if same else groups
