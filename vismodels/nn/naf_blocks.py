"""The blocks of NAFNet, which have no activation functions, and the embedding of the time.

Chen et al. (2022), "Simple Baselines for Image Restoration", arXiv 2204.04676; with time as in Luo
et al. (2023), "Refusion", arXiv 2304.08291. Local pooling at test time follows Chu et al. (2022),
"Improving Image Restoration by Revisiting Global Information Aggregation", arXiv 2112.04491.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_PERIOD = 10_000  # of the slowest sinusoid of a time embedding


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel, with a gain and without a bias.

    Args:
        channels: C of (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) with mean 0 and deviation `gain` over C."""
        last = x.permute(0, 2, 3, 1)  # a view; contiguous for channels_last
        epsilon = norm_epsilon(x.dtype)
        normalized = functional.layer_norm(last, self.gain.shape, self.gain, None, epsilon)
        return normalized.permute(0, 3, 1, 2)


def norm_epsilon(dtype: torch.dtype) -> float:
    """Return what the norm adds to the variance: 1e-5, in half precision 1e-3."""
    return 1e-5 if dtype in (torch.float32, torch.float64) else 1e-3


def simple_gate(x: Tensor) -> Tensor:
    """Return the product of the halves of the channels: (B, 2C, ...) -> (B, C, ...)."""
    first, second = x.chunk(2, dim=1)
    return first * second


def local_mean(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mean over a window around each pixel, of the size of `x`.

    Where the window would leave the image, the nearest window inside is taken; an axis that the
    window covers is averaged whole. One cumulative sum an axis, whatever the size of the window.

    Args:
        x: (B, C, H, W).
        size: rows and columns of the window, at least 1.
    """
    for axis, window in ((2, size[0]), (3, size[1])):
        length = x.shape[axis]
        if window >= length:
            x = x.mean(axis, keepdim=True).expand_as(x)
            continue
        total = functional.pad(
            x.cumsum(axis, dtype=torch.promote_types(x.dtype, torch.float32)),
            (1, 0) if axis == 3 else (0, 0, 1, 0),
        )
        count = length - window + 1
        means = (total.narrow(axis, window, count) - total.narrow(axis, 0, count)) / window
        start = torch.arange(length, device=x.device).sub(window // 2).clamp(0, count - 1)
        x = means.index_select(axis, start).to(x.dtype)
    return x


def pooled_means(x: Tensor, window: tuple[int, int] | None) -> Tensor:
    """Return the means that scale the channels: (B, C, 1, 1), or (B, C, H, W) of a moving window.

    Args:
        x: (B, C, H, W).
        window: rows and columns; None, or a window that covers the image, for its global mean.
    """
    if window is None or (window[0] >= x.shape[2] and window[1] >= x.shape[3]):
        return x.mean((2, 3), keepdim=True)
    return local_mean(x, window)


class ChannelAttention(nn.Module):
    """Simplified channel attention: each channel is scaled by a mix of the channels' means.

    Args:
        channels: C of (B, C, H, W).
        window: rows and columns that the mean is taken over; None for the whole image.
    """

    def __init__(self, channels: int, window: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.window = window
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W), scaled."""
        scaled: Tensor = x * self.mix(pooled_means(x, self.window))
        return scaled


class NAFBlock(nn.Module):
    """Block without activation functions: depthwise convolution with gates, then channel mixing.

    A fresh block is the identity: both branches start with weight 0 (`beta`, `gamma`).

    Args:
        channels: C of the input and the output.
        time_channels: of the time embedding that shifts and scales both norms; None without.
        window: of local pooling; None for global pooling.
    """

    def __init__(
        self,
        channels: int,
        time_channels: int | None = None,
        window: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.time = nn.Linear(time_channels // 2, 4 * channels) if time_channels else None
        self.norm1 = ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attention = ChannelAttention(channels, window)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = ChannelNorm(channels)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Return (B, C, H, W).

        Args:
            x: (B, C, H, W).
            time: (B, time_channels) or (1, time_channels), of a block with time.
        """
        shift1 = scale1 = shift2 = scale2 = None
        if self.time is not None:
            assert time is not None  # the network that owns the block passes it
            shifts = self.time(simple_gate(time))[:, :, None, None]
            shift1, scale1, shift2, scale2 = shifts.chunk(4, dim=1)
        y = self.conv1(_modulated(self.norm1(x), shift1, scale1))
        y = self.conv3(self.attention(simple_gate(self.conv2(y))))
        x = x + self.beta * y
        y = self.conv4(_modulated(self.norm2(x), shift2, scale2))
        result: Tensor = x + self.gamma * self.conv5(simple_gate(y))
        return result


def _modulated(x: Tensor, shift: Tensor | None, scale: Tensor | None) -> Tensor:
    return x if shift is None or scale is None else torch.addcmul(shift, x, scale + 1)


class TimeEmbedding(nn.Module):
    """Sinusoids of the time, mixed by two linear layers with a gate between them.

    Args:
        channels: W; number of sinusoids, even and at least 4; the embedding has 4 W channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 4 or channels % 2:
            raise ValueError(f"a time embedding needs an even width of at least 4, got {channels}")
        self.channels = channels
        self.linear1 = nn.Linear(channels, 8 * channels)
        self.linear2 = nn.Linear(4 * channels, 4 * channels)

    def forward(self, time: Tensor) -> Tensor:
        """Return (B, 4 W) of times (B,), in the units that training used."""
        half = self.channels // 2
        weight = self.linear1.weight
        steps = torch.arange(half, dtype=torch.float32, device=time.device) / (half - 1)
        angles = time.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * steps)
        sinusoids = torch.cat([angles.sin(), angles.cos()], dim=1).to(weight.dtype)
        embedding: Tensor = self.linear2(simple_gate(self.linear1(sinusoids)))
        return embedding
