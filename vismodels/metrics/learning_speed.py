"""How fast a network learns: the area under its Dice against iterations.

The companion paper (Piraud et al. 2018, arXiv 1804.01910) reports faster learning in words; this
number for it is our own.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from vismodels.results import Metric

LEARNING_SPEED = Metric(
    "learning_speed",
    "Learning speed",
    higher_is_better=True,
    protocol="area under the Dice of validation cases, mean of the regions, against iterations "
    "from 0, trapezoid rule, divided by the last iteration; comparable between equal points",
)


def learning_speed(iterations: Sequence[int], dice: Sequence[float]) -> float:
    """Return the area under a curve of Dice against iterations, divided by its length.

    It is the Dice averaged over training: of two runs that end at one Dice, the one that came
    there earlier has more. Curves are comparable if they were measured at the same iterations.

    Args:
        iterations: (N,) at which Dice was measured, increasing from 0, the untrained network.
        dice: (N,) in [0, 1].

    Returns:
        0 to 1.

    Raises:
        ValueError: for fewer than two points, iterations that do not increase from 0, or a Dice
            outside [0, 1] or NaN.
    """
    if len(iterations) != len(dice) or len(iterations) < 2:
        raise ValueError(
            f"expected a Dice for each of two or more iterations, got {len(iterations)} iterations "
            f"and {len(dice)} values"
        )
    if iterations[0] != 0 or any(after <= before for before, after in pairwise(iterations)):
        raise ValueError(
            f"expected iterations that increase from 0, got {list(iterations)}; measure the "
            "untrained network too"
        )
    for iteration, value in zip(iterations, dice, strict=True):
        if math.isnan(value) or not 0 <= value <= 1:
            raise ValueError(
                f"expected Dice in [0, 1], got {value} at iteration {iteration}; leave cases "
                "without a value out of the mean"
            )
    return float(np.trapezoid(dice, iterations)) / iterations[-1]
