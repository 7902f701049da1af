"""Edits of layer outputs, tuples among them, and the steered output itself.

On top of `nn.hooks`, whose edits come after the hooks that a module has already: text encoders of
transformers keep hooks that collect the hidden states which pipelines then use, and a map must act
before them, or it acts on nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vismodels.methods.lineas.config import Mode
from vismodels.methods.lineas.layers import split_layer, to_positions
from vismodels.methods.lineas.maps import AffineMap
from vismodels.nn.hooks import Edit, on_element, select_modules


@contextmanager
def inserted(model: nn.Module, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Replace outputs by `edit(module, output)` in the block, before any other hook sees them.

    Args:
        model: the model that will run inside the block.
        edits: module name -> function of the module and its output.

    Raises:
        KeyError: for an unknown name, with the nearest one.
    """

    def hook_of(edit: Edit) -> Any:
        return lambda module, args, output: edit(module, output)

    with ExitStack() as handles:
        for name, module in select_modules(model, edits).items():
            hook = module.register_forward_hook(hook_of(edits[name]), prepend=True)
            handles.enter_context(hook)
        yield


def at_element(element: int | None, change: Edit) -> Edit:
    """Return an edit of a layer's output: of the tensor itself, or of one element of a tuple.

    Args:
        element: which; None for the first. The others are kept as they are.
        change: function of the module and the tensor.
    """

    def edited(module: nn.Module, output: Any) -> Any:
        if isinstance(output, Tensor):
            if element:
                raise ValueError(
                    f"{type(module).__name__} puts out one tensor, which has no element {element}; "
                    "leave the index out"
                )
            return change(module, output)
        return on_element(element or 0, change)(module, output)

    return edited


def module_edits(changes: Mapping[str, Edit]) -> dict[str, Edit]:
    """Return module name -> edit of its output, from layer -> function of module and tensor.

    Layers may be several elements of one module's output; each is changed on its own.
    """
    edits: dict[str, list[Edit]] = {}
    for layer, change in changes.items():
        name, element = split_layer(layer)
        edits.setdefault(name, []).append(at_element(element, change))
    return {name: _in_turn(each) for name, each in edits.items()}


def _in_turn(edits: list[Edit]) -> Edit:
    def edited(module: nn.Module, output: Any) -> Any:
        for each in edits:
            output = each(module, output)
        return output

    return edited


def transported(output: Tensor, each: AffineMap, axis: int, mode: Mode) -> Tensor:
    """Return a new tensor: `output` with its units moved, in its own type.

    The map is applied in the larger type of the two, float32 at least.

    Args:
        output: of a layer, at least two axes.
        each: of as many units as `axis` is long.
        axis: which holds the units.
        mode: which positions are moved, see `Maps`.

    Raises:
        ValueError: if the numbers of units differ, or mode is last and there are no tokens.
    """
    if output.shape[axis] != each.units:
        raise ValueError(
            f"it puts out {output.shape[axis]} units and its map has {each.units}; "
            "maps belong to the pipeline they were fitted on"
        )
    if mode == "image_avg":
        mode = "avg" if output.ndim > 3 else "all"
    values = output.to(torch.promote_types(output.dtype, each.scale.dtype)).movedim(axis, -1)
    match mode:
        case "all":
            result = each.moved(values)
        case "avg":
            mean = to_positions(values, values.ndim - 1).mean(1)
            shift = each.moved(mean) - mean
            result = values + shift.view(len(values), *[1] * (values.ndim - 2), -1)
        case "last":
            if values.ndim > 3 or axis != output.ndim - 1:
                raise ValueError(
                    f"it puts out {tuple(output.shape)}, which has no last token; mode 'last' is "
                    "for layers that put out (B, tokens, units)"
                )
            before, last = values[..., :-1, :], values[..., -1:, :]
            single = values.ndim == 2
            result = each.moved(values) if single else torch.cat([before, each.moved(last)], -2)
    return result.movedim(-1, axis).to(output.dtype)
