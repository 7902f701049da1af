"""Dice, HD95, sensitivity and specificity of the nested regions of one case, and of a set of cases.

Definitions of the BraTS 2018 server; Dice and HD95 are MONAI's. HD95 is the larger of the two
directed 95th percentiles of the distances between surface voxels, in mm, each interpolated linearly
between the two distances next to it. Other tools pool both directions before they take the
percentile (MedPy) or weigh surfaces by their area (surface-distance): compare their numbers with
care. Where a region is empty, a rule chosen by name decides, and the cases it decided are counted.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from vismodels.metrics.segmentation import (
    DICE,
    DICE_ET_PRESENT,
    EMPTY_KEPT,
    EMPTY_REGION,
    HD95,
    HD95_ET_PRESENT,
    REGION_SENSITIVITY,
    REGION_SPECIFICITY,
    REGIONS,
    EmptyRule,
)
from vismodels.results import Metric, Value, mean_value

if TYPE_CHECKING:
    from torch import Tensor

Mask = NDArray[np.bool_]

PENALTY = math.hypot(240, 240, 155)  # mm: diagonal of the grid of BraTS, 373.1287

# Dice and HD95 where prediction and truth are both empty, and where one of them is.
_EMPTY: Mapping[EmptyRule, tuple[tuple[float, float], tuple[float, float]]] = {
    "brats2018": ((1.0, 0.0), (0.0, PENALTY)),
    "nan": ((math.nan, math.nan), (0.0, math.nan)),
    "panoptica": ((math.nan, math.nan), (0.0, math.inf)),
}


@dataclass(frozen=True)
class RegionScore:
    """Scores of one region of one case.

    Args:
        dice: 0 to 1; NaN where the rule for empty regions says so.
        hd95: in mm; NaN or infinite where the rule for empty regions says so.
        sensitivity: 0 to 1; NaN without true voxels.
        specificity: 0 to 1, over the whole grid, what was cut off included; NaN where the region
            fills it.
        predicted: voxels predicted.
        true: voxels of the truth.
    """

    dice: float
    hd95: float
    sensitivity: float
    specificity: float
    predicted: int
    true: int

    @property
    def by_rule(self) -> bool:
        """Whether Dice and HD95 come from the rule for empty regions."""
        return self.predicted == 0 or self.true == 0


def region_scores(
    predicted: Mask, truth: Mask, spacing: Sequence[float], rule: EmptyRule, *, cut_off: int = 0
) -> dict[str, RegionScore]:
    """Return the scores of a case by the names of the regions.

    `brats2018`: both empty is Dice 1 and HD95 0; one empty is Dice 0 and the diagonal of the BraTS
    grid, whatever the grid of the case. `nan`: what is not defined is NaN, HD95 in both cases and
    Dice if both are empty. `panoptica`, as in today's evaluation: both empty is NaN; one empty is
    Dice 0 and an infinite HD95.

    Args:
        predicted: (3, D, H, W) bool in the order of `REGIONS`; need not be nested.
        truth: like `predicted`.
        spacing: (D, H, W) in mm.
        rule: for Dice and HD95 of empty regions.
        cut_off: voxels of the whole grid around these, as of a case cropped to its brain: in no
            region and predicted as none, so that they count for the specificity alone.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ, or for a spacing or a rule that is none.
    """
    _check(predicted, truth, spacing, rule)
    return {
        region: _region_score(predicted[n], truth[n], spacing, rule, cut_off)
        for n, region in enumerate(REGIONS)
    }


def hausdorff_95(predicted: Mask, truth: Mask, spacing: Sequence[float]) -> float:
    """Return the larger of both directed 95th percentiles of surface distances, in mm.

    Distances are between centers of surface voxels: those with a face to the outside of the mask,
    where beyond the grid is outside too.

    Args:
        predicted: (D, H, W) bool, not empty.
        truth: like `predicted`.
        spacing: (D, H, W) in mm.
    """
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    found, true = _boxed(predicted, truth)
    millimeters = [float(size) for size in spacing]  # MONAI wants numbers of one type
    with warnings.catch_warnings():  # MONAI issue 9059: it warns of an argument of its own
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        distance = compute_hausdorff_distance(
            found, true, include_background=True, percentile=95, spacing=millimeters
        )
    return distance.item()


def region_values(cases: Mapping[str, Mapping[str, RegionScore]]) -> list[Value]:
    """Return the scores of a set as values of a score record, with those of the cases.

    An infinite HD95 is no item, for score files hold finite numbers, and the mean that it belongs
    to is None.

    Args:
        cases: name of the case -> what `region_scores` returned.
    """
    values = []
    for region in REGIONS:
        scores = {name: case[region] for name, case in cases.items()}
        by_rule = {name: float(score.by_rule) for name, score in scores.items()}
        values += [
            mean_value(DICE[region], {name: score.dice for name, score in scores.items()}),
            _mean_distance(HD95[region], scores),
            mean_value(
                REGION_SENSITIVITY[region], {name: s.sensitivity for name, s in scores.items()}
            ),
            mean_value(
                REGION_SPECIFICITY[region], {name: s.specificity for name, s in scores.items()}
            ),
            Value(EMPTY_REGION[region], math.fsum(by_rule.values()), by_rule),
        ]
    enhancing = {name: case["ET"] for name, case in cases.items()}
    present = {name: score for name, score in enhancing.items() if score.true}
    kept = {name: 100.0 * (s.predicted == 0) for name, s in enhancing.items() if not s.true}
    return [
        *values,
        mean_value(DICE_ET_PRESENT, {name: score.dice for name, score in present.items()}),
        _mean_distance(HD95_ET_PRESENT, present),
        mean_value(EMPTY_KEPT, kept),
    ]


def _region_score(
    predicted: Mask, truth: Mask, spacing: Sequence[float], rule: EmptyRule, cut_off: int
) -> RegionScore:
    found, true, common = (
        int(np.count_nonzero(mask)) for mask in (predicted, truth, predicted & truth)
    )
    outside = truth.size - true + cut_off
    if found and true:
        dice, hd95 = _dice(predicted, truth), hausdorff_95(predicted, truth, spacing)
    else:
        both, one = _EMPTY[rule]
        dice, hd95 = one if found or true else both
    return RegionScore(
        dice=dice,
        hd95=hd95,
        sensitivity=common / true if true else math.nan,
        specificity=1 - (found - common) / outside if outside else math.nan,
        predicted=found,
        true=true,
    )


def _dice(predicted: Mask, truth: Mask) -> float:
    from monai.metrics.meandice import compute_dice

    return compute_dice(*_boxed(predicted, truth)).item()


def _boxed(predicted: Mask, truth: Mask) -> "tuple[Tensor, Tensor]":
    """Return both masks, (1, 1, D, H, W), cut to the smallest box that holds them.

    Outside of it both are empty, which neither Dice nor surfaces can tell from being outside of
    the grid: it only saves time.
    """
    import torch
    from scipy import ndimage

    box = ndimage.find_objects((predicted | truth).view(np.int8))[0]
    found, true = (torch.from_numpy(np.ascontiguousarray(m[box])) for m in (predicted, truth))
    return found[None, None], true[None, None]


def _mean_distance(metric: Metric, scores: Mapping[str, RegionScore]) -> Value:
    finite = {name: score.hd95 for name, score in scores.items() if not math.isinf(score.hd95)}
    value = mean_value(metric, finite)
    return value if len(finite) == len(scores) else Value(metric, None, value.items)


def _check(predicted: Mask, truth: Mask, spacing: Sequence[float], rule: EmptyRule) -> None:
    for name, mask in (("prediction", predicted), ("truth", truth)):
        if mask.dtype != np.bool_:
            raise TypeError(
                f"expected a boolean {name}, got {mask.dtype}; decode logits or levels to regions "
                "first"
            )
        if mask.ndim != 4 or len(mask) != len(REGIONS) or mask.size == 0:
            raise ValueError(
                f"expected a {name} ({len(REGIONS)}, D, H, W) in the order {REGIONS}, got "
                f"{mask.shape}; measure cases one by one"
            )
    if predicted.shape != truth.shape:
        raise ValueError(
            f"prediction {predicted.shape} and truth {truth.shape} differ in shape; bring the "
            "prediction back to the grid of the case"
        )
    if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):
        raise ValueError(f"expected a positive spacing (D, H, W) in mm, got {tuple(spacing)}")
    if rule not in _EMPTY:
        raise ValueError(
            f"expected a rule for empty regions of {', '.join(get_args(EmptyRule))}, got {rule!r}"
        )
