"""Logits of whole sets, without gradients and in batches of bounded memory."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.data.volumes import VolumeSet
from vismodels.nn.modes import evaluation_mode

BATCH = 32


def device_of(network: nn.Module) -> torch.device:
    """Return where a network's parameters are."""
    return next(network.parameters()).device


@torch.no_grad()
def logits_of(
    model: Callable[[Tensor], Tensor], volumes: VolumeSet, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the logits of every volume, (N, classes), on the CPU.

    A module is put into evaluation mode for the time; any other function is called as it is.
    """

    def run() -> Tensor:
        parts = [
            model(part.to(device).contiguous(memory_format=torch.channels_last_3d)).cpu()
            for part in torch.split(volumes.images, BATCH)
        ]
        return torch.cat(parts)

    if not isinstance(model, nn.Module):
        return run()
    with evaluation_mode(model):
        return run()


def loss_and_accuracy(
    model: Callable[[Tensor], Tensor],
    volumes: VolumeSet,
    class_weights: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> tuple[float, float]:
    """Return the mean (weighted) cross-entropy over a whole set, and the share of right answers."""
    logits = logits_of(model, volumes, device)
    weights = None if class_weights is None else class_weights.cpu()
    loss = F.cross_entropy(logits, volumes.labels, weights).item()
    return loss, (logits.argmax(dim=1) == volumes.labels).float().mean().item()
