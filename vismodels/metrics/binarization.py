"""All measures of a binarized page at once, with what depends on the ground truth made once."""

from dataclasses import dataclass

from vismodels.metrics.document import (
    DRD,
    F_MEASURE,
    PRECISION,
    PSNR_BINARY,
    RECALL,
    Mask,
    check_pages,
    drd,
    f_measure,
    precision,
    psnr_binary,
    recall,
)
from vismodels.metrics.pseudo_f import (
    PFM_SKELETON,
    PFM_WEIGHTED,
    WeightMaps,
    pfm_skeleton,
    pfm_weighted,
    thinned,
    weight_maps,
)

BINARIZATION = (F_MEASURE, PFM_WEIGHTED, PFM_SKELETON, PSNR_BINARY, DRD, PRECISION, RECALL)


@dataclass(frozen=True)
class GroundTruth:
    """A page's text with what the pseudo-F-measures need of it.

    Args:
        target: (H, W) bool, True where text is.
        skeleton: the thinned text.
        weights: weight maps, of ours or of a contest.
    """

    target: Mask
    skeleton: Mask
    weights: WeightMaps


def ground_truth(target: Mask) -> GroundTruth:
    """Return a page's text with its skeleton and weight maps.

    Args:
        target: (H, W) bool, True where text is.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if it is not two-dimensional or empty.
    """
    check_pages(target, target)
    skeleton = thinned(target)
    return GroundTruth(target, skeleton, weight_maps(target, skeleton))


def measure_binarization(prediction: Mask, target: Mask | GroundTruth) -> dict[str, float]:
    """Return the measures of a binarized page by the names of the metrics in `BINARIZATION`.

    Args:
        prediction: (H, W) bool, True where text was found.
        target: True where text is; for several predictions of one page its `ground_truth`.

    Returns:
        NaN for what is not defined on a page without text; PSNR is infinite for a perfect page.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ.
    """
    truth = target if isinstance(target, GroundTruth) else ground_truth(target)
    return {
        F_MEASURE.name: f_measure(prediction, truth.target),
        PFM_WEIGHTED.name: pfm_weighted(prediction, truth.target, truth.weights),
        PFM_SKELETON.name: pfm_skeleton(prediction, truth.target, truth.skeleton),
        PSNR_BINARY.name: psnr_binary(prediction, truth.target),
        DRD.name: drd(prediction, truth.target),
        PRECISION.name: precision(prediction, truth.target),
        RECALL.name: recall(prediction, truth.target),
    }
