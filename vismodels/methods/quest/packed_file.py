"""What a file of a packed network holds: few names, since each takes as much as a small bias.

Scales and zero points, some values for each of hundreds of quantizers, are strung together in the
order of their names; codes, biases and what is not quantized keep names of their own.
"""

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

STRINGS = (
    "quantization.weight_scales",
    "quantization.weight_zero_points",
    "quantization.activation_scales",
    "quantization.activation_zero_points",
)


def strung(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with all scales and zero points strung together.

    Args:
        state: of a packed network.
    """
    strings = string_members(state)
    members = {name for names in strings.values() for name in names}
    rest = {name: tensor for name, tensor in state.items() if name not in members}
    return rest | {
        string: torch.cat([state[name].flatten() for name in names])
        for string, names in strings.items()
        if names
    }


def unstrung(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with scales and zero points under the names they have in the network.

    Args:
        state: as `strung` returns it, or a part of it.
        network: the state dict of a packed network like the one it is of, for names and shapes.

    Raises:
        ValueError: if a string is of another length than the network needs.
    """
    whole = {name: tensor for name, tensor in state.items() if name not in STRINGS}
    for string, names in string_members(network).items():
        if string not in state:
            continue
        counts = [prod(network[name].shape) for name in names]
        if state[string].shape != (sum(counts),):
            raise ValueError(
                f"{string} has the shape {tuple(state[string].shape)}, but this network has "
                f"{sum(counts)} such values; the file is of another network, or damaged"
            )
        for name, values in zip(names, state[string].split(counts), strict=True):  # type: ignore[no-untyped-call]
            whole[name] = values.view(network[name].shape)
    return whole


def string_members(state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return string -> names that it is strung of, in order, of a packed network's state dict."""
    strings: dict[str, list[str]] = {string: [] for string in STRINGS}
    for name in sorted(state):  # the order of modules may depend on how they came there
        owner, _, kind = name.rpartition(".")
        if kind == "zero_point" and f"{owner}.scale" in state:
            scales, zero_points = STRINGS[:2] if f"{owner}.packed" in state else STRINGS[2:]
            strings[scales].append(f"{owner}.scale")
            strings[zero_points].append(name)
    return strings
