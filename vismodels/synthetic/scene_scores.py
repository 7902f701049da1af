"""What the records of models of scenes and of their judge share: their card, their gate."""

from collections.abc import Sequence
from dataclasses import replace

from vismodels.metrics.scenes import LOWEST_ACCURACY
from vismodels.results import Gate, Score

CARD = "scenes"


def with_gate(bound: float | None, scores: Sequence[Score]) -> list[Score]:
    """Return the scores, those with accuracies with a gate on the lowest one, if there is a bound.

    The gate bears the name of the stage: what is claimed of one model does not hang on another.

    Args:
        bound: in percent; None for no gate.
        scores: on scenes.
    """
    if bound is None:
        return list(scores)
    return [replace(score, gates=[*score.gates, *_gates(bound, score)]) for score in scores]


def _gates(bound: float, score: Score) -> list[Gate]:
    name = f"{LOWEST_ACCURACY.name} of {score.stage}"
    lowest = [v.value for v in score.values if v.metric == LOWEST_ACCURACY and v.value is not None]
    return [Gate(name, value, bound, at_least=True) for value in lowest]
