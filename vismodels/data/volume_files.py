"""Prepared volumes as files: tensors as safetensors, what is known of them as JSON."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vismodels.data.volumes import VolumeSet
from vismodels.files import FileError, atomic_path, read_json, write_json

TENSORS, RECORD = "volumes.safetensors", "volumes.json"


def write_volumes(volumes: VolumeSet, folder: Path) -> None:
    """Write a set into `folder`; images are rounded to half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / TENSORS) as temporary:
        save_file({"images": volumes.images.half(), "labels": volumes.labels}, temporary)
    write_json(
        folder / RECORD,
        {
            "names": list(volumes.names),
            "patients": list(volumes.patients),
            "classes": list(volumes.classes),
        },
    )


def read_volumes(folder: Path) -> VolumeSet:
    """Return the set that `write_volumes` stored.

    Raises:
        FileError: if a file is missing or damaged.
    """
    known: Any = read_json(folder / RECORD)
    try:
        tensors = load_file(folder / TENSORS)
        return VolumeSet(
            tensors["images"].to(torch.float32),
            tensors["labels"],
            *(tuple(known[key]) for key in ("names", "patients", "classes")),
        )
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise FileError(
            f"{folder}: damaged volumes ({error}); run the stage that makes them again"
        ) from error
