"""Bounds fixed beforehand: what a variant must reach on a set, checked where it is scored."""

from collections.abc import Sequence
from dataclasses import replace

from vismodels.config import Config
from vismodels.results import Gate, Score


class Bound(Config):
    """A value to reach: at least, or at most, on every seed."""

    set: str | None = None  # None: of a record without data, as of costs
    variant: str
    metric: str
    value: float
    at_least: bool = True


def with_bounds(bounds: Sequence[Bound], scores: Sequence[Score]) -> list[Score]:
    """Return the scores, each with the gates that are for it.

    Args:
        bounds: those of a set, variant or metric that was not scored do nothing.
        scores: records; the set is their `dataset["card"]`, None where they have none.
    """
    checked = []
    for record in scores:
        values = {value.metric.name: value.value for value in record.values}
        gates = [
            Gate(_named(bound), value, bound.value, bound.at_least)
            for bound in bounds
            if (bound.set, bound.variant) == (record.dataset.get("card"), record.variant)
            and (value := values.get(bound.metric)) is not None
        ]
        checked.append(replace(record, gates=[*record.gates, *gates]) if gates else record)
    return checked


def _named(bound: Bound) -> str:
    return bound.metric if bound.set is None else f"{bound.metric} on {bound.set}"
