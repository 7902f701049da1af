"""A fixed number of slices out of any stack, first and last included. Torch-free.

The published pattern takes every (n // T)-th slice around the middle, which drops apex and base of
the lungs wherever n / T is not near a whole number: of 40 slices, 32 are numbers 4 to 35.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def slice_positions(count: int, wanted: int) -> NDArray[np.int64]:
    """Return which slices of a stack to take, in order; some twice if there are too few.

    Args:
        count: slices that there are.
        wanted: slices to take, spread evenly from the first to the last one; a single one is the
            middle.

    Returns:
        (wanted,) in [0, count), ascending.

    Raises:
        ValueError: if a number is not positive.
    """
    if count < 1 or wanted < 1:
        raise ValueError(f"expected at least one slice, got {wanted} wanted of {count}")
    if wanted == 1:
        return np.array([(count - 1) // 2])
    return np.rint(np.linspace(0, count - 1, wanted)).astype(np.int64)


def resample_slices(volume: NDArray[Any], wanted: int) -> NDArray[Any]:
    """Return `volume` with `wanted` slices, by `slice_positions`; nothing is interpolated.

    Args:
        volume: (D, H, W).
        wanted: slices of the result.

    Raises:
        ValueError: if the volume has another number of axes, or a number is not positive.
    """
    if volume.ndim != 3:
        raise ValueError(f"expected a (D, H, W) volume, got {volume.shape}")
    return volume[slice_positions(len(volume), wanted)]
