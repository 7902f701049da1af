"""Whether a map names what the network uses: its probability as the hottest voxels go or come.

Deletion and insertion: Petsiuk, Das, Saenko, "RISE: randomized input sampling for explanation of
black-box models" (arXiv 1806.07421). No masks are needed, and a network that looks at
a shortcut is not blamed for it: that is what `localization.py` measures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.results import Metric

Volume = NDArray[np.floating[Any]]

_CURVE = (
    "area under the probability of the class over the share of voxels, hottest first, equal values "
    "in the order of the array; equal steps from 0 to all, trapezoid rule; mean over scans"
)

DELETION_AREA = Metric(
    "deletion_area",
    "Deletion",
    higher_is_better=False,
    protocol=f"voxels replaced by the baseline; {_CURVE}",
)
INSERTION_AREA = Metric(
    "insertion_area",
    "Insertion",
    higher_is_better=True,
    protocol=f"voxels put back into the baseline; {_CURVE}",
)


@dataclass(frozen=True)
class Curves:
    """Probabilities as voxels are replaced by a baseline, and as they are put back into it.

    Args:
        shares: (steps + 1,) of the voxels treated, from 0 to 1.
        deletion: (steps + 1,), from the probability of the volume to that of the baseline.
        insertion: (steps + 1,), from the probability of the baseline to that of the volume.
    """

    shares: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def areas(self) -> dict[str, float]:
        """Areas under both curves by the names of their metrics, in [0, 1]."""
        return {
            DELETION_AREA.name: float(np.trapezoid(self.deletion, self.shares)),
            INSERTION_AREA.name: float(np.trapezoid(self.insertion, self.shares)),
        }


def deletion_insertion(
    model_probability: Callable[[Volume], float],
    volume: Volume,
    cam: Volume,
    steps: int,
    baseline: Volume | float,
) -> Curves:
    """Return the probability of a class as the hottest voxels are deleted, and inserted.

    Args:
        model_probability: volume -> probability of the class; called 2 * steps times.
        volume: (D, H, W) or (H, W), as the network takes it.
        cam: like `volume`, any range.
        steps: number of equal portions of voxels.
        baseline: what stands for "nothing there": a number (air), or an array like `volume`, for
            instance `blurred(volume, sigma)`.

    Raises:
        ValueError: if map and volume differ in shape, the map is not finite, or there are fewer
            voxels than steps.
    """
    if cam.shape != volume.shape or not np.isfinite(cam).all():
        raise ValueError(
            f"expected a finite map of the volume's shape {volume.shape}, got {cam.shape}; "
            "upsample it first"
        )
    if not 1 <= steps <= volume.size:
        raise ValueError(f"expected 1 to {volume.size} steps, one voxel each at most, got {steps}")
    order = np.argsort(-cam, axis=None, kind="stable")
    counts = np.rint(np.linspace(0, volume.size, steps + 1)).astype(int)
    empty = np.broadcast_to(np.asarray(baseline, volume.dtype), volume.shape)

    def curve(start: Volume, end: Volume, ends: tuple[float, float]) -> NDArray[np.float64]:
        values = [ends[0]]
        mixed = start.copy()
        for low, high in pairwise(counts[:-1]):
            mixed.flat[order[low:high]] = end.flat[order[low:high]]
            values.append(model_probability(mixed.copy()))  # a callable may keep what it gets
        return np.array([*values, ends[1]], np.float64)

    whole, nothing = model_probability(volume.copy()), model_probability(empty.copy())
    return Curves(
        shares=counts / volume.size,
        deletion=curve(volume, empty, (whole, nothing)),
        insertion=curve(empty, volume, (nothing, whole)),
    )


def blurred(volume: Volume, sigma: float) -> Volume:
    """Return the volume without its detail, a baseline that lies near natural volumes.

    Args:
        volume: (D, H, W) or (H, W).
        sigma: of the Gaussian, in voxels, on every axis.
    """
    from scipy.ndimage import gaussian_filter

    smooth: Volume = gaussian_filter(volume, sigma, mode="nearest")
    return smooth
