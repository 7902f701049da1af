"""Levels and nested regions: masks, violations of the nesting, repairs, and the rim error.

Region n of n = 1..C-1 is every voxel of a level from n up; those of a glioma are the whole tumor
(WT), its core (TC) and the enhancing tumor (ET). The repairs are what is usually done to masks of
independent sigmoids; they give different masks.
"""

import math
from itertools import accumulate
from operator import and_, or_
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vismodels.metrics.segmentation import REGIONS


class Violations(NamedTuple):
    """Voxels that lie in a region but not in the one around it; no voxel is in both counts."""

    et_outside_tc: int
    tc_outside_wt: int

    @property
    def total(self) -> int:
        """All voxels that violate the nesting."""
        return self.et_outside_tc + self.tc_outside_wt


class RimError(NamedTuple):
    """Predicted voxels of level 2 that are a false rim, and all that were predicted."""

    rim: int
    predicted: int

    @property
    def share(self) -> float:
        """False rim of what was predicted, in [0, 1]; not a number if nothing was."""
        return self.rim / self.predicted if self.predicted else math.nan


def region_masks(levels: Tensor, classes: int) -> Tensor:
    """Return the masks of the regions 1..C-1, (B, C - 1, ...) bool; nested by construction.

    Args:
        levels: (B, ...) integers in 0..C-1.
        classes: C.
    """
    return torch.stack([levels >= level for level in range(1, classes)], dim=1)


def violations(regions: Tensor | NDArray[np.bool_]) -> Violations:
    """Return how many voxels violate the nesting.

    Args:
        regions: (3, ...) bool, in the order WT, TC, ET.

    Raises:
        ValueError: if it is not three masks.
    """
    masks = _array(regions)
    if len(masks) != len(REGIONS) or masks.dtype != np.bool_:
        raise ValueError(
            f"expected bool masks ({len(REGIONS)}, ...) in the order {', '.join(REGIONS)}, got "
            f"{masks.shape} {masks.dtype}; give one case at a time"
        )
    whole, core, enhancing = masks
    return Violations(int((enhancing & ~core).sum()), int((core & ~whole).sum()))


def intersect(regions: Tensor, dim: int = 0) -> Tensor:
    """Return every region cut to the regions around it: what is outside of them is dropped.

    Args:
        regions: (..., R, ...) bool, from the outermost to the innermost along `dim`.
        dim: axis of the regions.
    """
    return torch.stack(tuple(accumulate(regions.unbind(dim), and_)), dim)


def paint(regions: Tensor, dim: int = 0) -> Tensor:
    """Return every region grown by the regions inside of it, like `intersect`.

    It is what painting does: levels are written one region after the other, WT, TC, ET, and the
    last one wins, as nnU-Net exports regions.
    """
    outward = tuple(accumulate(reversed(regions.unbind(dim)), or_))
    return torch.stack(outward[::-1], dim)


def multiply(probabilities: Tensor, dim: int = 0) -> Tensor:
    """Return the regions whose probability is above 0.5, given that of all regions around it.

    Args:
        probabilities: (..., R, ...) in [0, 1], from the outermost to the innermost along `dim`,
            each read as a probability within the region around it.
        dim: axis of the regions.

    Returns:
        bool masks of the same shape.
    """
    return probabilities.float().cumprod(dim) > 0.5


def painted_levels(regions: Tensor, dim: int = 0) -> Tensor:
    """Return the levels of regions that need not be nested, int64, without the axis `dim`."""
    return paint(regions, dim).sum(dim)


def rim_error(predicted: Tensor | NDArray[Any], true: Tensor | NDArray[Any]) -> RimError:
    """Return how much of the predicted level 2 is a false rim between the levels 1 and 3.

    A logit that goes from edema to enhancing tumor passes through the level between them. A voxel
    is a false rim if it is predicted as level 2, touches predicted voxels of both level 1 and
    level 3 (faces, edges and corners; 26 neighbors in 3D), and is of another level in truth. The
    measure is ours.

    Args:
        predicted: (D, H, W) levels in 0..3 of one case.
        true: like `predicted`.

    Raises:
        ValueError: if the shapes differ.
    """
    from scipy.ndimage import maximum_filter

    found, truth = _array(predicted), _array(true)
    if found.shape != truth.shape:
        raise ValueError(
            f"predicted levels are {found.shape}, true ones {truth.shape}; both must be of one grid"
        )
    core = found == 2
    false = core & (truth != 2)
    for level in (1, 3):
        false &= maximum_filter(found == level, size=3, mode="constant", cval=0)
    return RimError(int(false.sum()), int(core.sum()))


def _array(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, Tensor) else values
