"""Layers by pattern, and what share of the parameters they hold."""

import logging
import re
from collections.abc import Collection, Iterable

from torch import nn

from vismodels.methods.quest.config import LayerSets, Patterns

KINDS = (nn.Conv2d, nn.Linear)  # of layers that are quantized


def fitting(names: Iterable[str], patterns: Patterns) -> tuple[str, ...]:
    """Return the names, in their order, that one of the patterns fits as a whole."""
    return tuple(name for name in names if any(re.fullmatch(p, name) for p in patterns))


def layer_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of all convolutions and linear layers, quantized or not."""
    return tuple(name for name, module in model.named_modules() if isinstance(module, KINDS))


def select_layers(model: nn.Module, patterns: Patterns) -> tuple[str, ...]:
    """Return the names of the convolutions and linear layers that fit, in the network's order.

    Raises:
        ValueError: if none fits.
    """
    names = layer_names(model)
    if not (found := fitting(names, patterns)):
        raise ValueError(
            f"no layer of {type(model).__name__} fits {', '.join(patterns)}; it has "
            f"{', '.join(names[:5])}, ..."
        )
    return found


def parameter_share(model: nn.Module, names: Collection[str]) -> float:
    """Return the share, 0 to 1, that weights and biases of these layers have of all parameters.

    Scales of quantizers count as no parameters: the share is that of the float network.
    """
    scales = {"scale", "log_factor"}
    counts = {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[2] not in scales
    }
    chosen = sum(count for name, count in counts.items() if name.rpartition(".")[0] in names)
    return chosen / sum(counts.values())


def shares(model: nn.Module, sets: LayerSets) -> dict[str, float]:
    """Return the shares of the parameters in temporal and sensitive layers, and in both."""
    temporal = select_layers(model, sets.temporal)
    sensitive = select_layers(model, sets.sensitive)
    return {
        "temporal": parameter_share(model, temporal),
        "sensitive": parameter_share(model, sensitive),
        "both": parameter_share(model, {*temporal, *sensitive}),
    }


def log_shares(model: nn.Module, sets: LayerSets, name: str) -> None:
    """Log which layers are temporal and which sensitive, with their shares of the parameters.

    Args:
        model: a denoiser.
        sets: patterns of its layers.
        name: of what is tuned.
    """
    found = shares(model, sets)
    log = logging.getLogger(__name__)
    for kind, patterns in (("temporal", sets.temporal), ("sensitive", sets.sensitive)):
        layers = ", ".join(select_layers(model, patterns))
        log.info("%s, %s layers, %.1f %% of parameters: %s", name, kind, 100 * found[kind], layers)
    log.info("%s, both, %.1f %% of parameters", name, 100 * found["both"])
