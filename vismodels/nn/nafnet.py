"""NAFNet and its time-conditioned form: a U-shape of blocks without activation functions.

Chen et al. (2022), "Simple Baselines for Image Restoration", arXiv 2204.04676; sizes and details
are those of NAF-DPM (Cicchetti and Comminiello 2024, arXiv 2404.05669).
"""

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from vismodels.nn.naf_blocks import ChannelNorm, NAFBlock, TimeEmbedding
from vismodels.registry import register_architecture

POOL_FACTOR = 1.5  # window of local pooling over the size of the training patches


class _UShape(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """What both networks share: levels of blocks, with the skips added on the way up."""

    def _build(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        blocks: tuple[Sequence[int], int, Sequence[int]],
        train_size: int | None,
        time_channels: int | None = None,
    ) -> None:
        encoder, middle, decoder = blocks
        if len(encoder) != len(decoder) or not encoder:
            raise ValueError(
                "expected as many levels on the way up as on the way down and at least one, got "
                f"{len(decoder)} and {len(encoder)}; make encoder_blocks and decoder_blocks "
                "equally long"
            )
        if train_size is not None and train_size < 1:
            raise ValueError(f"train_size is the edge of the training patches, got {train_size}")

        def level(scale: int, number: int) -> nn.ModuleList:
            window = None
            if train_size is not None:
                side = max(int(POOL_FACTOR * train_size / scale), 1)
                window = (side, side)
            channels = width * scale
            return nn.ModuleList(NAFBlock(channels, time_channels, window) for _ in range(number))

        scales = [2**depth for depth in range(len(encoder))]
        self.multiple_of = 2 ** len(encoder)
        self.intro = nn.Conv2d(in_channels, width, 3, padding=1)
        self.encoders = nn.ModuleList(
            level(s, number) for s, number in zip(scales, encoder, strict=True)
        )
        self.downs = nn.ModuleList(nn.Conv2d(width * s, 2 * width * s, 2, stride=2) for s in scales)
        self.middle = level(self.multiple_of, middle)
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * width * s, 4 * width * s, 1, bias=False), nn.PixelShuffle(2)
            )
            for s in reversed(scales)
        )
        self.decoders = nn.ModuleList(
            level(s, number) for s, number in zip(reversed(scales), decoder, strict=True)
        )
        self.ending = nn.Conv2d(width, out_channels, 3, padding=1)

    def _levels(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            for block in blocks.children():
                x = block(x, time)
            skips.append(x)
            x = down(x)
        for block in self.middle:
            x = block(x, time)
        for blocks, up in zip(self.decoders, self.ups, strict=True):
            x = up(x) + skips.pop()
            for block in blocks.children():
                x = block(x, time)
        result: Tensor = self.ending(x)
        return result

    def _padded(self, x: Tensor) -> Tensor:
        """Return `x` with zeros at the right and the bottom, up to a multiple of `multiple_of`."""
        rows, columns = (-x.shape[axis] % self.multiple_of for axis in (2, 3))
        return functional.pad(x, (0, columns, 0, rows)) if rows or columns else x

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew as PyTorch's layers do; the blocks start as identities.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                if module.bias is not None:
                    nn.init.uniform_(module.bias, -bound, bound, generator=generator)
            elif isinstance(module, ChannelNorm):
                nn.init.ones_(module.gain)
            elif isinstance(module, NAFBlock):
                nn.init.zeros_(module.beta)
                nn.init.zeros_(module.gamma)


@register_architecture(
    "nafnet",
    task="restoration",
    input_shape=(3, 64, 64),
    source="Chen et al. 2022, Simple Baselines for Image Restoration; sizes of NAF-DPM",
    scale=1,
)
class NAFNet(_UShape):
    """NAFNet that adds its output to the image: the first guess of NAF-DPM.

    Images of any size; they are padded with zeros to a multiple of 2 ** levels, and cropped back.

    Args:
        image_channels: 3 for RGB, 1 for grey.
        width: channels of the first level; each further level has twice as many.
        encoder_blocks: number of blocks of each level on the way down.
        middle_blocks: number of blocks at the bottom.
        decoder_blocks: number of blocks of each level on the way up, the bottom first.
        train_size: edge of the training patches in pixels, for local pooling at test time: windows
            of 1.5 times this size, fixed here and for ever. None for global pooling, as in
            training.

    Raises:
        ValueError: if the numbers of levels differ, or `train_size` is below 1.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        image_channels: int = 3,
        width: int = 32,
        encoder_blocks: Sequence[int] = (1, 1, 1, 1),
        middle_blocks: int = 1,
        decoder_blocks: Sequence[int] = (1, 1, 1, 1),
        train_size: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.image_channels = image_channels
        blocks = (encoder_blocks, middle_blocks, decoder_blocks)
        self._build(image_channels, image_channels, width, blocks, train_size)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, C, H, W) of (B, C, H, W), values about [0, 1], not clamped.

        Raises:
            ValueError: if the number of channels is another.
        """
        check_channels(image, self.image_channels, "image")
        padded = self._padded(image)
        result = self._levels(self.intro(padded)) + padded
        return result[:, :, : image.shape[2], : image.shape[3]]


class ConditionalNAFNet(_UShape):
    """NAFNet that sees the time and a second image beside the noisy one: the denoiser of NAF-DPM.

    It returns the clean signal (or the noise), without adding its input.

    Args:
        image_channels: C of the noisy image and of the output.
        condition_channels: of the condition; None for C.
        width: see `NAFNet`; a multiple of 2, at least 4.
        encoder_blocks: see `NAFNet`.
        middle_blocks: see `NAFNet`.
        decoder_blocks: see `NAFNet`.
        train_size: see `NAFNet`.

    Raises:
        ValueError: see `NAFNet`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        image_channels: int = 3,
        condition_channels: int | None = None,
        width: int = 32,
        encoder_blocks: Sequence[int] = (1, 1, 1, 1),
        middle_blocks: int = 1,
        decoder_blocks: Sequence[int] = (1, 1, 1, 1),
        train_size: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.image_channels = image_channels
        self.condition_channels = condition_channels or image_channels
        blocks = (encoder_blocks, middle_blocks, decoder_blocks)
        inputs = self.image_channels + self.condition_channels
        self._build(inputs, image_channels, width, blocks, train_size, 4 * width)
        self.time_embedding = TimeEmbedding(width)

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Return (B, C, H, W).

        Args:
            noisy: (B, C, H, W), the noisy residual.
            time: (B,) or (1,) for one time of all items; in the units that training used.
            condition: (B, condition_channels, H, W), the first guess.

        Raises:
            ValueError: if a number of channels or a size does not fit.
        """
        check_channels(noisy, self.image_channels, "noisy image")
        check_channels(condition, self.condition_channels, "condition")
        if noisy.shape[::2] != condition.shape[::2] or noisy.shape[3] != condition.shape[3]:
            raise ValueError(
                f"the noisy image {tuple(noisy.shape)} and the condition {tuple(condition.shape)} "
                "must have one batch, height and width"
            )
        if time.shape not in ((1,), noisy.shape[:1]):
            raise ValueError(
                f"expected one time for all or one for each of {noisy.shape[0]} items, got shape "
                f"{tuple(time.shape)}"
            )
        padded = self._padded(torch.cat([noisy, condition], dim=1))
        result = self._levels(self.intro(padded), self.time_embedding(time))
        return result[:, :, : noisy.shape[2], : noisy.shape[3]]


def check_channels(image: Tensor, channels: int, what: str) -> None:
    """Check that an image is (B, `channels`, H, W) with pixels.

    Raises:
        ValueError: if it is not.
    """
    if image.ndim != 4 or image.shape[1] != channels or image.numel() == 0:
        raise ValueError(
            f"expected {what} of shape (B, {channels}, H, W), got {tuple(image.shape)}"
        )
