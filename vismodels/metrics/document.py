"""Measures of the DIBCO contests for binarized pages: F-measure, PSNR and DRD.

Definitions as in the contests' evaluation tool, e.g. Pratikakis, Zagoris, Barlas, Gatos, "ICDAR2017
competition on document image binarization (DIBCO 2017)", section III. DRD: Lu, Kot, Shi,
"Distance-reciprocal distortion measure for binary document images", IEEE SPL 11 (2004). Contests
measure whole pages and average over pages, never over tiles. The pseudo-F-measures are in
`pseudo_f.py`.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vismodels.results import Metric, Value

Mask = NDArray[np.bool_]

_REACH = 2  # DRD looks at 5x5 neighborhoods
_BLOCK = 8

_PAGES = "mean over whole pages; pages without text are left out"

F_MEASURE = Metric(
    "f_measure",
    "F-measure",
    unit="%",
    higher_is_better=True,
    protocol=f"harmonic mean of precision and recall of text pixels; {_PAGES}",
    digits=2,
)
PRECISION = Metric(
    "precision",
    "Precision",
    unit="%",
    higher_is_better=True,
    protocol=f"share of the predicted text pixels that are text; 0 if none is predicted; {_PAGES}",
    digits=2,
)
RECALL = Metric(
    "recall",
    "Recall",
    unit="%",
    higher_is_better=True,
    protocol=f"share of the text pixels that are predicted; {_PAGES}",
    digits=2,
)
PSNR_BINARY = Metric(
    "psnr_binary",
    "PSNR (binary)",
    unit="dB",
    higher_is_better=True,
    protocol="10 log10 of pixels per wrong pixel, peak 1; mean over whole pages",
    digits=2,
)
DRD = Metric(
    "drd",
    "DRD",
    higher_is_better=False,
    protocol="5x5 reciprocal distances; neighbors outside the page count nothing; divided by the "
    "complete 8x8 blocks of the ground truth with both colors; mean over whole pages; pages "
    "without such a block are left out",
    digits=2,
)
EMPTY_PAGES = Metric(
    "empty_pages",
    "Empty pages",
    protocol="pages that the means leave out because their ground truth has no text; the aggregate "
    "is their number",
    digits=0,
)


def check_pages(prediction: Mask, target: Mask) -> None:
    """Refuse what is not a pair of masks of one page.

    Args:
        prediction: (H, W) bool, True where text was found.
        target: like `prediction`, True where text is.

    Raises:
        TypeError: if one of them is not boolean.
        ValueError: if they are not two-dimensional, differ in shape or hold no pixel.
    """
    for name, mask in (("prediction", prediction), ("target", target)):
        if mask.dtype != np.bool_:
            raise TypeError(
                f"expected a boolean {name}, True where text is, got {mask.dtype}; for dark text "
                "on a light 8-bit page pass `page < 128`"
            )
        if mask.ndim != 2 or mask.size == 0:
            raise ValueError(
                f"expected a {name} of shape (H, W) with at least one pixel, got {mask.shape}; "
                "measure pages one by one, without channels"
            )
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction {prediction.shape} and target {target.shape} differ in shape; cut padding "
            "off the prediction before it is measured"
        )


def precision(prediction: Mask, target: Mask) -> float:
    """Return the share of predicted text pixels that are text, in percent.

    Args:
        prediction: (H, W) bool, True where text was found.
        target: like `prediction`, True where text is.

    Returns:
        0 to 100; 0 if nothing is predicted; NaN if the target has no text.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ.
    """
    check_pages(prediction, target)
    if not target.any():
        return math.nan
    found = count(prediction)
    return 100 * count(prediction & target) / found if found else 0.0


def recall(prediction: Mask, target: Mask) -> float:
    """Return the share of text pixels that are predicted, in percent.

    Args:
        prediction: (H, W) bool, True where text was found.
        target: like `prediction`, True where text is.

    Returns:
        0 to 100; NaN if the target has no text.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ.
    """
    check_pages(prediction, target)
    text = count(target)
    return 100 * count(prediction & target) / text if text else math.nan


def f_measure(prediction: Mask, target: Mask) -> float:
    """Return the harmonic mean of precision and recall, in percent.

    Args:
        prediction: (H, W) bool, True where text was found.
        target: like `prediction`, True where text is.

    Returns:
        0 to 100; 0 if no text is found; NaN if the target has no text.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ.
    """
    return harmonic_mean(precision(prediction, target), recall(prediction, target))


def count(mask: Mask) -> int:
    """Return the number of pixels that are True."""
    return int(np.count_nonzero(mask))


def harmonic_mean(a: float, b: float) -> float:
    """Return 2ab / (a + b), the F-measure of two shares; 0 if both are 0."""
    return 2 * a * b / (a + b) if a + b != 0 else 0.0


def psnr_binary(prediction: Mask, target: Mask) -> float:
    """Return 10 log10(pixels / wrong pixels) in dB, the PSNR of a page of zeros and ones.

    Defined for pages without text too. Without a wrong pixel it is infinite, which score files
    refuse.

    Args:
        prediction: (H, W) bool, True where text was found.
        target: like `prediction`, True where text is.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ.
    """
    check_pages(prediction, target)
    wrong = count(prediction != target)
    return 10 * math.log10(target.size / wrong) if wrong else math.inf


def drd(prediction: Mask, target: Mask) -> float:
    """Return the distance-reciprocal distortion: what wrong pixels disturb, per block with text.

    A wrong pixel costs the weights of those neighbors in its 5x5 window whose true color differs
    from the predicted one. The weights are 1 / distance, 0 in the center, with sum 1; neighbors
    outside the page cost nothing. The sum is divided by the number of 8x8 blocks of the target
    that have both colors, counted from the top left, incomplete blocks left out.

    Args:
        prediction: (H, W) bool, True where text was found.
        target: like `prediction`, True where text is.

    Returns:
        0 for a perfect page, larger is worse; NaN if no block of the target has both colors.

    Raises:
        TypeError: if a mask is not boolean.
        ValueError: if shapes are wrong or differ.
    """
    check_pages(prediction, target)
    blocks = _blocks_of_both_colors(target)
    if blocks == 0:
        return math.nan
    rows, columns = np.nonzero(prediction != target)
    truth = np.pad(target.view(np.uint8), _REACH, constant_values=2)  # 2: outside the page
    here = truth[rows + _REACH, columns + _REACH]
    distortion = 0.0
    for (row, column), weight in np.ndenumerate(_reciprocal_distances()):
        # The predicted color is wrong, so what differs from it equals the true color of the center.
        differs = truth[rows + row, columns + column] == here
        distortion += float(weight) * count(differs)
    return distortion / blocks


def _reciprocal_distances() -> NDArray[np.float64]:
    """Return the 5x5 weights of DRD: 1 / distance from the center, which has 0; their sum is 1."""
    offsets = np.arange(-_REACH, _REACH + 1)
    distance = np.hypot(offsets[:, None], offsets[None, :])
    distance[_REACH, _REACH] = math.inf
    weights: NDArray[np.float64] = 1 / distance / np.sum(1 / distance)
    return weights


def _blocks_of_both_colors(target: Mask) -> int:
    height, width = (side // _BLOCK for side in target.shape)
    blocks = target[: height * _BLOCK, : width * _BLOCK].reshape(height, _BLOCK, width, _BLOCK)
    text = np.count_nonzero(blocks, axis=(1, 3))
    return count((text > 0) & (text < _BLOCK**2))


def empty_pages(items: Mapping[str, float]) -> Value:
    """Return how many pages have no value, being without text; one item of 0 or 1 for each page.

    Args:
        items: page -> value of a measure that is NaN where there is no text, e.g. F-measure.
    """
    empty = {name: float(math.isnan(value)) for name, value in items.items()}
    return Value(EMPTY_PAGES, sum(empty.values()), empty)
