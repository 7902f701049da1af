"""Ranges in configurations, and numbers drawn from them uniformly."""

from typing import Annotated, TypeVar

import numpy as np
from pydantic import AfterValidator

Number = TypeVar("Number", int, float)


def _ordered(value: tuple[Number, Number]) -> tuple[Number, Number]:
    low, high = value
    if not 0 <= low <= high:
        raise ValueError(f"expected [low, high] with 0 <= low <= high, got [{low}, {high}]")
    return value


def _at_most_one(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] > 1:
        raise ValueError(f"expected shares between 0 and 1, got [{value[0]}, {value[1]}]")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Shares = Annotated[tuple[float, float], AfterValidator(_ordered), AfterValidator(_at_most_one)]
Counts = Annotated[tuple[int, int], AfterValidator(_ordered)]


def draw(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """Return a number drawn uniformly between two limits."""
    return float(rng.uniform(*limits))


def draw_count(limits: tuple[int, int], rng: np.random.Generator) -> int:
    """Return a whole number drawn uniformly between two limits, both included."""
    return int(rng.integers(limits[0], limits[1], endpoint=True))
