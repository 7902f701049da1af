"""Small super-resolution networks that compute at low resolution and shuffle pixels at the end.

`ESPCN` is Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network" (CVPR 2016, arXiv 1609.05158). `ResidualSR` learns what
bicubic interpolation misses, with residual blocks without normalization as in Lim et al.,
"Enhanced Deep Residual Networks for Single Image Super-Resolution" (CVPRW 2017, arXiv 1707.02921).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.nn.super_resolution import (
    IMAGE_CHANNELS,
    SuperResolutionNetwork,
    bicubic_upsample,
    check_image,
    draw_convolutions_,
    shrink_,
)
from vismodels.registry import register_architecture

NEGATIVE_SLOPE = 0.1  # of the leaky ReLUs: no feature ever loses its gradient
BRANCH_SCALE = 0.1  # of the last weights of a residual branch at the start
LAST_LAYER_SCALE = 0.05  # of the last weights of a network that corrects the bicubic image


class _SubPixelNetwork(SuperResolutionNetwork):
    """Convolutions at low resolution, a pixel shuffle, and perhaps the bicubic image added.

    A subclass defines `layers`, from 3 to 3 * scale ** 2 channels.
    """

    layers: nn.Sequential

    def __init__(self, scale: int, bicubic_skip: bool) -> None:
        super().__init__(scale)
        self.bicubic_skip = bicubic_skip

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
        enlarged = F.pixel_shuffle(self.layers(image), self.scale)
        return enlarged + bicubic_upsample(image, self.scale) if self.bicubic_skip else enlarged


@register_architecture(
    "espcn",
    task="super-resolution",
    input_shape=(3, 24, 24),
    scale=4,
    source="Shi et al. 2016, Efficient Sub-Pixel Convolutional Neural Network",
)
class ESPCN(_SubPixelNetwork):
    """Three convolutions with tanh between them and a pixel shuffle, on RGB.

    Kernels 5, 3, 3 and widths 64, 32 as in the paper, which trains on luma only.

    Args:
        scale: 2, 3 or 4.
        bicubic_skip: add the bicubic image to the output. Not in the paper; for comparisons in
            which only the layers differ.
    """

    def __init__(self, scale: int = 4, bicubic_skip: bool = False) -> None:
        super().__init__(scale, bicubic_skip)
        self.layers = nn.Sequential(
            nn.Conv2d(IMAGE_CHANNELS, 64, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(32, IMAGE_CHANNELS * scale**2, 3, padding=1),
        )
        self.initialize_()

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, Xavier-normal with the gain of tanh; biases are zero.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        gain = nn.init.calculate_gain("tanh")
        draw_convolutions_(
            self, lambda weight: nn.init.xavier_normal_(weight, gain, generator=generator)
        )
        if self.bicubic_skip:
            shrink_(self.layers[-1], LAST_LAYER_SCALE)


@register_architecture(
    "residual_sr",
    task="super-resolution",
    input_shape=(3, 24, 24),
    scale=4,
    source="after Lim et al. 2017, Enhanced Deep Residual Networks, with a bicubic skip",
)
class ResidualSR(_SubPixelNetwork):
    """Residual blocks at low resolution; the pixel shuffle adds details to the bicubic image.

    The bicubic skip makes the untrained network nearly a bicubic one, so that a short training
    starts where it would otherwise end. The blocks are pre-activated and leaky because that trained
    best on validation images; with plain ReLUs before the last layer some runs died at the start
    and stayed bicubic. 21,328 parameters with the defaults.

    Args:
        scale: 2, 3 or 4.
        channels: width of the blocks.
        blocks: number of residual blocks.
    """

    def __init__(self, scale: int = 4, channels: int = 16, blocks: int = 3) -> None:
        super().__init__(scale, bicubic_skip=True)
        if channels < 1 or blocks < 1:
            raise ValueError(f"channels and blocks must be at least 1, got {channels} and {blocks}")
        self.layers = nn.Sequential(
            nn.Conv2d(IMAGE_CHANNELS, channels, 3, padding=1),
            *(ResidualBlock(channels) for _ in range(blocks)),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv2d(channels, IMAGE_CHANNELS * scale**2, 3, padding=1),
        )
        self.initialize_()

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew: He-normal, small at the end of each branch; biases are zero.

        Full-size last layers start far from the bicubic image and lose most of a short training
        on the way back.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        draw_convolutions_(
            self, lambda weight: nn.init.kaiming_normal_(weight, generator=generator)
        )
        for layer in self.layers:
            if isinstance(layer, ResidualBlock):
                shrink_(layer.branch[-1], BRANCH_SCALE)
        shrink_(self.layers[-1], LAST_LAYER_SCALE)


class ResidualBlock(nn.Module):
    """x + two 3x3 convolutions, each behind a leaky ReLU, without normalization.

    Args:
        channels: width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features like the input, (B, C, H, W)."""
        change: Tensor = self.branch(features)
        return features + change
