"""What can be had without looking: the rows any table of a classifier has to beat.

A test set may be solved by its largest class, by how many slices a scan has, by a histogram of its
densities, or by how thick a shape is. Each shortcut is fitted on the training split only.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vismodels.data.medmnist import LabelledVolumes
from vismodels.data.scans import Scan
from vismodels.data.shapes import shape_features

Features = NDArray[np.float64]
Labels = NDArray[np.int64]
HU_EDGES = np.linspace(-1000, 200, 17)  # 16 bins
STRENGTH = 1.0  # inverse regularization of the logistic regressions, on scaled features


def majority(labels: Labels, count: int, classes: int) -> Features:
    """Return logits, (count, classes), that name the largest class of `labels` every time."""
    frequencies = np.bincount(labels, minlength=classes)
    logits: Features = np.tile(frequencies / frequencies.sum(), (count, 1))
    return logits


def regression(training: Features, labels: Labels, test: Features, classes: int) -> Features:
    """Return the logits, (N, classes), of a logistic regression on scaled features.

    Args:
        training: (M, F).
        labels: (M,).
        test: (N, F).
        classes: how many there are; one that training has none of is never chosen.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=5000))
    model.fit(training, labels)
    probabilities = np.full((len(test), classes), 1e-12)
    probabilities[:, model.classes_] = model.predict_proba(test)
    logits: Features = np.log(probabilities.clip(1e-12))
    return logits


def slice_counts(scans: Sequence[Scan]) -> Features:
    """Return (N, 1), the number of slices before resampling."""
    return np.array([[scan.slices] for scan in scans], float)


def density_histogram(scans: Sequence[Scan]) -> Features:
    """Return (N, 16), shares of the lung in bins of Hounsfield units.

    Raises:
        ValueError: if a lung is not known.
    """
    return np.stack([_histogram(scan.voxels[_lung(scan)]) for scan in scans])


def placed_histogram(scans: Sequence[Scan]) -> Features:
    """Return (N, 112): the histogram of the lung and of its six halves, along each axis.

    Raises:
        ValueError: if a lung is not known.
    """
    rows = []
    for scan in scans:
        lung = _lung(scan)
        parts = [_histogram(scan.voxels[lung])]
        places = np.nonzero(lung)
        for axis, where in enumerate(places):
            middle = (where.min() + where.max()) / 2
            index = np.arange(lung.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
            parts += [
                _histogram(scan.voxels[lung & side]) for side in (index < middle, index >= middle)
            ]
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def shape_table(found: LabelledVolumes) -> tuple[list[str], Features]:
    """Return the names of the hand-made features of binary shapes, and (N, 25) values."""
    rows = [shape_features(image > 0) for image in found.images]
    return list(rows[0]), np.array([list(row.values()) for row in rows])


SCAN_SHORTCUTS: Mapping[str, Callable[[Sequence[Scan]], Features]] = {
    "slice_count": slice_counts,
    "density_histogram": density_histogram,
    "placed_histogram": placed_histogram,
}


def _lung(scan: Scan) -> NDArray[np.bool_]:
    if scan.lung is None or not scan.lung.any():
        raise ValueError(f"scan {scan.name!r} has no mask of the lungs, which the histogram is of")
    return scan.lung


def _histogram(values: NDArray[np.int16]) -> Features:
    counts, _ = np.histogram(values, HU_EDGES)
    return np.asarray(counts / max(len(values), 1), float)
