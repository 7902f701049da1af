"""Brain tumor cases made ready for a network: smaller voxels merged, cropped, in standard units.

Each function takes a `BrainCase` and returns a new one whose affine fits its voxels. Torch-free.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vismodels.data.brain_cases import LEVELS, MODALITIES, BrainCase
from vismodels.data.zscore import normalized

SAME_SPACING = 0.01  # of a voxel


def standardized(case: BrainCase, *, may_lack: bool = False) -> BrainCase:
    """Return the case in standard deviations from each modality's mean, 0 outside of the brain.

    As `zscore.normalized`; but a file without contrast is taken for a mistake.

    Args:
        case: with images of any unit, 0 outside of the brain.
        may_lack: whether a modality that is 0 everywhere is one that the case lacks, and stays 0;
            of generated cases, for a file that is empty is a mistake.

    Raises:
        ValueError: if a modality has no two different values in the brain.
    """
    for modality, image in zip(MODALITIES, case.images, strict=True):
        values = image[image != 0]
        if may_lack and not values.size:
            continue
        if not values.size or values.min() == values.max():
            raise ValueError(
                f"case {case.name!r}: {modality} has no two different values in the brain; is it "
                "the right file, and whole?"
            )
    return replace(case, images=normalized(case.images))


def with_spacing(case: BrainCase, spacing: float) -> BrainCase:
    """Return the case with blocks of voxels merged into cubes of `spacing` millimeters.

    An image is the mean over those voxels of a block that are brain, and 0 where these are less
    than half. A block is in a region (level n or higher) if at least half of it is: regions that
    are nested before are nested afterwards. Blocks at the end are filled up with background.

    Args:
        case: its voxel sizes divide `spacing`.
        spacing: of the result, along each axis.

    Raises:
        ValueError: if a voxel size does not divide `spacing`.
    """
    ratios = [spacing / size for size in case.spacing]
    factors = [max(round(ratio), 1) for ratio in ratios]
    if max(abs(r - f) / f for r, f in zip(ratios, factors, strict=True)) > SAME_SPACING:
        raise ValueError(
            f"case {case.name!r}: voxels of {_listed(case.spacing)} mm cannot be merged into cubes "
            f"of {spacing:g} mm; resample the files to a divisor of it first"
        )
    share = _block_means(case.brain, factors)
    kept = share >= 0.5
    means = np.stack([_block_means(image, factors) for image in case.images])
    images = np.where(kept, means / np.maximum(share, 0.5), 0).astype(np.float32)
    levels: NDArray[np.uint8] | None = None
    if case.levels is not None:
        regions = [_block_means(case.levels >= n, factors) >= 0.5 for n in range(1, LEVELS)]
        levels = np.stack(regions).sum(axis=0, dtype=np.uint8)
    to_fine = np.diag([*map(float, factors), 1.0])  # index of a block -> of its center
    to_fine[:3, 3] = (np.array(factors) - 1) / 2
    return replace(
        case,
        images=images,
        levels=levels,
        affine=case.affine @ to_fine,
        outside=round(case.outside / math.prod(factors)),  # of blocks, as many as these voxels fill
    )


def cropped(case: BrainCase) -> BrainCase:
    """Return the smallest box of the case that holds its brain and every voxel with a level.

    How many voxels are cut off is kept: they count where nothing was predicted and nothing is.

    Raises:
        ValueError: if there is no brain in it.
    """
    held = case.brain if case.levels is None else case.brain | (case.levels > 0)
    if not held.any():
        raise ValueError(f"case {case.name!r}: all images are 0; is it the right file, and whole?")
    corners = [(int(where.min()), int(where.max()) + 1) for where in np.nonzero(held)]
    box = tuple(slice(*ends) for ends in corners)
    to_whole = np.eye(4)  # index in the box -> in the case
    to_whole[:3, 3] = [start for start, _ in corners]
    kept = math.prod(end - start for start, end in corners)
    return replace(
        case,
        images=np.ascontiguousarray(case.images[:, *box]),
        levels=None if case.levels is None else np.ascontiguousarray(case.levels[box]),
        affine=case.affine @ to_whole,
        outside=case.outside + held.size - kept,
    )


def _block_means(volume: NDArray[np.generic], factors: Sequence[int]) -> NDArray[np.float64]:
    """Return the mean over blocks of `factors` voxels, those beyond the end counted as 0."""
    ends = [(0, -size % factor) for size, factor in zip(volume.shape, factors, strict=True)]
    whole = np.pad(volume, ends)
    parts = [n for size, f in zip(whole.shape, factors, strict=True) for n in (size // f, f)]
    means: NDArray[np.float64] = whole.reshape(parts).mean(axis=(1, 3, 5), dtype=np.float64)
    return means


def _listed(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)
