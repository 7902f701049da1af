"""SRResNet, the generator of SRGAN trained without an adversary.

Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network"
(CVPR 2017, arXiv 1609.04802).
"""

import torch
from torch import Tensor, nn

from vismodels.nn.super_resolution import (
    IMAGE_CHANNELS,
    SuperResolutionNetwork,
    check_image,
    draw_convolutions_,
    shrink_,
)
from vismodels.registry import register_architecture

STAGES = {2: (2,), 3: (3,), 4: (2, 2)}  # scale -> factors of the pixel shuffles
NEGATIVE_SLOPE = 0.25  # of the PReLUs at the start
BRANCH_SCALE = 0.1  # of the last normalization of a residual branch at the start
LAST_LAYER_SCALE = 0.1  # of the output convolution at the start: an image near black, not noise


@register_architecture(
    "srresnet",
    task="super-resolution",
    input_shape=(3, 24, 24),
    scale=4,
    source="Ledig et al. 2017, Photo-Realistic Single Image Super-Resolution",
)
class SRResNet(SuperResolutionNetwork):
    """9x9 convolution, residual blocks with batch normalization, pixel shuffles, 9x9 convolution.

    In the original layout, but for values: RGB in [0, 1] goes in and comes out, where the paper
    puts out [-1, 1]. Convolutions in front of a normalization have no bias. In evaluation mode
    `super_resolve` in tiles is exact from `overlap=40` with the default sizes.

    Args:
        scale: 2, 3 or 4; 4 is two shuffles by 2.
        channels: width of the blocks.
        blocks: number of residual blocks.

    Raises:
        ValueError: for another scale, or channels or blocks below 1.
    """

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 16) -> None:
        super().__init__(scale)
        if channels < 1 or blocks < 1:
            raise ValueError(f"channels and blocks must be at least 1, got {channels} and {blocks}")
        self.head = nn.Sequential(
            nn.Conv2d(IMAGE_CHANNELS, channels, 9, padding=4), nn.PReLU(init=NEGATIVE_SLOPE)
        )
        self.blocks = nn.Sequential(*(NormalizedResidualBlock(channels) for _ in range(blocks)))
        self.body_end = nn.Sequential(*_normalized_convolution(channels))
        self.upsampling = nn.Sequential(*(_upsampling(channels, f) for f in STAGES[scale]))
        self.tail = nn.Conv2d(channels, IMAGE_CHANNELS, 9, padding=4)
        self.initialize_()

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew: He-normal, small at the end of each branch; biases are zero.

        Normalizations forget their statistics. In a branch that ends with a normalization it is
        the factor of the normalization that is small.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        draw_convolutions_(self, lambda w: nn.init.kaiming_normal_(w, generator=generator))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.PReLU):
                nn.init.constant_(module.weight, NEGATIVE_SLOPE)
        for module in self.blocks.children():
            if isinstance(module, NormalizedResidualBlock):
                shrink_(module.branch[-1], BRANCH_SCALE)
        shrink_(self.body_end[-1], BRANCH_SCALE)
        shrink_(self.tail, LAST_LAYER_SCALE)

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
        features = self.head(image)
        features = features + self.body_end(self.blocks(features))
        enlarged: Tensor = self.tail(self.upsampling(features))
        return enlarged


class NormalizedResidualBlock(nn.Module):
    """x + (3x3 convolution, batch normalization, PReLU, 3x3 convolution, batch normalization).

    Args:
        channels: width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_normalized_convolution(channels),
            nn.PReLU(init=NEGATIVE_SLOPE),
            *_normalized_convolution(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features like the input, (B, C, H, W)."""
        change: Tensor = self.branch(features)
        return features + change


def _normalized_convolution(channels: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(channels)


def _upsampling(channels: int, factor: int) -> nn.Sequential:
    """Return one stage: (B, C, H, W) -> (B, C, factor * H, factor * W)."""
    return nn.Sequential(
        nn.Conv2d(channels, channels * factor**2, 3, padding=1),
        nn.PixelShuffle(factor),
        nn.PReLU(init=NEGATIVE_SLOPE),
    )
