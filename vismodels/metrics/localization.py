"""How well a map of evidence points at a known lesion, and what a map that knows nothing scores.

Pointing game: Zhang et al., "Top-down neural attention by excitation backprop" (arXiv 1608.00507).
Share of energy: Wang et al., "Score-CAM" (arXiv 1910.01279), with masks in place of boxes. Maps
and masks have one shape, (D, H, W) or (H, W), after upsampling. A scan without the mask has no
value: NaN, which means leave out.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.results import Metric

Mask = NDArray[np.bool_]
Map = NDArray[np.floating[Any]]

_SCANS = "mean over scans; scans without a lesion are left out"
_ENERGY = (
    "sum of the map's positive values inside the mask, of all its positive values; negative values "
    "count nothing; 0 for a map without positive values"
)

POINTING_GAME = Metric(
    "pointing_game",
    "Pointing game",
    unit="%",
    higher_is_better=True,
    protocol="scans whose largest map value lies on the lesion, without tolerance; of equal maxima "
    f"the share that does; {_SCANS}",
    digits=1,
)
ENERGY_IN_LESION = Metric(
    "energy_in_lesion",
    "Energy in the lesion",
    unit="%",
    higher_is_better=True,
    protocol=f"{_ENERGY}; {_SCANS}",
    digits=1,
)
ENERGY_IN_LUNG = Metric(
    "energy_in_lung",
    "Energy in the lung",
    unit="%",
    higher_is_better=True,
    protocol=f"{_ENERGY}; mean over scans",
    digits=1,
)
LESION_IOU = Metric(
    "lesion_iou",
    "IoU with the lesion",
    higher_is_better=True,
    protocol="intersection over union of the lesion and the hottest voxels, as many as the lesion "
    f"has; voxels tied at the threshold count by their share; {_SCANS}",
)


def pointing_hit(cam: Map, lesion: Mask) -> float:
    """Return 100 if the hottest voxel lies on the lesion, 0 if not, in percent.

    Args:
        cam: map of any range.
        lesion: like `cam`, bool.

    Returns:
        The share on the lesion where several voxels are hottest, so that a constant map scores
        what chance does; NaN without a lesion.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if shapes differ or the map is not finite.
    """
    check_map(cam, lesion)
    return 100 * float(lesion[cam == cam.max()].mean()) if lesion.any() else math.nan


def energy_inside(cam: Map, mask: Mask) -> float:
    """Return the share of the map's energy inside a mask, in percent.

    The map is made nonnegative by setting negative values, which speak against the class, to zero.
    It is not shifted by its minimum, which would turn counter-evidence into energy elsewhere.

    Args:
        cam: map of any range; the raw one, for after `normalize` no value is negative any more.
        mask: like `cam`, bool: the lesion or the lung.

    Returns:
        0 to 100; 0 for a map without positive values; NaN for an empty mask.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if shapes differ or the map is not finite.
    """
    check_map(cam, mask)
    if not mask.any():
        return math.nan
    energy = np.maximum(cam, 0).astype(np.float64)
    total = float(energy.sum())
    return 100 * float(energy[mask].sum()) / total if total > 0 else 0.0


def lesion_iou(cam: Map, lesion: Mask) -> float:
    """Return the intersection over union of the lesion and equally many hottest voxels.

    Args:
        cam: map of any range.
        lesion: like `cam`, bool.

    Returns:
        0 to 1; where more voxels share the lowest value taken than are needed, the IoU of the
        expected intersection if they were drawn at random; NaN without a lesion.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if shapes differ or the map is not finite.
    """
    check_map(cam, lesion)
    size = int(np.count_nonzero(lesion))
    if size == 0:
        return math.nan
    threshold = np.partition(cam, cam.size - size, axis=None)[cam.size - size]
    above, tied = cam > threshold, cam == threshold
    drawn = (size - np.count_nonzero(above)) / np.count_nonzero(tied)
    common = np.count_nonzero(above & lesion) + drawn * np.count_nonzero(tied & lesion)
    return float(common / (2 * size - common))


def measure_localization(cam: Map, lesion: Mask, lung: Mask) -> dict[str, float]:
    """Return the measures of one map by the names of their metrics.

    Args:
        cam: raw map on the grid of the masks.
        lesion: like `cam`, bool; empty where there is none.
        lung: like `cam`, bool.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes differ or the map is not finite.
    """
    return {
        POINTING_GAME.name: pointing_hit(cam, lesion),
        ENERGY_IN_LESION.name: energy_inside(cam, lesion),
        ENERGY_IN_LUNG.name: energy_inside(cam, lung),
        LESION_IOU.name: lesion_iou(cam, lesion),
    }


def shuffled(cam: Map, rng: np.random.Generator, block: Sequence[int] | None = None) -> Map:
    """Return the map with its cells in random order: the chance level of every measure here.

    Shuffle the map on the layer's own grid and upsample it as the true one: both then have the
    same values and the same smoothness, and only the places differ. In a map of many cells, whose
    neighbors are alike, blocks of cells are moved whole.

    Args:
        cam: map on the layer's grid, before upsampling.
        rng: source of the order.
        block: cells of a block along each axis; single cells by default.

    Raises:
        ValueError: if the map cannot be divided into such blocks.
    """
    block = [1] * cam.ndim if block is None else block
    if len(block) != cam.ndim or any(n % b for n, b in zip(cam.shape, block, strict=True)):
        raise ValueError(
            f"expected blocks that divide the map {cam.shape}, got {tuple(block)}; give one "
            "divisor for each axis"
        )
    counts = [n // b for n, b in zip(cam.shape, block, strict=True)]
    split = cam.reshape([n for pair in zip(counts, block, strict=True) for n in pair])
    outer, inner = range(0, split.ndim, 2), range(1, split.ndim, 2)
    blocks = split.transpose(*outer, *inner).reshape(math.prod(counts), *block)
    moved = rng.permutation(blocks).reshape(*counts, *block)
    back = [axis for at in range(cam.ndim) for axis in (at, at + cam.ndim)]
    return moved.transpose(back).reshape(cam.shape)


def check_map(cam: Map, mask: Mask) -> None:
    """Refuse what is not a finite map and a mask of one shape.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if shapes differ or the map is not finite.
    """
    if mask.dtype != np.bool_:
        raise TypeError(f"expected a boolean mask, got {mask.dtype}; pass `mask > 0`")
    if cam.shape != mask.shape:
        raise ValueError(
            f"map {cam.shape} and mask {mask.shape} differ in shape; upsample the map to the "
            "mask's grid and measure items one by one"
        )
    if not np.isfinite(cam).all():
        raise ValueError("the map holds NaN or infinite values; look at the network's features")
