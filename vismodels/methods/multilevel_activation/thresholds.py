"""What one threshold on one image reaches; a set of cases has to be harder. Torch-free."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vismodels.data.brain_cases import MODALITIES, BrainCase
from vismodels.data.zscore import CLIP, normalized
from vismodels.metrics.segmentation import REGIONS

THRESHOLDS = np.linspace(-CLIP, CLIP, 101)  # standard deviations


def threshold_dice(
    train: Sequence[BrainCase], test: Sequence[BrainCase], modality: str, region: str
) -> Mapping[str, float]:
    """Return name -> Dice of the test cases, by the threshold that is best on the training cases.

    A region is predicted where the normalized image is above the threshold. Cases without the
    region are left out.

    Args:
        train: cases with levels.
        test: like `train`.
        modality: one of `MODALITIES`.
        region: one of `REGIONS`.

    Raises:
        ValueError: if no training case has the region.
    """
    level, channel = 1 + REGIONS.index(region), MODALITIES.index(modality)
    seen = _curves(train, channel, level)
    if not seen:
        raise ValueError(f"none of {len(train)} training cases has {region}; give cases that do")
    best = int(np.mean(list(seen.values()), axis=0).argmax())
    return {name: float(curve[best]) for name, curve in _curves(test, channel, level).items()}


def _curves(cases: Sequence[BrainCase], channel: int, level: int) -> dict[str, NDArray[np.float64]]:
    """Return name -> Dice at every one of `THRESHOLDS`."""
    curves = {}
    for case in cases:
        if case.levels is None or not (case.levels >= level).any():
            continue
        brain = case.brain
        values = normalized(case.images)[channel][brain]
        inside = np.sort(values[case.levels[brain] >= level])
        hits = inside.size - np.searchsorted(inside, THRESHOLDS, side="right")
        predicted = values.size - np.searchsorted(np.sort(values), THRESHOLDS, side="right")
        curves[case.name] = 2 * hits / (predicted + inside.size)
    return curves
