"""Every network of the package by name: list, describe, build."""

import inspect
from typing import Any

from torch import nn

import vismodels.methods.covidnet3d.network
import vismodels.methods.quantnas.network
import vismodels.nn.crnn
import vismodels.nn.nafnet
import vismodels.nn.residual_sr
import vismodels.nn.residual_unet3d
import vismodels.nn.rfdn
import vismodels.nn.srresnet  # noqa: F401  (these modules fill the registry)
from vismodels.config import suggestion
from vismodels.registry import ARCHITECTURES, Architecture


def list_models(pattern: str = "*", task: str | None = None) -> list[str]:
    """Return the sorted names of the networks.

    Args:
        pattern: shell pattern on the name (`*_sr`).
        task: only networks for this task (`super-resolution`); None for all.

    Raises:
        ValueError: if no network at all is for `task`, with the nearest task.
    """
    tasks = {ARCHITECTURES.get(name).task for name in ARCHITECTURES.names()}
    if task is not None and task not in tasks:
        raise ValueError(f"no model is for the task {task!r}{suggestion(task, tasks)}")
    names = ARCHITECTURES.names(pattern)
    return [name for name in names if task in (None, ARCHITECTURES.get(name).task)]


def model_info(name: str) -> Architecture:
    """Return what is known of a network: task, input, size rules, scale, source, defaults.

    Raises:
        KeyError: for an unknown name, with the nearest one.
    """
    return ARCHITECTURES.get(name)


def create_model(name: str, **overrides: Any) -> nn.Module:
    """Return a new network with random weights, in training mode.

    Args:
        name: one of `list_models()`.
        overrides: keyword arguments of the network's class.

    Raises:
        KeyError: for an unknown name, with the nearest one.
        TypeError: for an argument the network does not take, with the nearest one.
    """
    architecture = ARCHITECTURES.get(name)
    known = inspect.signature(architecture.build).parameters
    for argument in overrides:
        if argument not in known:
            raise TypeError(f"{name} takes no argument {argument!r}{suggestion(argument, known)}")
    model: nn.Module = architecture.build(**{**architecture.defaults, **overrides})
    return model
