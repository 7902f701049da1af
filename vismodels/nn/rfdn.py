"""RFDN, a lightweight network of residual feature distillation blocks, and its spatial attention.

Liu et al., "Residual Feature Distillation Network for Lightweight Image Super-Resolution" (ECCVW
2020, arXiv 2009.11551); the attention is from Liu et al., "Residual Feature Aggregation Network for
Image Super-Resolution" (CVPR 2020), in the smaller form of RFDN.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.nn.super_resolution import (
    IMAGE_CHANNELS,
    SuperResolutionNetwork,
    check_image,
    draw_convolutions_,
    shrink_,
)
from vismodels.registry import register_architecture

# Builds a convolution from input channels, output channels, kernel size, stride and padding.
MakeConvolution = Callable[[int, int, int, int, int], nn.Module]

NEGATIVE_SLOPE = 0.05  # of the leaky ReLUs
LAST_LAYER_SCALE = 0.1  # of the output convolution at the start: an image near black, not noise
DISTILLED = 3  # parts that a block sets aside before its last one
REDUCTION = 4  # channels of a block over channels inside its attention
POOL, POOL_STRIDE = 7, 3  # the attention's max pool
SMALLEST = 15  # pixels that the attention's strided layers need: (POOL - 1) * 2 + 3


class EnhancedSpatialAttention(nn.Module):
    """Multiplies features by a map in (0, 1) that sees far: computed at a sixth of the resolution.

    1x1 to fewer channels; 3x3 with stride 2 and no padding; max pool 7 with stride 3; three 3x3;
    bilinear back to the input's size; plus a 1x1 of the first map; 1x1 to all channels; sigmoid.
    The strided layers need 15 pixels in height and width: a smaller map is padded for them by
    replicating its borders, evenly on both sides. Padding does not change larger inputs.

    Args:
        channels: of input and output.
        reduced: channels inside.
        conv: builds a convolution from input channels, output channels, kernel size, stride and
            padding.
    """

    def __init__(self, channels: int, reduced: int, *, conv: MakeConvolution = nn.Conv2d) -> None:
        super().__init__()
        self.reduce = conv(channels, reduced, 1, 1, 0)
        self.stride = conv(reduced, reduced, 3, 2, 0)
        self.far = nn.Sequential(
            conv(reduced, reduced, 3, 1, 1),
            nn.ReLU(),
            conv(reduced, reduced, 3, 1, 1),
            nn.ReLU(),
            conv(reduced, reduced, 3, 1, 1),
        )
        self.near = conv(reduced, reduced, 1, 1, 0)
        self.expand = conv(reduced, channels, 1, 1, 0)

    def forward(self, features: Tensor) -> Tensor:
        """Return features like the input, (B, C, H, W)."""
        reduced = self.reduce(features)
        pooled = F.max_pool2d(self.stride(_at_least(reduced, SMALLEST)), POOL, POOL_STRIDE)
        far = F.interpolate(
            self.far(pooled), features.shape[2:], mode="bilinear", align_corners=False
        )
        attention: Tensor = self.expand(far + self.near(reduced))
        return features * attention.sigmoid()


class DistillationBlock(nn.Module):
    """Sets aside half-width parts of ever deeper features, fuses them, and attends to places.

    Each of three steps keeps a 1x1 convolution of its features and passes on a shallow residual
    block of them: 3x3 convolution plus identity. A last 3x3 gives the fourth part. All parts and
    residual blocks end in a leaky ReLU.

    Args:
        channels: of input and output.
        conv: builds a convolution, as for `EnhancedSpatialAttention`.
    """

    def __init__(self, channels: int, *, conv: MakeConvolution = nn.Conv2d) -> None:
        super().__init__()
        kept = channels // 2
        self.distill = nn.ModuleList(conv(channels, kept, 1, 1, 0) for _ in range(DISTILLED))
        self.refine = nn.ModuleList(conv(channels, channels, 3, 1, 1) for _ in range(DISTILLED))
        self.last = conv(channels, kept, 3, 1, 1)
        self.fuse = conv(kept * (DISTILLED + 1), channels, 1, 1, 0)
        self.attention = EnhancedSpatialAttention(channels, channels // REDUCTION, conv=conv)

    def forward(self, features: Tensor) -> Tensor:
        """Return features like the input, (B, C, H, W)."""
        parts = []
        for distill, refine in zip(self.distill, self.refine, strict=True):
            parts.append(_activate(distill(features)))
            features = _activate(refine(features) + features)
        parts.append(_activate(self.last(features)))
        attended: Tensor = self.attention(self.fuse(torch.cat(parts, dim=1)))
        return attended


@register_architecture(
    "rfdn",
    task="super-resolution",
    input_shape=(3, 24, 24),
    scale=4,
    source="Liu et al. 2020, Residual Feature Distillation Network",
)
class RFDN(SuperResolutionNetwork):
    """Distillation blocks whose outputs are all aggregated, a long skip and a pixel shuffle.

    With 50 channels and 4 blocks it is the network of the AIM 2020 challenge (0.433 M parameters
    at scale 4). The attention works on a grid of every sixth pixel, so `super_resolve` in tiles is
    an approximation.

    Args:
        scale: 2, 3 or 4.
        channels: width of the blocks, at least 4.
        blocks: number of distillation blocks.
        bias: whether convolutions have biases.

    Raises:
        ValueError: for another scale, too few channels, or blocks below 1.
    """

    def __init__(
        self, scale: int = 4, channels: int = 48, blocks: int = 4, bias: bool = True
    ) -> None:
        super().__init__(scale)
        if channels < REDUCTION or blocks < 1:
            raise ValueError(
                f"channels must be at least {REDUCTION} and blocks at least 1, "
                f"got {channels} and {blocks}"
            )
        conv = partial(nn.Conv2d, bias=bias)
        self.head = conv(IMAGE_CHANNELS, channels, 3, 1, 1)
        self.blocks = nn.ModuleList(DistillationBlock(channels, conv=conv) for _ in range(blocks))
        self.fuse = conv(channels * blocks, channels, 1, 1, 0)
        self.aggregate = conv(channels, channels, 3, 1, 1)
        self.upsample = conv(channels, IMAGE_CHANNELS * scale**2, 3, 1, 1)
        self.initialize_()

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew: He-normal, small in the last layer; biases are zero.

        A full-size last layer starts with values of several times white and is slow to leave them.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """

        def draw(weight: Tensor) -> Tensor:
            return nn.init.kaiming_normal_(weight, NEGATIVE_SLOPE, generator=generator)

        draw_convolutions_(self, draw)
        shrink_(self.upsample, LAST_LAYER_SCALE)

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
        shallow = features = self.head(image)
        outputs = []
        for block in self.blocks:
            features = block(features)
            outputs.append(features)
        deep = self.aggregate(_activate(self.fuse(torch.cat(outputs, dim=1))))
        return F.pixel_shuffle(self.upsample(shallow + deep), self.scale)


def _activate(features: Tensor) -> Tensor:
    return F.leaky_relu(features, NEGATIVE_SLOPE)


def _at_least(features: Tensor, size: int) -> Tensor:
    """Return (B, C, H, W) features padded by replication to at least `size` x `size`."""
    missing = [max(size - length, 0) for length in features.shape[2:]]
    if not any(missing):
        return features
    top, left = (length // 2 for length in missing)
    bottom, right = (length - length // 2 for length in missing)
    return F.pad(features, (left, right, top, bottom), mode="replicate")
