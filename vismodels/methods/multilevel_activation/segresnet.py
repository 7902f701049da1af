"""MONAI's SegResNet, stored as our own networks are: what people segment gliomas with today."""

import math

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

GROUPS = 8  # MONAI's default; fewer where the width is no multiple of it


class SegResNet3D(nn.Module, PyTorchModelHubMixin):
    """SegResNet (Myronenko 2018, arXiv 1810.11654; without its auto-encoder) as MONAI builds it.

    Args:
        in_channels: modalities.
        out_channels: K, logits of each voxel.
        width: channels of the first level.
        dropout: probability that a channel is dropped, in [0, 1).
    """

    def __init__(
        self, in_channels: int = 4, out_channels: int = 1, width: int = 8, dropout: float = 0.2
    ) -> None:
        super().__init__()
        from monai.networks.nets.segresnet import SegResNet

        self.network = SegResNet(
            spatial_dims=3,
            init_filters=width,
            in_channels=in_channels,
            out_channels=out_channels,
            dropout_prob=dropout or None,
            norm=("GROUP", {"num_groups": math.gcd(GROUPS, width)}),
        )

    def forward(self, volume: Tensor) -> Tensor:
        """Return logits (B, K, D, H, W) of volumes (B, C, D, H, W), sizes divisible by 8."""
        logits: Tensor = self.network(volume)
        return logits


def draw_segresnet(
    in_channels: int, out_channels: int, width: int, dropout: float, seed: int
) -> SegResNet3D:
    """Return the network with weights as MONAI draws them, from a seed of its own.

    The output is drawn last: with equal seeds the rest is equal for any number of logits.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SegResNet3D(in_channels, out_channels, width, dropout)
