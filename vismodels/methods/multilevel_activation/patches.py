"""Patches of brain tumor cases: random ones to learn from, fixed ones to watch the course by."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vismodels.data.brain_cases import LEVELS, BrainCase
from vismodels.methods.multilevel_activation.config import TrainingSettings

Patch = tuple[Tensor, Tensor]


class PatchSource:
    """Draws patches around voxels of a level of the tumor, or around any voxel of the brain.

    The level is drawn evenly among those the case has: rare ones are seen as often as common ones.
    A case smaller than a patch lies in the middle of background, as in `inference.predict_logits`.

    Args:
        cases: with levels.
        size: of a patch, voxels along each axis.
        jitter: voxels between the middle and the drawn voxel at most, along each axis.
        brain_share: of the patches around any voxel of the brain.

    Raises:
        ValueError: if there is no case, or one has no levels or no brain.
    """

    def __init__(
        self,
        cases: Sequence[BrainCase],
        size: tuple[int, int, int],
        jitter: int = 0,
        brain_share: float = 0.25,
    ) -> None:
        if not cases:
            raise ValueError("no case to draw patches from; give at least one, with levels")
        self.size, self.jitter, self.brain_share = size, jitter, brain_share
        self.volumes: list[Patch] = []
        self.places: list[list[NDArray[np.int64]]] = []
        self.brains: list[NDArray[np.int64]] = []
        for case in cases:
            if case.levels is None:
                raise ValueError(
                    f"case {case.name!r} has no levels to learn from; leave it out, or read it "
                    "with its labels"
                )
            if not case.brain.any():
                raise ValueError(f"case {case.name!r} has no brain: all images are 0; leave it out")
            images, levels = case.images, case.levels
            if any(edge < wanted for edge, wanted in zip(levels.shape, size, strict=True)):
                margins = _margins(levels.shape, size)
                images, levels = np.pad(images, [(0, 0), *margins]), np.pad(levels, margins)
            masks = [levels == level for level in range(1, LEVELS)]
            self.places.append([np.flatnonzero(mask) for mask in masks if mask.any()])
            self.brains.append(np.flatnonzero((images != 0).any(axis=0)))
            self.volumes.append((torch.from_numpy(images), torch.from_numpy(levels).long()))

    def draw(self, draws: torch.Generator) -> Patch:
        """Return one patch: images (4, d, h, w) float32 and levels (d, h, w) int64.

        Args:
            draws: source of all randomness, on the CPU.
        """
        number = _below(len(self.volumes), draws)
        images, levels = self.volumes[number]
        levels_there = self.places[number]
        anywhere = float(torch.rand((), generator=draws)) < self.brain_share or not levels_there
        found = self.brains[number] if anywhere else levels_there[_below(len(levels_there), draws)]
        voxel = np.unravel_index(found[_below(len(found), draws)], levels.shape)
        window = []
        for middle, edge, whole in zip(voxel, self.size, levels.shape, strict=True):
            moved = int(middle) + _below(2 * self.jitter + 1, draws) - self.jitter
            start = min(max(moved - edge // 2, 0), whole - edge)
            window.append(slice(start, start + edge))
        z, y, x = window
        return images[:, z, y, x], levels[z, y, x]


def patch_batches(
    source: PatchSource, draws: torch.Generator, settings: TrainingSettings
) -> Iterator[Patch]:
    """Yield endless batches: images (B, 4, d, h, w), channels last in memory, and levels.

    Every patch is mirrored along each axis by chance, and each modality of it scaled and moved.

    Args:
        source: of the patches.
        draws: source of all randomness, on the CPU; only it decides what comes.
        settings: sizes and chances.
    """
    chances = torch.tensor(settings.flip)
    while True:
        patches = [source.draw(draws) for _ in range(settings.batch_size)]
        mirrored = torch.rand(settings.batch_size, 3, generator=draws) < chances
        images, levels = [], []
        for (image, level), axes in zip(patches, mirrored.tolist(), strict=True):
            turned = [axis for axis in range(3) if axes[axis]]
            images.append(image.flip([1 + axis for axis in turned]))
            levels.append(level.flip(turned))
        batch = torch.stack(images)
        shape = (*batch.shape[:2], 1, 1, 1)
        gain = 1 + settings.gain * torch.randn(shape, generator=draws)
        offset = settings.offset * torch.randn(shape, generator=draws)
        inside = (batch != 0).any(dim=1, keepdim=True)
        batch = torch.where(inside, gain * batch + offset, 0.0)
        yield batch.contiguous(memory_format=torch.channels_last_3d), torch.stack(levels)


def fixed_patches(source: PatchSource, count: int, draws: torch.Generator) -> Patch:
    """Return patches as they are: images (count, 4, d, h, w) and levels (count, d, h, w)."""
    patches = [source.draw(draws) for _ in range(count)]
    images = torch.stack([image for image, _ in patches])
    return (
        images.contiguous(memory_format=torch.channels_last_3d),
        torch.stack([level for _, level in patches]),
    )


def _margins(shape: Sequence[int], size: Sequence[int]) -> list[tuple[int, int]]:
    """Return how much background goes before and after each axis, as MONAI's windows have it."""
    lacking = [max(wanted - edge, 0) for edge, wanted in zip(shape, size, strict=True)]
    return [(lack // 2, lack - lack // 2) for lack in lacking]


def _below(bound: int, draws: torch.Generator) -> int:
    return int(torch.randint(bound, (), generator=draws))
