"""Pooled features of a pretrained network of timm, by which images are compared."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.files import FileError


class TimmFeatures(nn.Module):
    """A network with the resizing and normalization that it expects.

    Args:
        network: without classes, (N, 3, edge, edge) -> (N, F).
        mean: of the channels it expects, with images in [0, 1].
        deviation: of the channels it expects.
        edge: height and width in pixels.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, network: nn.Module, *, mean: Sequence[float], deviation: Sequence[float], edge: int
    ) -> None:
        super().__init__()
        self.network, self.edge = network.eval(), edge
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, F) features of (N, 3, H, W) images in [0, 1], of any size."""
        resized = F.interpolate(
            images, size=(self.edge, self.edge), mode="bicubic", antialias=True
        ).clamp(0, 1)
        features: Tensor = self.network((resized - self.mean) / self.deviation)
        return features


def load_timm_features(name: str, device: torch.device | str = "cpu") -> TimmFeatures:
    """Return a pretrained network in evaluation mode, from the hub or its local copy.

    Args:
        name: of timm; a folder as `local-dir:/folder`.
        device: where to compute.

    Raises:
        FileError: if there is no such network, or its weights cannot be had.
    """
    try:
        network: Any = timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise FileError(
            f"timm cannot load {name} with its weights: {error}; give the name of a pretrained "
            f"network. Without a network, fetch it beforehand (hf download timm/{name}), or give "
            "its folder as local-dir:/folder"
        ) from error
    data = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    features = TimmFeatures(
        network, mean=data["mean"], deviation=data["std"], edge=data["input_size"][-1]
    )
    return features.eval().to(device)
