"""Labelled volumes in memory: for training in batches, dividing by patient, and scoring.

All volumes of a set have one shape. `names` and `patients` keep what a report needs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

Chances = tuple[float, float, float]


@dataclass(frozen=True)
class VolumeSet:
    """Volumes, their classes and whose they are.

    Args:
        images: (N, C, D, H, W) float32.
        labels: (N,) int64, index into `classes`.
        names: of the volumes, unique.
        patients: whose volumes they are.
        classes: names of the classes.

    Raises:
        ValueError: if the parts do not fit together.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    patients: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.images.ndim != 5 or self.images.dtype != torch.float32:
            raise ValueError(
                f"expected volumes (N, C, D, H, W) float32, got {tuple(self.images.shape)} "
                f"{self.images.dtype}"
            )
        if not count == len(self.images) == len(self.labels) == len(self.patients):
            raise ValueError(
                f"{count} names, {len(self.images)} volumes, {len(self.labels)} labels and "
                f"{len(self.patients)} patients; expected as many of each"
            )
        if count and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(
                f"labels reach from {int(self.labels.min())} to {int(self.labels.max())}, but "
                f"there are {len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) of every volume."""
        depth, height, width = self.images.shape[2:]
        return depth, height, width

    def subset(self, indices: Sequence[int]) -> "VolumeSet":
        """Return the volumes at `indices`, in that order."""
        chosen = torch.as_tensor(list(indices), dtype=torch.long)
        return VolumeSet(
            self.images[chosen],
            self.labels[chosen],
            tuple(self.names[i] for i in indices),
            tuple(self.patients[i] for i in indices),
            self.classes,
        )

    def class_weights(self) -> Tensor:
        """Return N / (classes * count) of each class, (classes,); 0 for one that is absent."""
        counts = torch.bincount(self.labels, minlength=len(self.classes)).float()
        return torch.where(counts > 0, len(self) / (len(self.classes) * counts.clamp_min(1)), 0.0)


def divide_by_patient(volumes: VolumeSet, shares: Sequence[int], seed: int) -> list[VolumeSet]:
    """Return disjoint parts of a set: no patient is in two of them, classes are spread evenly.

    Args:
        volumes: to divide.
        shares: relative sizes of the parts, whole numbers: (2, 2, 1) makes parts of about 40, 40
            and 20 percent.
        seed: of the order of the patients.

    Raises:
        ValueError: if there are fewer patients of a class than there are shares in all.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    folds = sum(shares)
    for label, name in enumerate(volumes.classes):
        of_class = {
            patient
            for patient, found in zip(volumes.patients, volumes.labels.tolist(), strict=True)
            if found == label
        }
        if of_class and len(of_class) < folds:
            raise ValueError(
                f"{len(of_class)} patients of the class {name!r} cannot be divided into shares of "
                f"{list(shares)}; name fewer shares, or more data"
            )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    split = splitter.split(np.zeros(len(volumes)), volumes.labels.numpy(), volumes.patients)
    members = [held_out for _, held_out in split]
    parts, begin = [], 0
    for share in shares:
        indices = np.sort(np.concatenate(members[begin : begin + share]))
        parts.append(volumes.subset(indices.tolist()))
        begin += share
    return parts


def volume_batches(
    volumes: VolumeSet,
    draws: torch.Generator,
    *,
    batch_size: int,
    flip: Chances = (0.0, 0.0, 0.0),
    shift: int = 0,
    level: float = 0.0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield endless batches (images, labels) of different volumes, channels last in memory.

    Args:
        volumes: to draw from; every batch anew, so that only `draws` decides what comes.
        draws: source of all randomness, on the CPU.
        batch_size: at most the number of volumes.
        flip: probability that a volume is mirrored along depth, height and width.
        shift: voxels by which a volume is moved along each axis at most; its edge is repeated.
        level: standard deviation of a constant that is added to each volume.

    Raises:
        ValueError: if the batch is larger than the set.
    """
    if not 1 <= batch_size <= len(volumes):
        raise ValueError(f"a batch of {batch_size} cannot be drawn from {len(volumes)} volumes")
    chances = torch.tensor(flip)
    while True:
        chosen = torch.randperm(len(volumes), generator=draws)[:batch_size]
        mirrored = torch.rand(batch_size, 3, generator=draws) < chances
        images = [
            image.flip([1 + axis for axis in range(3) if axes[axis]])
            for image, axes in zip(volumes.images[chosen], mirrored.tolist(), strict=True)
        ]
        batch = torch.stack(images)
        if shift:
            batch = _moved(batch, shift, draws)
        if level:
            batch = batch + level * torch.randn(batch_size, 1, 1, 1, 1, generator=draws)
        yield batch.contiguous(memory_format=torch.channels_last_3d), volumes.labels[chosen]


def _moved(batch: Tensor, most: int, draws: torch.Generator) -> Tensor:
    """Return every volume moved by up to `most` voxels along each axis."""
    depth, height, width = batch.shape[2:]
    wide = pad(batch, [most] * 6, mode="replicate")
    starts = torch.randint(2 * most + 1, (len(batch), 3), generator=draws).tolist()
    return torch.stack(
        [
            volume[:, z : z + depth, y : y + height, x : x + width]
            for volume, (z, y, x) in zip(wide, starts, strict=True)
        ]
    )
