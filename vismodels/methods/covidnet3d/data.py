"""The volumes of a data set as networks see them.

Scans of a chest go through a window of Hounsfield units; the binary shapes of MedMNIST3D stay what
they are, or become a soft mask beside a signed distance map; its grey volumes are scaled.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vismodels.config import ConfigError
from vismodels.data.hounsfield import resize_volume, window
from vismodels.data.medmnist import LabelledVolumes
from vismodels.data.scans import RECORDS, Scan, read_scans
from vismodels.data.shapes import shape_channels
from vismodels.data.volume_files import read_volumes
from vismodels.data.volumes import VolumeSet
from vismodels.methods.covidnet3d.config import CTInput, DataConfig, MaskInput


def load_split(config: DataConfig, folder: Path, split: str) -> VolumeSet:
    """Return a split of a prepared set as networks see it.

    Args:
        config: what is classified, and how it is shown.
        folder: of the stage that made or prepared the set.
        split: `train`, `validation` or `test`.

    Raises:
        FileError: if a file is missing or damaged.
        ConfigError: if a scan is of a class that the configuration does not name.
    """
    if (folder / split / RECORDS).is_file():
        if not isinstance(config.input, CTInput):
            raise ConfigError(
                f"{config.card} holds scans, but its input is {config.input.kind!r}; set it to 'ct'"
            )
        return volumes_of_scans(config, read_scans(folder / split))
    volumes = read_volumes(folder / split)
    if volumes.classes != config.classes:
        raise ConfigError(
            f"{config.card} was prepared with the classes {list(volumes.classes)}, the "
            f"configuration names {list(config.classes)}"
        )
    return volumes


def volumes_of_scans(config: DataConfig, scans: Sequence[Scan]) -> VolumeSet:
    """Return scans of a chest within the window of the configuration, scaled to [-1, 1].

    Raises:
        ConfigError: if a scan is of another class, or has no lung mask where only lungs are shown.
    """
    source = config.input
    assert isinstance(source, CTInput)
    unknown = sorted({scan.label for scan in scans} - set(config.classes))
    if unknown:
        raise ConfigError(
            f"{config.card} has scans of the class {unknown[0]!r}, the configuration names "
            f"{', '.join(config.classes)}"
        )

    def seen(scan: Scan) -> NDArray[np.float32]:
        voxels = window(scan.voxels, *source.window)
        if source.only_lungs:
            if scan.lung is None:
                raise ConfigError(
                    f"{config.card}: {scan.name} has no lung mask; set input.only_lungs to false, "
                    "or segment the lungs first"
                )
            voxels[~scan.lung] = -1.0
        return voxels if source.shape is None else resize_volume(voxels, source.shape)

    return VolumeSet(
        images=torch.from_numpy(np.stack([seen(scan) for scan in scans]))[:, None],
        labels=torch.tensor([config.classes.index(scan.label) for scan in scans]),
        names=tuple(scan.name for scan in scans),
        patients=tuple(scan.patient for scan in scans),
        classes=config.classes,
    )


def volumes_of_medmnist(config: DataConfig, split: str, found: LabelledVolumes) -> VolumeSet:
    """Return a split of a MedMNIST3D set: of binary shapes, or of grey volumes.

    Which volumes are of one patient is not published: each counts as one of its own.

    Args:
        config: classes, and the form of the input.
        split: goes into the names.
        found: volumes and labels.

    Raises:
        ConfigError: if the volumes are to be masks and are grey.
        ValueError: if the labels are not those of the classes.
    """
    source = config.input
    if isinstance(source, MaskInput):
        _refuse_grey(config.card, found)
        if source.form == "distance":
            images = np.stack([shape_channels(image > 0) for image in found.images])
        else:
            images = (found.images > 0).astype(np.float32)[:, None]
    else:
        images = (found.images.astype(np.float32) / 127.5 - 1)[:, None]
    names = tuple(f"{split}_{number:04d}" for number in range(len(images)))
    return VolumeSet(
        torch.from_numpy(images), torch.from_numpy(found.labels), names, names, config.classes
    )


def _refuse_grey(card: str, found: LabelledVolumes) -> None:
    levels: set[int] = set()
    for image in found.images:
        levels.update(np.flatnonzero(np.bincount(image.ravel(), minlength=256)).tolist())
    if len(levels - {0}) > 1:
        raise ConfigError(
            f"{card} has {len(levels)} grey levels, so its volumes are no masks; set input to "
            "{kind: grey}"
        )
