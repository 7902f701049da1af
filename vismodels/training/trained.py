"""Networks that a training stage stored, by name and seed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from vismodels.checkpoint import CONFIG, load_weights
from vismodels.config import suggestion
from vismodels.files import FileError, read_json
from vismodels.results import SCORES, read_scores

Network = TypeVar("Network", bound=nn.Module)


def load_trained(
    folders: Sequence[Path], classes: Iterable[type[Network]], device: torch.device | str = "cpu"
) -> dict[str, dict[int, Network]]:
    """Return name -> seed -> network of folders with weights and one score record.

    Args:
        folders: written by a stage that trains.
        classes: of which the networks may be.
        device: where they go.

    Raises:
        FileError: if a folder is damaged, or holds another kind of network.
    """
    by_name = {kind.__name__: kind for kind in classes}
    networks: dict[str, dict[int, Network]] = {}
    for folder in folders:
        (record,) = read_scores(folder / SCORES)
        name = str(read_json(folder / CONFIG).get("_class_name"))
        if name not in by_name:
            raise FileError(f"{folder}: weights of an unknown class{suggestion(name, by_name)}")
        network = load_weights(by_name[name], folder, device)
        networks.setdefault(record.variant, {})[record.seed or 0] = network
    return networks
