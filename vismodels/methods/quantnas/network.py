"""A network outside the search: a skeleton with one operation at fixed bits in every layer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vismodels.config import ConfigError, parse_config
from vismodels.methods.quantnas.derived_layer import DerivedLayer
from vismodels.methods.quantnas.skeletons import build_skeleton
from vismodels.methods.quantnas.space import (
    BasicSkeleton,
    RFDNSkeleton,
    Slot,
    layer_chain,
    parse_candidate,
    rectifier_of,
)
from vismodels.nas.genotype import Genotype
from vismodels.nn.super_resolution import SuperResolutionNetwork, check_image, ramp
from vismodels.quantization.layers import initialize_steps_
from vismodels.registry import register_architecture

SKELETONS: dict[str, type[BasicSkeleton | RFDNSkeleton]] = {
    "basic": BasicSkeleton,
    "rfdn": RFDNSkeleton,
}

# The architecture that the published code's README draws.
PUBLISHED_EXAMPLE = {
    "head_0": "simple_3x3_grouped_3@8",
    "head_1": "simple_3x3@8",
    "body_0": "simple_3x3@4",
    "body_1": "conv_3x1_1x3@4",
    "skip_0": "simple_1x1@8",
    "upsample": "conv_3x1_1x3@8",
    "tail_0": "simple_3x3@8",
    "tail_1": "simple_3x3@8",
}


@register_architecture(
    "quantnas",
    task="super-resolution",
    input_shape=(3, 24, 24),
    scale=4,
    source="Shvetsov et al., QuantNAS for super-resolution, arXiv 2208.14839",
    defaults={
        "skeleton": {"kind": "basic"},
        "choices": PUBLISHED_EXAMPLE,
    },
)
class SearchedSR(SuperResolutionNetwork):
    """A quantized super-resolution network described by a genotype.

    Args:
        skeleton: sizes and options, as `space.BasicSkeleton` or `space.RFDNSkeleton`; `kind`
            selects which, and what is left out has its published value.
        choices: decision -> `operation@bits`, for every decision of the skeleton.

    Raises:
        ConfigError: for an unknown key, decision or operation (with the nearest name), a missing
            decision, or channels that an operation's groups cannot divide.
    """

    def __init__(self, skeleton: Mapping[str, Any], choices: Mapping[str, str]) -> None:
        config = skeleton_config(skeleton)
        super().__init__(config.scale)
        slots = config.slots()
        _check_names(choices, slots)
        self.genotype = Genotype(config.kind, dict(choices))

        def make(slot: Slot) -> nn.Module:
            operation, bits = parse_candidate(choices[slot.name])
            return DerivedLayer(
                operation,
                layer_chain(config, slot, operation),
                slot.out_channels,
                bits,
                config.bias,
                config.activation,
                rectifier_of(config, slot),
            )

        self.network = build_skeleton(config, make)
        self.initialize_()

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew and set the steps of all quantizers to fit them.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        self.network.initialize_(generator)
        initialize_steps_(self, ramp(next(self.parameters())))

    def forward(self, image: Tensor) -> Tensor:
        """Return the image at `scale` times the height and width.

        Args:
            image: (B, 3, h, w), RGB in [0, 1].

        Returns:
            (B, 3, scale * h, scale * w), not clamped.

        Raises:
            ValueError: if `image` has another shape.
            TypeError: if `image` is not floating point.
        """
        check_image(image)
        result: Tensor = self.network(image)
        return result


def skeleton_config(skeleton: Mapping[str, Any]) -> BasicSkeleton | RFDNSkeleton:
    """Return the validated configuration of a skeleton given as plain values.

    Raises:
        ConfigError: for an unknown kind or key, with the nearest name.
    """
    kind = skeleton.get("kind")
    if kind not in SKELETONS:
        raise ConfigError(f"skeleton.kind must be one of {', '.join(SKELETONS)}, got {kind!r}")
    return parse_config(SKELETONS[kind], dict(skeleton), "skeleton")


def _check_names(choices: Mapping[str, str], slots: tuple[Slot, ...]) -> None:
    """Check that exactly the slots are decided; whether operations exist shows when they are built.

    The genotype may use any operation at any bits, not only those of one search.
    """
    candidates = {slot.name: [choices[slot.name]] for slot in slots if slot.name in choices}
    missing: dict[str, list[str]] = {s.name: [] for s in slots if s.name not in choices}
    Genotype("any", dict(choices)).check("any", candidates | missing)
