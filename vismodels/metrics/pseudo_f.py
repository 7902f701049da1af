"""The two pseudo-F-measures of the DIBCO contests, which forgive errors along the edges of strokes.

`pfm_weighted` (since 2013): Ntirogiannis, Gatos, Pratikakis, "Performance evaluation methodology
for historical document image binarization", IEEE TIP 22 (2013). `pfm_skeleton` (2010 to 2012, and
many papers since): recall on the thinned text, ordinary precision. Their values differ by points;
numbers of one must not stand in a column of the other.

The contests make their weight maps with a program of their own, which gives strokes of 3 pixels and
the ends of lines less than their share and thins by another rule. `weight_maps` follows the paper's
equations; maps of a contest can be given in its place.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vismodels.metrics.document import Mask, check_pages, count, harmonic_mean, precision
from vismodels.results import Metric

Map = NDArray[np.float64]

_EIGHT_CONNECTED = np.ones((3, 3), bool)
_LARGEST = 2.0  # of a precision weight

PFM_WEIGHTED = Metric(
    "pfm_weighted",
    "Pseudo-F (weighted)",
    unit="%",
    higher_is_better=True,
    protocol="recall weighted by the depth in the stroke, precision by the distance from it (TIP "
    "2013), maps from the paper's equations and not from the contests' program; mean over whole "
    "pages; pages without text are left out",
    digits=2,
)
PFM_SKELETON = Metric(
    "pfm_skeleton",
    "Pseudo-F (skeleton)",
    unit="%",
    higher_is_better=True,
    protocol="recall on the Guo-Hall thinned ground truth, precision of all pixels; mean over "
    "whole pages; pages without text are left out",
    digits=2,
)


@dataclass(frozen=True)
class WeightMaps:
    """Weights of a page's pixels for the weighted pseudo-F-measure.

    Args:
        recall: (H, W), at least 0; GW of the paper: 0 on the background, with sum 1 across a
            stroke.
        precision: (H, W), 0 to 2; PW - 1 of the paper: 0 on text and far from it.
    """

    recall: Map
    precision: Map


def thinned(target: Mask) -> Mask:
    """Return the skeleton of the text: lines one pixel wide, connected as the text is.

    Guo, Hall, "Parallel thinning with two-subiteration algorithms", Comm. ACM 32 (1989), the
    algorithm that `skimage.morphology.thin` implements.

    Args:
        target: (H, W) bool, True where text is.
    """
    from skimage.morphology import thin

    skeleton: Mask = thin(target)  # type: ignore[no-untyped-call]
    return skeleton


def pfm_skeleton(prediction: Mask, target: Mask, skeleton: Mask) -> float:
    """Return the pseudo-F-measure of the contests up to 2012, in percent.

    Args:
        prediction: (H, W) bool, True where text was found.
        target: like `prediction`, True where text is.
        skeleton: `thinned(target)`, which takes most of the time: make it once for a page.

    Returns:
        0 to 100; 0 if no text is found; NaN if the target has no text.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ.
    """
    check_pages(prediction, target)
    check_pages(skeleton, target)
    if not skeleton.any():
        return math.nan
    found = count(prediction & skeleton) / count(skeleton)
    return harmonic_mean(100 * found, precision(prediction, target))


def pfm_weighted(prediction: Mask, target: Mask, weights: WeightMaps) -> float:
    """Return the pseudo-F-measure of the contests since 2013, in percent.

    Args:
        prediction: (H, W) bool, True where text was found.
        target: like `prediction`, True where text is.
        weights: `weight_maps(target, thinned(target))`, or the maps of a contest.

    Returns:
        0 to 100; 0 if no text is found; NaN if no text of the target has a weight.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ.
    """
    check_pages(prediction, target)
    for name, weight in (("recall", weights.recall), ("precision", weights.precision)):
        if weight.shape != target.shape:
            raise ValueError(
                f"expected {name} weights of the target's shape {target.shape}, got {weight.shape}"
                "; give the maps of this page as arrays (H, W)"
            )
    hits = prediction & target
    text = float(weights.recall[target].sum())
    found = count(prediction) + float(weights.precision[prediction].sum())
    if text == 0:
        return math.nan
    if found == 0:
        return 0.0
    pseudo_recall = float(weights.recall[hits].sum()) / text
    right = count(hits) + float(weights.precision[hits].sum())
    return 100 * harmonic_mean(pseudo_recall, right / found)


def weight_maps(target: Mask, skeleton: Mask) -> WeightMaps:
    """Return the weights of a page's pixels, from its ground truth alone.

    Distances are those of the chessboard. Recall, Eqs. (2), (3): depth in the stroke (the contour
    has 0) over the sum of the depths across it; a stroke of width 5 has 0, 1/4, 1/2, 1/4, 0.
    Precision, Eqs. (10), (11): distance from the nearest component over its stroke width, up to
    that width; between components so near that the space may be filled, over half the gap.

    Args:
        target: (H, W) bool, True where text is.
        skeleton: `thinned(target)`.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ.
    """
    check_pages(skeleton, target)
    if not skeleton.any():
        return WeightMaps(np.zeros(target.shape), np.zeros(target.shape))
    depth = _depth(target, skeleton)
    half_width = _half_width(depth, skeleton)
    return WeightMaps(
        _recall_weights(depth, half_width, skeleton),
        _precision_weights(target, half_width, skeleton),
    )


def _depth(target: Mask, skeleton: Mask) -> NDArray[np.int32]:
    """Return the distance of text from the contour of its stroke; at least 1 on the skeleton."""
    from scipy import ndimage

    contour = target & ~ndimage.binary_erosion(target)
    depth: NDArray[np.int32] = ndimage.distance_transform_cdt(~contour, "chessboard")
    depth[~target] = 0
    depth[contour & skeleton] = 1
    return depth


def _half_width(depth: NDArray[np.int32], skeleton: Mask) -> NDArray[np.int32]:
    """Return, on the skeleton, how many depths an even stroke repeats: D, or D + 1 if D is twice.

    Depths 1 .. D .. 1 have the sum D * D, depths 1 .. D, D .. 1 have D * (D + 1).
    """
    from scipy import ndimage

    beside = ndimage.maximum_filter(np.where(skeleton, 0, depth), 3)
    return np.where(skeleton, depth + (beside >= depth), 0)


def _recall_weights(depth: NDArray[np.int32], half_width: NDArray[np.int32], skeleton: Mask) -> Map:
    rows, columns = _nearest(skeleton)[1]
    inside = depth > 0
    across = (depth * half_width)[rows[inside], columns[inside]]
    weights = np.zeros(depth.shape)
    weights[inside] = np.minimum(depth[inside] / across, 1)  # where strokes of two widths meet
    return weights


def _precision_weights(target: Mask, half_width: NDArray[np.int32], skeleton: Mask) -> Map:
    from scipy import ndimage

    component, components = ndimage.label(target, _EIGHT_CONNECTED)
    mean = np.bincount(
        component[skeleton], half_width[skeleton], minlength=components + 1
    ) / np.maximum(np.bincount(component[skeleton], minlength=components + 1), 1)
    stroke_width = 2 * mean.astype(np.int32)
    distance, (rows, columns) = _nearest(target)
    owner = component[rows, columns]
    reach = stroke_width[owner]
    near = ~target & (distance <= reach)
    half_gap = _half_gap(distance, reach, np.where(near | target, owner, 0))
    over = np.minimum(reach, half_gap)
    weights = np.zeros(target.shape)
    weights[near] = np.minimum(distance[near] / over[near], _LARGEST)
    return weights


def _half_gap(
    distance: NDArray[np.int32], reach: NDArray[np.int32], owner: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return half the gap between two components where it may be filled, `reach` elsewhere.

    Args:
        distance: (H, W) from the nearest component, 0 on text.
        reach: (H, W) stroke width of that component.
        owner: (H, W) number of that component where it is no farther than `reach`, else 0.
    """
    from scipy import ndimage

    middle = np.zeros(owner.shape, bool)
    for axis in (0, 1):
        a, b = np.moveaxis(owner, axis, 0)[:-1], np.moveaxis(owner, axis, 0)[1:]
        meets = (a != b) & (a > 0) & (b > 0)
        along = np.moveaxis(middle, axis, 0)
        along[:-1] |= meets
        along[1:] |= meets
    middle &= distance > 0
    if not middle.any():
        return reach
    # An odd gap has one pixel in its middle; the one beside it belongs to the same gap.
    half = ndimage.maximum_filter(np.where(middle, distance, 0), 3)
    to_middle, (rows, columns) = _nearest(middle)
    return np.where(to_middle <= reach - distance, half[rows, columns], reach)


def _nearest(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the chessboard distance of every pixel from `mask`, and its nearest pixel there."""
    from scipy import ndimage

    distance, pixels = ndimage.distance_transform_cdt(~mask, "chessboard", return_indices=True)
    return distance, pixels
