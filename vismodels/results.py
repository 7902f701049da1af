"""Score records: what every computing stage writes, with the value of every item kept.

A stage writes one `scores.json`: its metrics (unit, direction, protocol) once, and a list of
records. A record says what was scored (stage, variant, seed, condition) and on what (data set and
split), and holds gates (checks with a bound fixed beforehand). Torch-free.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from vismodels.files import FileError, json_text, read_json, write_text

SCORES = "scores.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Metric:
    """A quantity that can be scored.

    Args:
        name: identifier, lower case with underscores (`psnr_y`).
        title: name in tables (`PSNR-Y`).
        unit: `dB`, `%`, `CPU s`, or empty.
        higher_is_better: direction; None for a quantity without one.
        protocol: how it is computed: rounding, borders, thresholds, averaging.
        digits: decimals in tables.
    """

    name: str
    title: str
    unit: str = ""
    higher_is_better: bool | None = None
    protocol: str = ""
    digits: int = 3


@dataclass(frozen=True)
class Value:
    """A measured value of one metric.

    Args:
        metric: what was measured.
        value: the aggregate (the mean of `items`, unless the metric's protocol says otherwise);
            None where it is not defined (no item could be scored).
        items: item name -> value; empty for quantities of the whole model.
    """

    metric: Metric
    value: float | None
    items: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Gate:
    """A check with a bound fixed beforehand: recorded whether it held, never hidden."""

    name: str
    value: float
    bound: float
    at_least: bool = True

    @property
    def passed(self) -> bool:
        """Whether the value respects the bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True)
class Score:
    """One scored thing: a variant of a stage, with its seed, on one data set.

    Args:
        stage: name of the stage (`super_resolution_score`).
        variant: what was scored (`residual`, `bicubic`).
        values: the measured values, one for a metric; kept in the order of the metrics' names.
        seed: seed of the run, None for deterministic variants.
        dataset: `{"card": ..., "split": ..., "items": n}`; empty where no data is involved.
        gates: checks with bounds.
        budget: what it cost by exact counts (`iterations`, `images`, `parameters`, `macs`).
        condition: the point of a curve or grid that the record belongs to (`{"strength": 0.5}`).
        note: one sentence for the reader.

    Raises:
        ValueError: for two values of one metric.
    """

    stage: str
    variant: str
    values: Sequence[Value]
    seed: int | None = None
    dataset: Mapping[str, Any] = field(default_factory=dict)
    gates: Sequence[Gate] = ()
    budget: Mapping[str, float | int | str] = field(default_factory=dict)
    condition: Mapping[str, str | int | float] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        values = sorted(self.values, key=lambda value: value.metric.name)
        for value, following in pairwise(values):
            if value.metric.name == following.metric.name:
                raise ValueError(
                    f"{self.stage}/{self.variant} has two values of the metric "
                    f"{value.metric.name!r}; give the metrics names of their own"
                )
        object.__setattr__(self, "values", values)  # as in a file: equal records compare equal
        object.__setattr__(self, "gates", list(self.gates))

    def value(self, metric: str) -> Value:
        """Return the value of the metric with this name.

        Raises:
            KeyError: if the record has none, with the names it has.
        """
        for value in self.values:
            if value.metric.name == metric:
                return value
        names = ", ".join(v.metric.name for v in self.values)
        raise KeyError(f"{self.stage}/{self.variant} has no metric {metric!r}; it has: {names}")


def mean_value(metric: Metric, items: Mapping[str, float]) -> Value:
    """Return the mean of the per-item values; NaN items are left out of the mean and of `items`.

    Values are summed exactly (`math.fsum`), so the order of the items does not matter.
    """
    kept = {name: float(value) for name, value in items.items() if not math.isnan(value)}
    mean = math.fsum(kept.values()) / len(kept) if kept else None
    return Value(metric, mean, kept)


def write_scores(path: Path | str, scores: Iterable[Score]) -> None:
    """Write score records to `path` (a `scores.json`), whole or not at all.

    Raises:
        ValueError: for an infinite value or NaN (record None or leave the item out instead), and
            for two different metrics of one name.
    """
    scores = list(scores)
    metrics: dict[str, Metric] = {}
    for metric in (value.metric for score in scores for value in score.values):
        known = metrics.setdefault(metric.name, metric)
        if known != metric:
            raise ValueError(
                f"{path}: two different metrics have the name {metric.name!r}: {known} and "
                f"{metric}; give each a name of its own"
            )
    content = {
        "schema": SCHEMA_VERSION,
        "metrics": {name: _without_name(metric) for name, metric in metrics.items()},
        "scores": [_to_record(score) for score in scores],
    }
    try:
        text = json_text(content)
    except ValueError as error:
        raise ValueError(
            f"{path}: a score is infinite or NaN ({error}); record None or leave the item out "
            "(PSNR is infinite where a target was scored against itself)"
        ) from error
    write_text(path, text)


def read_scores(path: Path | str) -> list[Score]:
    """Return the records of a `scores.json`.

    Raises:
        FileError: if the file is missing, damaged or of another schema version.
    """
    content = read_json(path)
    if not isinstance(content, Mapping) or content.get("schema") != SCHEMA_VERSION:
        raise FileError(f"{path}: not a score file of schema {SCHEMA_VERSION}; run the stage again")
    try:
        metrics = {name: Metric(name, **about) for name, about in content["metrics"].items()}
        return [_from_record(record, metrics) for record in content["scores"]]
    except (AttributeError, LookupError, TypeError) as error:
        raise FileError(f"{path}: damaged score record ({error}); run the stage again") from error


def _without_name(metric: Metric) -> dict[str, Any]:
    return {key: value for key, value in asdict(metric).items() if key != "name"}


def _to_record(score: Score) -> dict[str, Any]:
    values = {v.metric.name: {"value": v.value, "items": v.items} for v in score.values}
    gates = [{**asdict(gate), "passed": gate.passed} for gate in score.gates]
    return {**vars(score), "values": values, "gates": gates}


def _from_record(record: Mapping[str, Any], metrics: Mapping[str, Metric]) -> Score:
    values = []
    for name, entry in record["values"].items():
        if name not in metrics:
            raise LookupError(f"the metric {name!r} is not described")
        values.append(Value(metrics[name], entry["value"], entry["items"]))
    gates = [
        Gate(**{name: value for name, value in gate.items() if name != "passed"})
        for gate in record["gates"]
    ]
    return Score(**{**record, "values": values, "gates": gates})
