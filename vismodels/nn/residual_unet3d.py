"""A 3D U-Net with residual context modules and deep supervision, for volumes.

Isensee et al. (2018), "Brain Tumor Segmentation and Radiomics Survival Prediction: Contribution to
the BRATS 2017 Challenge", LNCS 10670; the trunk under the multi-level activation of Hu et al.
(2018), arXiv 1810.09488.
"""

import math
from collections.abc import Sequence

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from vismodels.registry import register_architecture

SLOPE = 0.01  # of all leaky ReLUs


def convolution(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, affine instance normalization and leaky ReLU.

    The bias of the convolution changes nothing, since the normalization takes it out again; it
    belongs to the network's number of parameters.
    """
    return nn.Sequential(
        nn.Conv3d(in_channels, channels, kernel, stride=stride, padding=kernel // 2),
        nn.InstanceNorm3d(channels, affine=True),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


class ContextLevel(nn.Module):
    """A level on the way down: x = entry(volume), then x + context(x).

    Args:
        in_channels: of the level above.
        channels: of this level.
        stride: 2 to halve the resolution, 1 for the first level.
        dropout: probability that a channel is dropped between the two convolutions of the context.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.entry = convolution(in_channels, channels, 3, stride)
        self.context = nn.Sequential(
            convolution(channels, channels, 3),
            nn.Dropout3d(dropout),
            convolution(channels, channels, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features at the resolution of this level, (B, channels, d, h, w)."""
        x = self.entry(x)
        result: Tensor = x + self.context(x)
        return result


class LocalizationLevel(nn.Module):
    """A level on the way up: enlarge and halve the channels, append the skip, recombine.

    Args:
        channels: of this level; the one below has twice as many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"), convolution(2 * channels, channels, 3)
        )
        self.localization = nn.Sequential(
            convolution(2 * channels, channels, 3), convolution(channels, channels, 1)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return features at the resolution of `skip`, (B, channels, d, h, w)."""
        result: Tensor = self.localization(torch.cat([self.up(x), skip], dim=1))
        return result


@register_architecture(
    "residual_unet3d",
    task="segmentation",
    input_shape=(4, 32, 32, 32),
    source="Isensee et al. 2018, Brain Tumor Segmentation and Radiomics Survival Prediction",
    defaults={"width": 6, "depth": 4},
    minimum_size=16,
    multiple_of=8,
    scale=1,
)
class ResidualUNet3D(nn.Module, PyTorchModelHubMixin):
    """The residual U-Net whose deep supervision is summed before any activation.

    Every level on the way up has a head, a 1x1x1 convolution to logits; coarse logits are enlarged
    to the next level and added to its own. What is returned is the sum, without activation, so
    that a multi-level activation, a softmax or sigmoids can follow.

    The published network is known from its chapter and a later port only. Where these differ, or
    say nothing, this is our reading: leaky slope 0.01, normalization after each convolution,
    whole channels dropped (spatial dropout) between the convolutions of a context module, nearest
    neighbors for enlarging, heads on all levels of the way up (three at a depth of 4, four at 5).
    With 16 channels and 5 levels this gives 8 269 460 parameters for one output channel.

    `to(memory_format=torch.channels_last_3d)` on network and volumes makes training about 1.5 times
    as fast on a CPU.

    Args:
        in_channels: modalities.
        out_channels: K, logits of each voxel: 1 for a multi-level activation.
        width: channels of the first level; each further level has twice as many.
        depth: number of levels, at least 2.
        dropout: probability that a channel is dropped, in [0, 1).

    Raises:
        ValueError: for a size below its minimum or a dropout outside of [0, 1).
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 1,
        width: int = 16,
        depth: int = 5,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, width) < 1 or depth < 2:
            raise ValueError(
                "expected in_channels, out_channels and width from 1 and depth from 2, got "
                f"in_channels={in_channels}, out_channels={out_channels}, width={width}, "
                f"depth={depth}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), got {dropout}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.multiple_of = 2 ** (depth - 1)
        channels = [width * 2**level for level in range(depth)]
        self.encoders = nn.ModuleList(
            ContextLevel(before, after, 1 if level == 0 else 2, dropout)
            for level, (before, after) in enumerate(
                zip([in_channels, *channels], channels, strict=False)
            )
        )
        upward = channels[-2::-1]
        self.decoders = nn.ModuleList(LocalizationLevel(number) for number in upward)
        self.heads = nn.ModuleList(nn.Conv3d(number, out_channels, 1) for number in upward)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.initialize_()

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew: He-normal by the fan in, in the heads as PyTorch's layers do.

        Biases start at 0. Logits are then about 0.7 from the bias of `set_output_bias_`, for any
        width. The trunk is drawn first: with equal seeds it is equal for any number of output
        channels.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        for part in (self.encoders, self.decoders):
            for layer in part.modules():
                if isinstance(layer, nn.Conv3d):
                    nn.init.kaiming_normal_(layer.weight, a=SLOPE, generator=generator)
                    _zero_bias_(layer)
                elif isinstance(layer, nn.InstanceNorm3d):
                    nn.init.ones_(layer.weight)
                    nn.init.zeros_(layer.bias)
        for head in self.output_heads():
            bound = 1 / math.sqrt(head.in_channels)
            nn.init.uniform_(head.weight, -bound, bound, generator=generator)
            _zero_bias_(head)

    def output_heads(self) -> list[nn.Conv3d]:
        """Return the convolutions whose outputs are summed to logits, the coarsest first."""
        return [head for head in self.heads if isinstance(head, nn.Conv3d)]

    @torch.no_grad()
    def set_output_bias_(self, bias: float | Sequence[float]) -> None:
        """Make the biases of all heads sum to `bias`: the finest has it, the others have 0.

        Training then starts with logits close to `bias`, for instance at background.

        Args:
            bias: of each of the K logits, or one number for all.

        Raises:
            ValueError: if there are not K of them.
        """
        values = [bias] * self.out_channels if isinstance(bias, int | float) else list(bias)
        if len(values) != self.out_channels:
            raise ValueError(
                f"expected one bias for each of {self.out_channels} logits, got {len(values)}"
            )
        *coarse, finest = self.output_heads()
        for head in coarse:
            _zero_bias_(head)
        assert finest.bias is not None  # built with one
        finest.bias.copy_(finest.bias.new_tensor(values))

    def forward(self, volume: Tensor) -> Tensor:
        """Return the logits, (B, K, D, H, W).

        Args:
            volume: (B, in_channels, D, H, W), each size a multiple of 2 ** (depth - 1), one of
                them of 2 ** depth at least; z-scores of each modality within the brain, 0 outside.

        Raises:
            ValueError: if the number of channels is another, or a size does not fit.
        """
        self._check(volume)
        x, skips = volume, []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
        skips.pop()
        logits: Tensor | None = None
        for decoder, head in zip(self.decoders, self.heads, strict=True):
            x = decoder(x, skips.pop())
            logits = head(x) if logits is None else self.enlarge(logits) + head(x)
        assert logits is not None  # a depth of 2 has one level on the way up
        return logits

    def _check(self, volume: Tensor) -> None:
        if volume.ndim != 5 or volume.shape[1] != self.in_channels:
            raise ValueError(
                f"expected a batch of volumes (B, {self.in_channels}, D, H, W), got "
                f"{tuple(volume.shape)}"
            )
        sizes = tuple(volume.shape[2:])
        if any(size == 0 or size % self.multiple_of for size in sizes):
            raise ValueError(
                f"expected depth, height and width divisible by {self.multiple_of}, got {sizes}; "
                "pad the volume, or run the network on windows of such a size"
            )
        if max(sizes) == self.multiple_of:
            raise ValueError(
                f"a volume of {sizes} voxels has a single voxel left at the lowest level, which "
                f"cannot be normalized; give at least {2 * self.multiple_of} along one axis"
            )


def _zero_bias_(layer: nn.Conv3d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
