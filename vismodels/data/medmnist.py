"""The files of MedMNIST3D (Yang et al., Scientific Data 2023): volumes with labels. Torch-free."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.files import FileError

SIZES = (28, 64)  # edges of the cubes
_STORED = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True, eq=False)
class LabelledVolumes:
    """One official split of a set.

    Args:
        images: (N, D, H, W) uint8. Which side of the body an axis goes to is not stated.
        labels: (N,) int64, from 0.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def read_medmnist3d(path: Path | str) -> dict[str, LabelledVolumes]:
    """Return `train`, `validation` and `test` of a MedMNIST3D file.

    Adrenal, fracture, nodule, organ, synapse and vessel are stored alike, with cubes of 28 or 64.

    Args:
        path: of the NPZ file, with the keys `train_images`, `train_labels`, `val_images` and so on.

    Raises:
        FileError: if it is missing, damaged, lacks a key or holds arrays of another form.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            needed = [f"{key}_{what}" for key in _STORED.values() for what in ("images", "labels")]
            missing = [key for key in needed if key not in arrays]
            if missing:
                raise FileError(f"{path}: no MedMNIST file, it lacks {', '.join(missing)}")
            return {
                name: _split(arrays[f"{key}_images"], arrays[f"{key}_labels"], f"{path}: {name}")
                for name, key in _STORED.items()
            }
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except (OSError, EOFError, TypeError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise FileError(f"{path}: cannot be read as NPZ ({error}); fetch it again") from error


def _split(images: NDArray[Any], labels: NDArray[Any], where: str) -> LabelledVolumes:
    edges = set(images.shape[1:])
    if images.ndim != 4 or len(edges) != 1 or not edges <= set(SIZES) or images.dtype != np.uint8:
        raise FileError(
            f"{where}: expected (N, E, E, E) uint8 images with E one of {SIZES}, got "
            f"{images.shape} {images.dtype}; sets of two dimensions have no place here"
        )
    if labels.shape != (len(images), 1) or labels.dtype.kind not in "iu":
        raise FileError(
            f"{where}: expected one whole number for each of {len(images)} images, "
            f"({len(images)}, 1), got {labels.shape} {labels.dtype}"
        )
    return LabelledVolumes(images, labels[:, 0].astype(np.int64))
