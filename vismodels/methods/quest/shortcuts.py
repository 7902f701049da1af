"""Where shortcuts join: the layers that take a concatenation, and how many channels come first.

Features and shortcut differ in range, so that Q-Diffusion (Li et al. 2023, arXiv 2302.04304,
Sec. 4.2) quantizes both parts on their own. Of the layers behind a concatenation only the 1x1
convolution beside the residual block takes it as it is; the others come after a normalization.
"""

import inspect
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

SKIPPED = "res_hidden_states_tuple"  # what the up blocks of diffusers call their shortcuts


def has_shortcuts(model: nn.Module) -> bool:
    """Return whether a network has up blocks that take shortcuts."""
    return any(_is_up_block(module) for module in model.modules())


def find_splits(model: nn.Module, *args: Any, **kwargs: Any) -> dict[str, int]:
    """Return layer -> channels of the features before the shortcut, as seen in one call.

    Args:
        model: of diffusers.
        args: of the call.
        kwargs: of the call.
    """
    splits: dict[str, int] = {}
    with ExitStack() as stack, torch.no_grad():
        for name, block in model.named_modules():
            if _is_up_block(block):
                hook = _watch(name, splits)
                handle = block.register_forward_pre_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
        model(*args, **kwargs)
    return splits


def _is_up_block(module: nn.Module) -> bool:
    return (
        isinstance(getattr(module, "resnets", None), nn.ModuleList)
        and SKIPPED in inspect.signature(module.forward).parameters
    )


def _watch(name: str, splits: dict[str, int]) -> Any:
    def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = inspect.signature(block.forward).bind_partial(*args, **kwargs).arguments
        resnets: Any = block.resnets
        shortcuts = reversed(arguments[SKIPPED])  # the last one is joined first
        for place, (resnet, shortcut) in enumerate(zip(resnets, shortcuts, strict=False)):
            if resnet.conv_shortcut is not None:
                channels = resnet.conv_shortcut.in_channels - shortcut.shape[1]
                splits[f"{name}.resnets.{place}.conv_shortcut"] = channels

    return hook
