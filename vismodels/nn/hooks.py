"""Read and change what modules put out, inside a `with` block that leaves no hook behind."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from vismodels.config import suggestion

Edit = Callable[[nn.Module, Any], Any]
Selection = str | Iterable[str] | Callable[[str, nn.Module], bool]


class Captured(dict[str, Any]):
    """Module name -> its latest output; says so when a module has not run yet."""

    def __missing__(self, name: str) -> Any:
        raise KeyError(f"no output of {name!r} was captured{suggestion(name, self)}")


def select_modules(model: nn.Module, selection: Selection) -> dict[str, nn.Module]:
    """Return name -> module for the selected modules of `model`.

    Args:
        model: the model to search; the empty name is the model itself.
        selection: a name, several names, or a predicate of name and module.

    Raises:
        KeyError: for an unknown name, with the nearest one.
        ValueError: if nothing is selected.
    """
    if callable(selection):
        found = {name: part for name, part in model.named_modules() if selection(name, part)}
    else:
        modules = dict(model.named_modules(remove_duplicate=False))
        names = [selection] if isinstance(selection, str) else list(selection)
        for name in names:
            if name not in modules:
                known = suggestion(name, modules.keys() - {""})
                raise KeyError(f"{type(model).__name__} has no module {name!r}{known}")
        found = {name: modules[name] for name in names}
    if not found:
        raise ValueError(f"no module of {type(model).__name__} is selected")
    return found


@contextmanager
def capture(model: nn.Module, selection: Selection, *, copies: bool = False) -> Iterator[Captured]:
    """Yield a mapping from module name to the module's output, filled while the model runs.

    A module that runs again overwrites its entry; one reached other than by calling it has none.
    Opened inside `edit`, it holds the edited outputs, opened around it the original ones.

    Args:
        model: the model that will run inside the block.
        selection: a name, several names, or a predicate of name and module.
        copies: store detached copies. Otherwise the outputs themselves are stored: gradients
            flow, and a later in-place operation of the model shows in them.

    Raises:
        KeyError: for an unknown name, with the nearest one.
        ValueError: if nothing is selected.
    """
    captured = Captured()

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            captured[name] = tree_map(_detached_copy, output) if copies else output

        return hook

    with ExitStack() as handles:
        for name, module in select_modules(model, selection).items():
            handles.enter_context(module.register_forward_hook(record(name)))
        yield captured


@contextmanager
def edit(model: nn.Module, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Replace the outputs of modules by `edit(module, output)` while the block runs.

    The function gets the whole output, a tuple or dataclass included, and returns one of the same
    kind; `on_element` edits one element of it. Of two edits of a module the one opened first
    acts first.

    Args:
        model: the model that will run inside the block.
        edits: module name -> function of the module and its output.

    Raises:
        KeyError: for an unknown name, with the nearest one.
        ValueError: if `edits` is empty.
        TypeError: when the model runs, if an edit returns another kind of output.
    """

    def apply(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            edited = edits[name](module, output)
            if isinstance(edited, Tensor) and isinstance(output, Tensor):
                return edited
            if type(edited) is not type(output):
                raise TypeError(
                    f"the edit of {name!r} got a {type(output).__name__} and must return one, "
                    f"got {type(edited).__name__}; on_element(...) edits one element"
                )
            return edited

        return hook

    with ExitStack() as handles:
        for name, module in select_modules(model, edits).items():
            handles.enter_context(module.register_forward_hook(apply(name)))
        yield


def on_element(element: int | str, change: Edit) -> Edit:
    """Return an edit that changes one element of an output and keeps the others.

    Args:
        element: index in a tuple or list, or field of a named tuple, dataclass or mapping.
        change: function of the module and that element.

    Returns:
        A function for `edit`; it builds a new output and leaves the original as it was. It raises
        LookupError or AttributeError for an element the output does not have, TypeError for an
        output without elements.
    """

    def edited(module: nn.Module, output: Any) -> Any:
        if fields := getattr(output, "_fields", None):  # a named tuple
            field = fields[element] if isinstance(element, int) else element
            return output._replace(**{field: change(module, getattr(output, field))})
        if isinstance(output, tuple | list):
            items = list(output)
            items[element] = change(module, items[element])  # type: ignore[index]
            return type(output)(items)
        if isinstance(output, Mapping):  # before dataclasses: transformers' outputs are both
            key = list(output)[element] if isinstance(element, int) else element
            result: Any = copy.copy(output)
            result[key] = change(module, output[key])
            return result
        if dataclasses.is_dataclass(output) and isinstance(element, str):
            return dataclasses.replace(
                output,  # type: ignore[type-var]
                **{element: change(module, getattr(output, element))},
            )
        raise TypeError(
            f"{type(module).__name__} puts out a {type(output).__name__}, "
            f"which has no element {element!r}"
        )

    return edited


def _detached_copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **tree_map(_detached_copy, fields))
    return value
