"""The networks of CovidNet3D: a trunk whose blocks are decided, and the classifier on top.

He et al. (2021), arXiv 2101.05442.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from vismodels.config import parse_config
from vismodels.methods.covidnet3d.operations import (
    Block,
    MBConv3d,
    convolution,
    draw_weights_,
    norm,
)
from vismodels.methods.covidnet3d.space import OPERATIONS, SpaceConfig, Stage
from vismodels.nas.genotype import Genotype
from vismodels.registry import register_architecture


class Trunk(nn.Module):
    """Stem, a fixed block, stages of blocks, pooling and a linear classifier.

    Args:
        config: sizes.
        make_block: (decision, channels, has_residual) -> the block of a decision.
    """

    def __init__(
        self, config: SpaceConfig, make_block: Callable[[str, int, bool], nn.Module]
    ) -> None:
        super().__init__()
        stem, first, head = (
            config.width(c)
            for c in (config.stem_channels, config.first_channels, config.head_channels)
        )
        self.stem = convolution(config.in_channels, stem, 3, config.stem_strides())
        self.first = MBConv3d(stem, first, 3, 1)
        self.calibrations = nn.ModuleDict()  # changes of width and resolution, by the next block
        self.blocks = nn.ModuleDict()
        reference = config.layout == "reference"
        for stage in config.stages():
            self.calibrations[stage.blocks[0]] = _calibration(stage, config)
            for number, block in enumerate(stage.blocks):
                if reference and number:
                    self.calibrations[block] = nn.Conv3d(stage.channels, stage.channels, 1)
                has_residual = number > 0 or not reference
                self.blocks[block] = make_block(block, stage.channels, has_residual)
        self.head = convolution(config.stages()[-1].channels, head, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(head, config.classes)

    def forward(
        self, volume: Tensor, run: Callable[[str, nn.Module, Tensor], Tensor] | None = None
    ) -> Tensor:
        """Return the logits, (B, classes).

        Args:
            volume: (B, C, D, H, W).
            run: (decision, block, features) -> features, in place of calling the block.
        """
        return self.classify(self.features(volume, run))

    def features(
        self, volume: Tensor, run: Callable[[str, nn.Module, Tensor], Tensor] | None = None
    ) -> Tensor:
        """Return what is pooled, (B, head channels, d, h, w)."""
        features = self.first(self.stem(volume))
        for name, block in self.blocks.items():
            if name in self.calibrations:
                features = self.calibrations[name](features)
            features = block(features) if run is None else run(name, block, features)
        result: Tensor = self.head(features)
        return result

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of `features`, (B, classes)."""
        logits: Tensor = self.classifier(self.dropout(features.mean(dim=(2, 3, 4))))
        return logits


def _calibration(stage: Stage, config: SpaceConfig) -> nn.Module:
    """Return the change of width and resolution in front of a stage."""
    pooled = config.calibration_pool and stage.stride != (1, 1, 1)
    layers: list[nn.Module] = []
    if pooled:
        layers.append(nn.AvgPool3d(stage.stride, ceil_mode=True, count_include_pad=False))
    stride = (1, 1, 1) if pooled else stage.stride
    layers.append(nn.Conv3d(stage.in_channels, stage.channels, 1, stride=stride))
    if config.calibration_norm:
        layers.append(norm(stage.channels))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


@register_architecture(
    "covidnet3d",
    task="classification",
    input_shape=(1, 16, 64, 64),
    source="He et al. 2021, Automated Model Design and Benchmarking of 3D Deep Learning Models",
    defaults={"space": {}, "choices": {}},
)
class CovidNet3D(nn.Module, PyTorchModelHubMixin):
    """A 3D classifier described by a genotype.

    Args:
        space: sizes, as `space.SpaceConfig`; what is left out has its published value (plan S).
        choices: decision -> operation, for every block; empty for `mbconv_3_3` in all of them, the
            architecture one would write by hand.

    Raises:
        ConfigError: for an unknown key, decision or operation (with the nearest name), or a
            missing decision.
    """

    def __init__(self, space: Mapping[str, Any], choices: Mapping[str, str]) -> None:
        super().__init__()
        self.config = parse_config(SpaceConfig, dict(space), "space")
        self.genotype = (
            self.config.genotype(choices) if choices else self.config.uniform(OPERATIONS[0])
        )
        chosen = self.genotype.choices
        self.trunk = Trunk(
            self.config,
            lambda name, channels, residual: Block(chosen[name], channels, residual),
        )
        self.initialize_()

    @classmethod
    def of(cls, config: SpaceConfig, genotype: Genotype) -> "CovidNet3D":
        """Return the network of a genotype in a space."""
        return cls(config.model_dump(mode="json"), dict(genotype.choices))

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew; see `operations.draw_weights_`.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        draw_weights_(self, generator)

    def forward(self, volume: Tensor) -> Tensor:
        """Return the logits, (B, classes).

        Args:
            volume: (B, C, D, H, W), of any size; CT within a window scaled to [-1, 1].

        Raises:
            ValueError: if `volume` has another shape.
        """
        check_volume(volume, self.config.in_channels)
        logits: Tensor = self.trunk(volume)
        return logits


def check_volume(volume: Tensor, channels: int) -> None:
    """Raise ValueError unless `volume` is (B, channels, D, H, W)."""
    if volume.ndim != 5 or volume.shape[1] != channels:
        raise ValueError(
            f"expected a batch of volumes (B, {channels}, D, H, W), got {tuple(volume.shape)}"
        )
