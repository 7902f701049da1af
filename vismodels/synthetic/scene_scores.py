"""What the records of the scene model and of its judge share: their card, their gate."""

from collections.abc import Sequence

from vismodels.metrics.bounds import Bound, with_bounds
from vismodels.metrics.scenes import LOWEST_ACCURACY
from vismodels.results import Score

CARD = "scenes"


def with_gate(bound: float | None, scores: Sequence[Score]) -> list[Score]:
    """Return the scores, those with accuracies with a gate on the lowest one, if there is a bound.

    Args:
        bound: in percent; None for no gate.
        scores: on scenes.
    """
    if bound is None:
        return list(scores)
    bounds = [
        Bound(set=CARD, variant=variant, metric=LOWEST_ACCURACY.name, value=bound)
        for variant in {score.variant for score in scores}
    ]
    return with_bounds(bounds, scores)
