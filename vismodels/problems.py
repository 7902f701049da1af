"""Score records of several problems side by side: each says which one it is of."""

from collections.abc import Iterable
from dataclasses import replace

from vismodels.results import Score


def of_problem(problem: str, scores: Iterable[Score]) -> list[Score]:
    """Return records whose condition names the problem, so that tables tell them apart."""
    return [replace(s, condition={**s.condition, "problem": problem}) for s in scores]
