"""A trained network and its head in one folder: weights do not tell what their logits mean.

Another steepness, spacing or way to decode reads other levels from the same logits, without an
error; so the head's configuration lies beside the weights, as `head.json`.
"""

from pathlib import Path

import torch
from torch import nn

from vismodels.checkpoint import save_weights
from vismodels.config import Config, ConfigError, parse_config
from vismodels.files import FileError, read_json, write_json
from vismodels.methods.multilevel_activation.build import build_head
from vismodels.methods.multilevel_activation.config import HeadConfig
from vismodels.methods.multilevel_activation.heads import NestedSegmenter
from vismodels.methods.multilevel_activation.segresnet import SegResNet3D
from vismodels.nn.residual_unet3d import ResidualUNet3D
from vismodels.training.trained import load_trained

HEAD = "head.json"
NETWORKS: tuple[type[nn.Module], ...] = (ResidualUNet3D, SegResNet3D)


class StoredHead(Config):
    """What `head.json` holds."""

    head: HeadConfig


def save_segmenter(network: nn.Module, head: HeadConfig, folder: Path | str) -> None:
    """Write a network's weights and the configuration of the head it was trained with.

    Args:
        network: below the head; see `checkpoint.save_weights`.
        head: that its logits are made for.
        folder: written into; made if need be.
    """
    save_weights(network, folder)
    write_json(Path(folder) / HEAD, StoredHead(head=head).model_dump(mode="json"))


def load_segmenter(folder: Path | str, device: torch.device | str = "cpu") -> NestedSegmenter:
    """Return what the stage `train` stored in a folder: the network with the head it learned with.

    Args:
        folder: of one model and one seed.
        device: where it goes.

    Raises:
        FileError: if the folder is damaged, holds another kind of network, or no head.
    """
    network = load_network(folder, device)
    head = build_head(read_head(folder))
    return NestedSegmenter(network, head, trained=True).eval()


def load_network(
    folder: Path | str, device: torch.device | str = "cpu", *, head: HeadConfig | None = None
) -> nn.Module:
    """Return the network that the stage `train` stored in a folder, without its head.

    Args:
        folder: of one model and one seed.
        device: where it goes.
        head: that the network is to be read with, which has to be the one it learned with; None
            to leave that to the caller.

    Raises:
        FileError: if the folder is damaged or holds another kind of network; with `head`, if it
            holds none or another one.
    """
    (seeds,) = load_trained([Path(folder)], NETWORKS, device).values()
    (network,) = seeds.values()
    if head is not None and (stored := read_head(folder)) != head:
        raise FileError(
            f"{folder}: the network learned with the head {stored!r}, not {head!r}, which would "
            "read its logits as other levels; use the stored one, or train again"
        )
    return network


def read_head(folder: Path | str) -> HeadConfig:
    """Return the configuration of the head that a folder's network learned with.

    Raises:
        FileError: if it is missing or damaged.
    """
    path = Path(folder) / HEAD
    if not path.is_file():
        raise FileError(
            f"{path}: no such file, so that nothing tells what the network's logits mean; train "
            "again, or load the network alone and wrap it in the head it was trained with"
        )
    content = read_json(path)
    try:
        return parse_config(StoredHead, content, HEAD).head
    except ConfigError as error:
        raise FileError(f"{path}: holds no head ({error}); train again") from error
