"""The candidate operations of CovidNet3D: inverted residuals in three dimensions.

He et al. (2021), arXiv 2101.05442; blocks after Sandler et al., "MobileNetV2" (CVPR 2018, arXiv
1801.04381) with depthwise kernels of 3, 5 or 7 voxels along each axis.
"""

import torch
from torch import Tensor, nn

from vismodels.methods.covidnet3d.space import Shape, kernel_and_expansion

MOMENTUM, EPSILON = 0.1, 1.0e-3  # of all batch normalizations


def norm(channels: int) -> nn.BatchNorm3d:
    """Return a batch normalization with the published momentum and epsilon."""
    return nn.BatchNorm3d(channels, eps=EPSILON, momentum=MOMENTUM)


def convolution(
    in_channels: int,
    channels: int,
    kernel: int,
    stride: int | Shape = 1,
    groups: int = 1,
    active: bool = True,
) -> nn.Sequential:
    """Return convolution, normalization and, if `active`, ReLU6."""
    layers: list[nn.Module] = [
        nn.Conv3d(
            in_channels,
            channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        ),
        norm(channels),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6()] if active else []))


class MBConv3d(nn.Sequential):
    """Expand by a 1x1x1 convolution, filter each channel, project linearly; no residual.

    Args:
        in_channels: of the input.
        channels: of the output.
        kernel: edge of the depthwise kernel, odd.
        expansion: factor of the channels in between; with 1 nothing is expanded.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, expansion: int) -> None:
        wide = in_channels * expansion
        layers = [convolution(in_channels, wide, 1)] if expansion > 1 else []
        layers += [
            convolution(wide, wide, kernel, groups=wide),
            convolution(wide, channels, 1, active=False),
        ]
        super().__init__(*layers)


def build_operation(name: str, channels: int) -> nn.Module | None:
    """Return the branch of an operation, None for operations that compute nothing.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    kernel, expansion = kernel_and_expansion(name)
    return MBConv3d(channels, channels, kernel, expansion) if kernel else None


class Block(nn.Module):
    """x + branch(x); with `skip`, x.

    Args:
        operation: name of the branch.
        channels: of input and output.
        has_residual: False for the first block of a stage in the published code's layout, which
            then is branch(x).
    """

    def __init__(self, operation: str, channels: int, has_residual: bool = True) -> None:
        super().__init__()
        self.branch = build_operation(operation, channels)
        self.has_residual = has_residual

    def forward(self, features: Tensor) -> Tensor:
        """Return features like the input, (B, C, D, H, W)."""
        if self.branch is None:
            return features
        change: Tensor = self.branch(features)
        return features + change if self.has_residual else change


def draw_weights_(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw all weights of `module` anew, He-normal by the fan out; normalizations start at 1 and 0.

    Args:
        module: whose convolutions, normalizations and linear layers are set.
        generator: source of randomness; None for PyTorch's global one.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm3d):
            layer.reset_running_stats()
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01, generator=generator)
            nn.init.zeros_(layer.bias)
