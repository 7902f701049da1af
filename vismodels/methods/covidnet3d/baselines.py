"""Networks of other libraries for one volume or scan, built for any number of input channels.

They are compared with the same trainer on the same input: the published tables compare networks
that saw inputs of different size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.methods.covidnet3d.network import check_volume
from vismodels.methods.covidnet3d.operations import convolution, draw_weights_

LEAST_EDGES = {"monai_densenet121": 32}  # voxels; five times it halves what is left


class Baseline(nn.Module, PyTorchModelHubMixin):
    """A network of MONAI, torchvision or timm, by name.

    Volumes smaller than the network can take are enlarged first (`LEAST_EDGES`).

    Args:
        model: a key of `BUILDERS`.
        in_channels: of the volume.
        classes: logits.
        backbone: of `timm_slices`: any timm model.

    Raises:
        KeyError: for an unknown model.
    """

    def __init__(
        self, model: str, in_channels: int, classes: int, backbone: str = "resnet10t"
    ) -> None:
        super().__init__()
        self.in_channels, self.least = in_channels, LEAST_EDGES.get(model, 1)
        self.network = (
            SliceNetwork(backbone, in_channels, classes)
            if model == "timm_slices"
            else BUILDERS[model](in_channels, classes)
        )

    def forward(self, volume: Tensor) -> Tensor:
        """Return the logits, (B, classes), of (B, C, D, H, W).

        Raises:
            ValueError: if `volume` has another shape.
        """
        check_volume(volume, self.in_channels)
        size = tuple(max(edge, self.least) for edge in volume.shape[2:])
        if size != volume.shape[2:]:
            volume = F.interpolate(volume, size, mode="trilinear")
        logits: Tensor = self.network(volume)
        return logits


class SliceNetwork(nn.Module):
    """A 2D network on every slice, its features averaged over the slices: is 3D needed at all?

    Args:
        backbone: a timm model.
        in_channels: of a slice.
        classes: logits.
    """

    def __init__(self, backbone: str, in_channels: int, classes: int) -> None:
        super().__init__()
        import timm

        network: Any = timm.create_model(backbone, in_chans=in_channels, num_classes=0)
        self.backbone: nn.Module = network
        self.classifier = nn.Linear(int(network.num_features), classes)

    def forward(self, volume: Tensor) -> Tensor:
        """Return the logits, (B, classes), of (B, C, D, H, W)."""
        batch, _, depth = volume.shape[:3]
        slices = volume.transpose(1, 2).flatten(0, 1)  # (B * D, C, H, W)
        features = self.backbone(slices).unflatten(0, (batch, depth)).mean(dim=1)
        logits: Tensor = self.classifier(features)
        return logits


class Residual3D(nn.Sequential):
    """A small residual network: stem of stride 2, basic blocks, average pooling; 127 K parameters.

    Args:
        in_channels: of the volume.
        classes: logits.
        widths: of the blocks, each of which but the first halves the resolution.
        dropout: before the classifier.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        widths: Sequence[int] = (12, 24, 48),
        dropout: float = 0.3,
    ) -> None:
        blocks = [
            ResidualBlock3D(before, width, 1 if number == 0 else 2)
            for number, (before, width) in enumerate(
                zip((widths[0], *widths[:-1]), widths, strict=True)
            )
        ]
        super().__init__(
            convolution(in_channels, widths[0], 3, 2),
            *blocks,
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1], classes),
        )


class ResidualBlock3D(nn.Module):
    """Two 3x3x3 convolutions with normalization beside a shortcut, a 1x1x1 one where sizes change.

    Args:
        in_channels: of the input.
        channels: of the output.
        stride: of the first convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            convolution(in_channels, channels, 3, stride),
            convolution(channels, channels, 3, active=False),
        )
        same = in_channels == channels and stride == 1
        self.shortcut: nn.Module = (
            nn.Identity() if same else convolution(in_channels, channels, 1, stride, active=False)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, channels, ...) of (B, in_channels, ...)."""
        return torch.relu(self.branch(features) + self.shortcut(features))


def _monai_resnet(name: str) -> Callable[[int, int], nn.Module]:
    def build(in_channels: int, classes: int) -> nn.Module:
        from monai.networks import nets

        network: nn.Module = getattr(nets, name)(
            spatial_dims=3, n_input_channels=in_channels, num_classes=classes
        )
        return network

    return build


def _monai_densenet(in_channels: int, classes: int) -> nn.Module:
    from monai.networks.nets.densenet import DenseNet121

    network: nn.Module = DenseNet121(spatial_dims=3, in_channels=in_channels, out_channels=classes)
    return network


def _torchvision(name: str) -> Callable[[int, int], nn.Module]:
    def build(in_channels: int, classes: int) -> nn.Module:
        from torchvision.models import video

        network: Any = getattr(video, name)(weights=None, num_classes=classes)
        first = network.stem[0]  # made for RGB
        network.stem[0] = nn.Conv3d(
            in_channels,
            first.out_channels,
            first.kernel_size,
            stride=first.stride,
            padding=first.padding,
            bias=False,
        )
        module: nn.Module = network
        return module

    return build


BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "monai_resnet10": _monai_resnet("resnet10"),
    "monai_resnet101": _monai_resnet("resnet101"),
    "monai_densenet121": _monai_densenet,
    "r3d_18": _torchvision("r3d_18"),
    "mc3_18": _torchvision("mc3_18"),
    "r2plus1d_18": _torchvision("r2plus1d_18"),
    "residual3d": Residual3D,
}


def draw_baseline(model: str, in_channels: int, classes: int, backbone: str, seed: int) -> Baseline:
    """Return a baseline with its own library's random weights, decided by `seed`.

    Their initializers draw from PyTorch's global generator; its state is put back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        baseline = Baseline(model, in_channels, classes, backbone)
    if model == "residual3d":
        draw_weights_(baseline, torch.Generator().manual_seed(seed))
    return baseline
