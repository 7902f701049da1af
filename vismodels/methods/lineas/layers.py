"""The layers of a pipeline by pattern or type, and the units of what they put out.

A layer is named by its component and its place there (`text_encoder.text_model.final_layer_norm`),
with `:1` for the second element of an output that is a tuple.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

_SHOWN = 5
_DENOISER = re.compile(r"(unet|transformer)(_\d+)?")
_CHANNELS_FIRST = (
    nn.GroupNorm, nn.modules.batchnorm._NormBase, nn.modules.conv._ConvNd,
)  # fmt: skip
_UNITS_LAST = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm)
# Classes of diffusers and transformers that derive from none of those above.
_UNITS_LAST_NAME = re.compile(r"(RMSNorm|LayerNorm)$")


def pipeline_modules(pipeline: Any) -> nn.ModuleDict:
    """Return component name -> network of a pipeline of diffusers, as one module to search.

    Args:
        pipeline: has `components`; those that are no networks (tokenizers, scheduler) are left out.
    """
    parts = pipeline.components.items()
    return nn.ModuleDict({name: part for name, part in parts if isinstance(part, nn.Module)})


def denoisers(pipeline: Any) -> list[str]:
    """Return the components that run once in a denoising step, by the names diffusers gives."""
    return [name for name in pipeline_modules(pipeline) if _DENOISER.fullmatch(name)]


def split_layer(layer: str) -> tuple[str, int | None]:
    """Return the module's name and the element of its output: "a.b:1" gives ("a.b", 1)."""
    name, _, element = layer.partition(":")
    if element and not element.isdecimal():
        raise ValueError(f"expected a module's name or name:index, got {layer!r}")
    return name, int(element) if element else None


def component_of(layer: str) -> str:
    """Return the component of the pipeline that a layer belongs to."""
    return split_layer(layer)[0].partition(".")[0]


def select_layers(
    pipeline: Any,
    patterns: str | Iterable[str] = (),
    types: type[nn.Module] | tuple[type[nn.Module], ...] | None = None,
) -> tuple[str, ...]:
    """Return the names of the layers that fit, in the pipeline's order.

    Args:
        pipeline: of diffusers.
        patterns: regular expressions, of which one fits the whole name; with `:1` at the end for
            the second element of a tuple. None given: every name.
        types: the layers are instances of these classes; None for any class.

    Raises:
        ValueError: if a pattern fits no layer (with the names nearest to it), or none has the type.
    """
    modules = {name: part for name, part in pipeline_modules(pipeline).named_modules() if name}
    typed = [name for name, part in modules.items() if types is None or isinstance(part, types)]
    if not typed:
        kinds = sorted({type(part).__name__ for part in modules.values()})
        raise ValueError(f"{_named(pipeline)} has no layer of type {types}; it has {kinds}")
    chosen: dict[str, set[str]] = {}
    for pattern in [patterns] if isinstance(patterns, str) else list(patterns) or [".*"]:
        expression, colon, element = _split_pattern(pattern)
        found = [name for name in typed if re.fullmatch(expression, name)]
        if not found:
            raise ValueError(
                f"no layer of {_named(pipeline)} fits {pattern!r}{_near(expression, typed)}"
            )
        for name in found:
            chosen.setdefault(name, set()).add(f"{name}{colon}{element}")
    return tuple(layer for name in typed for layer in sorted(chosen.get(name, ())))


def unit_axis(module: nn.Module, output: Tensor) -> int:
    """Return the axis of a layer's output that holds its units.

    Channels of convolutions and group norms come after the batch; features of linear layers and
    layer norms come last, where (B, tokens, heads, features) may stand before them. Of other
    modules a tensor of four axes or more is an image or a video, (B, C, ...), and one of two or
    three has its features last.

    Raises:
        ValueError: for an output with fewer than two axes.
    """
    if output.ndim < 2:
        raise ValueError(
            f"{type(module).__name__} puts out {tuple(output.shape)}, which has no axis of units "
            "beside the batch; choose another layer"
        )
    if isinstance(module, _CHANNELS_FIRST):
        return 1
    if isinstance(module, _UNITS_LAST) or _UNITS_LAST_NAME.search(type(module).__name__):
        return output.ndim - 1
    return 1 if output.ndim > 3 else output.ndim - 1


def to_positions(output: Tensor, axis: int) -> Tensor:
    """Return (B, P, d): every token or pixel of an output, with the units of `axis` last."""
    return output.movedim(axis, -1).reshape(len(output), -1, output.shape[axis])


def _split_pattern(pattern: str) -> tuple[str, str, str]:
    """Return expression, colon and element; a colon inside an expression, as in (?:, stays."""
    head, colon, element = pattern.rpartition(":")
    return (head, colon, element) if element.isdecimal() else (pattern, "", "")


def _near(expression: str, names: list[str]) -> str:
    plain = re.sub(r"[\\^$*+?()\[\]{}|]", "", expression)
    near = difflib.get_close_matches(plain, names, n=_SHOWN, cutoff=0.4) or names[:_SHOWN]
    components = sorted({component_of(name) for name in names})
    return f"; near it are {near}; its components are {components}"


def _named(pipeline: Any) -> str:
    return type(pipeline).__name__
