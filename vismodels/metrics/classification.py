"""Scores of a classifier of scans: all classes together, and one positive class against the rest.

Protocol of CovidNet3D (He et al., AAAI 2021, arXiv 2101.05442): accuracy counts every class;
precision, sensitivity, specificity, F1 and AUC take the positive class against all others. Every
score is of all items at once: a mean over batches weighs the items of a smaller last batch more,
which is how that paper's accuracies came to miss their own counts.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.results import Metric, Value

Logits = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

_PREDICTED = "predicted is the class of the largest logit; all items at once"

ACCURACY = Metric(
    "accuracy",
    "Accuracy",
    unit="%",
    higher_is_better=True,
    protocol=f"items whose class is predicted, all classes; {_PREDICTED}",
    digits=2,
)
BALANCED_ACCURACY = Metric(
    "balanced_accuracy",
    "Balanced accuracy",
    unit="%",
    higher_is_better=True,
    protocol=f"mean over the classes that occur of the share found; {_PREDICTED}; an item's value "
    "carries the weight of its class, so that their mean is the score",
    digits=2,
)
POSITIVE_PRECISION = Metric(
    "positive_precision",
    "Precision of positives",
    unit="%",
    higher_is_better=True,
    protocol="share of the predicted positives that are positive; none where none is predicted; "
    f"{_PREDICTED}; no items, as predictions choose them",
    digits=2,
)
SENSITIVITY = Metric(
    "sensitivity",
    "Sensitivity",
    unit="%",
    higher_is_better=True,
    protocol=f"share of the positives that are predicted positive; {_PREDICTED}",
    digits=2,
)
SPECIFICITY = Metric(
    "specificity",
    "Specificity",
    unit="%",
    higher_is_better=True,
    protocol=f"share of the others that are not predicted positive; {_PREDICTED}",
    digits=2,
)
F1 = Metric(
    "f1",
    "F1",
    unit="%",
    higher_is_better=True,
    protocol="2 TP / (2 TP + FP + FN) of the positive class; none where no item is positive; "
    f"{_PREDICTED}; no items, as it is no mean of them",
    digits=2,
)
AUC = Metric(
    "auc",
    "AUC",
    higher_is_better=True,
    protocol="area under the ROC curve of the positive class's logit, positives against all "
    "others; an item, of the positives only, is the share of the others with a smaller logit, half "
    "for an equal one; their mean is the score",
)
SIZE_MB = Metric(
    "size_mb",
    "Size",
    unit="MiB",
    higher_is_better=False,
    protocol="parameters x 4 bytes / 2^20, which the papers call MB; no buffers",
    digits=2,
)


def _ends(metric: Metric, digits: int) -> tuple[Metric, Metric]:
    """Return the metrics of both ends of a score's interval."""
    low, high = (
        Metric(
            f"{metric.name}_{end}",
            f"{metric.title}, {end}",
            unit=metric.unit,
            higher_is_better=True,
            protocol=f"{place} end of the 95 % percentile bootstrap interval over patients, all "
            "scans of each",
            digits=digits,
        )
        for end, place in (("low", "lower"), ("high", "upper"))
    )
    return low, high


ACCURACY_LOW, ACCURACY_HIGH = _ends(ACCURACY, 1)
BALANCED_ACCURACY_LOW, BALANCED_ACCURACY_HIGH = _ends(BALANCED_ACCURACY, 1)
POSITIVE_PRECISION_LOW, POSITIVE_PRECISION_HIGH = _ends(POSITIVE_PRECISION, 1)
SENSITIVITY_LOW, SENSITIVITY_HIGH = _ends(SENSITIVITY, 1)
F1_LOW, F1_HIGH = _ends(F1, 1)
AUC_LOW, AUC_HIGH = _ends(AUC, 3)
INTERVALS = {  # score -> both ends of its interval
    ACCURACY.name: (ACCURACY_LOW, ACCURACY_HIGH),
    BALANCED_ACCURACY.name: (BALANCED_ACCURACY_LOW, BALANCED_ACCURACY_HIGH),
    POSITIVE_PRECISION.name: (POSITIVE_PRECISION_LOW, POSITIVE_PRECISION_HIGH),
    SENSITIVITY.name: (SENSITIVITY_LOW, SENSITIVITY_HIGH),
    F1.name: (F1_LOW, F1_HIGH),
    AUC.name: (AUC_LOW, AUC_HIGH),
}


def classification_scores(logits: Logits, labels: Labels, positive: int) -> dict[str, float]:
    """Return the scores of a set by the names of their metrics.

    Made of counts, and fast: a bootstrap over patients asks for them thousands of times.

    Args:
        logits: (N, K), of all items of the set.
        labels: (N,) in [0, K).
        positive: the class of interest; all others are the rest.

    Returns:
        Percent, and AUC in [0, 1]. NaN for what is not defined: precision if nothing is predicted
        positive; sensitivity, F1 and AUC without positives; specificity and AUC without others.

    Raises:
        ValueError: if there are no items, shapes do not fit, a logit is not finite, or a class is
            unknown.
    """
    _check(logits, labels, positive)
    counts = _confusion(logits, labels)
    hits, occurring = counts.diagonal(), counts.sum(1) > 0
    true = counts[positive, positive]
    missed, false = counts[positive].sum() - true, counts[:, positive].sum() - true
    rest = counts.sum() - true - missed - false
    truth = labels == positive
    return {
        ACCURACY.name: _percent(hits.sum(), counts.sum()),
        BALANCED_ACCURACY.name: 100 * float(np.mean((hits / counts.sum(1).clip(1))[occurring])),
        POSITIVE_PRECISION.name: _percent(true, true + false),
        SENSITIVITY.name: _percent(true, true + missed),
        SPECIFICITY.name: _percent(rest, rest + false),
        F1.name: _percent(2 * true, 2 * true + false + missed) if truth.any() else math.nan,
        AUC.name: float(np.mean(_placements(logits[:, positive], truth)[truth]))
        if truth.any() and not truth.all()
        else math.nan,
    }


def classification_values(
    names: Sequence[str], logits: Logits, labels: Labels, positive: int
) -> list[Value]:
    """Return the scores of a set as values of a score record, with those of the items.

    Args:
        names: (N,) of the items.
        logits: (N, K).
        labels: (N,) in [0, K).
        positive: the class of interest.

    Returns:
        One value for each score of `classification_scores`; None where that is NaN.

    Raises:
        ValueError: as `classification_scores`, and if the names do not fit or are not unique.
    """
    scores = classification_scores(logits, labels, positive)
    if len(set(names)) != len(labels) or len(names) != len(labels):
        raise ValueError(
            f"expected {len(labels)} different names, got {len(names)}, {len(set(names))} of them "
            "different"
        )
    predicted = logits.argmax(1)
    hit, truth = predicted == labels, labels == positive
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weight = len(labels) / (len(counts) * counts[which])
    every, none = np.full(len(labels), True), np.full(len(labels), False)
    items = {  # metric -> value of every item, and which items it is the mean of
        ACCURACY: (100.0 * hit, every),
        BALANCED_ACCURACY: (100.0 * hit * weight, every),
        POSITIVE_PRECISION: (100.0 * hit, none),
        SENSITIVITY: (100.0 * hit, truth),
        SPECIFICITY: (100.0 * (predicted != positive), ~truth),
        F1: (100.0 * hit, none),
        AUC: (_placements(logits[:, positive], truth), none if truth.all() else truth),
    }
    return [
        Value(
            metric,
            None if math.isnan(scores[metric.name]) else scores[metric.name],
            {name: float(values[i]) for i, name in enumerate(names) if counted[i]},
        )
        for metric, (values, counted) in items.items()
    ]


def size_mb(parameters: int) -> float:
    """Return the size of so many 32-bit numbers in units of 2^20 bytes."""
    return parameters * 4 / 2**20


def _confusion(logits: Logits, labels: Labels) -> NDArray[np.int64]:
    """Return (K, K) counts: rows are true classes, columns predicted ones."""
    classes = logits.shape[1]
    pairs = np.bincount(labels.astype(np.int64) * classes + logits.argmax(1), minlength=classes**2)
    return pairs.reshape(classes, classes)


def _percent(part: np.int64, whole: np.int64) -> float:
    return 100 * float(part) / float(whole) if whole else math.nan


def _placements(logits: Logits, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for every item the share of the others with a smaller logit, ties half; 0 if none."""
    others = np.sort(logits[~truth])
    below = np.searchsorted(others, logits, "left") + np.searchsorted(others, logits, "right")
    placements: NDArray[np.float64] = below / (2 * max(1, len(others)))
    return placements


def _check(logits: Logits, labels: Labels, positive: int) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"expected logits (N, K) and labels (N,) of at least one item, got {logits.shape} and "
            f"{labels.shape}"
        )
    classes = logits.shape[1]
    if classes < 2 or not 0 <= positive < classes:
        raise ValueError(
            f"expected two or more classes and a positive one of them, got {classes} and "
            f"{positive}; give a single logit z as the two columns (0, z)"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    if not np.isfinite(logits).all():
        raise ValueError("a logit is NaN or infinite; look at the training log")
