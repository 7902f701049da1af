"""How far apart two sets of generated images are, in a space of features."""

import numpy as np
import numpy.typing as npt

from vismodels.results import Metric

FRECHET_DISTANCE = Metric(
    "frechet_distance",
    "Frechet distance",
    higher_is_better=False,
    protocol="between Gaussians fitted to the judge's pooled features of both sets of images; "
    "squared, as is usual",
    digits=2,
)
FRECHET_FLOOR = Metric(
    "frechet_floor",
    "Frechet distance, other noise",
    protocol="between two sets of images of the unchanged model, same prompts and other noise",
    digits=2,
)
IMAGE_MSE = Metric(
    "image_mse",
    "MSE to the same noise",
    higher_is_better=False,
    protocol="mean squared difference to the unchanged model's images of the same prompts and "
    "noise, values in [-1, 1]",
    digits=4,
)


def frechet_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the squared Frechet distance of the Gaussians fitted to two sets of features.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with unbiased covariances; Dowson and Landau
    (1982). Fewer samples than features are allowed: roots are of eigenvalues, which are cut at 0.
    It is biased upwards, the more the fewer samples there are: compare sets of one size.

    Args:
        first: (N, F).
        second: (M, F).

    Raises:
        ValueError: for other shapes, or fewer than two samples.
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (first, second))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            "expected two sets of at least two samples of the same features, (N, F) and (M, F), "
            f"got {a.shape} and {b.shape}"
        )
    covariances = [np.atleast_2d(np.cov(each, rowvar=False)) for each in (a, b)]
    root = _square_root(covariances[0])
    # The eigenvalues of C1 C2 are those of this symmetric matrix, which are real for sure.
    eigenvalues = np.linalg.eigvalsh(root @ covariances[1] @ root)
    shift = a.mean(0) - b.mean(0)
    traces = sum(float(np.trace(each)) for each in covariances)
    distance = float(shift @ shift + traces - 2 * np.sqrt(eigenvalues.clip(min=0)).sum())
    return max(0.0, distance)  # rounding can take it below


def _square_root(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    root: npt.NDArray[np.float64] = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root
