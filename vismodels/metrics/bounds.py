"""Bounds fixed beforehand: what a variant must reach on a set, checked where it is scored."""

import math
from collections.abc import Sequence
from dataclasses import replace

from vismodels.config import Config
from vismodels.results import Gate, Score


class Bound(Config):
    """A value to reach: at least, or at most, on every seed or on average."""

    set: str | None = None  # None: of a record without data, as of costs
    variant: str
    metric: str
    value: float
    at_least: bool = True
    mean: bool = False  # over the seeds; the gate then belongs to the first record


def with_bounds(bounds: Sequence[Bound], scores: Sequence[Score]) -> list[Score]:
    """Return the scores, each with the gates that are for it.

    Args:
        bounds: those of a set, variant or metric that was not scored do nothing.
        scores: records; the set is their `dataset["card"]`, None where they have none.
    """
    gates: dict[int, list[Gate]] = {}
    for bound in bounds:
        found = {
            place: value
            for place, record in enumerate(scores)
            if (bound.set, bound.variant) == (record.dataset.get("card"), record.variant)
            and (value := _value(record, bound.metric)) is not None
        }
        name = f"{bound.metric} on {bound.set}" if bound.set else bound.metric
        if bound.mean and found:
            name = f"{name}, mean over {len(found)} seeds"
            found = {min(found): math.fsum(found.values()) / len(found)}
        for place, value in found.items():
            gates.setdefault(place, []).append(Gate(name, value, bound.value, bound.at_least))
    return [
        replace(record, gates=[*record.gates, *gates[place]]) if place in gates else record
        for place, record in enumerate(scores)
    ]


def _value(record: Score, metric: str) -> float | None:
    return next((each.value for each in record.values if each.metric.name == metric), None)
