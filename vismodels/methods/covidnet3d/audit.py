"""The published tables against the sizes of their test splits: which numbers can be.

A sensitivity in percent with two decimals names the number of hits if the number of positives is
known; with the precision follows the number of false alarms, and with two classes the accuracy. He
et al. (2021), arXiv 2101.05442, tables as reprinted by EMARS (arXiv 2101.10667).
"""

from collections.abc import Sequence

from vismodels.methods.covidnet3d.config import AuditConfig, PublishedRow, PublishedTest
from vismodels.metrics.published import (
    CONTRADICTIONS,
    FALSE_ALARMS,
    FITTING_POSITIVES,
    HITS,
    IMPLIED_ACCURACY,
    IMPLIED_F1,
    MAJORITY_ACCURACY,
    PUBLISHED_ACCURACY,
    PUBLISHED_F1,
)
from vismodels.results import Gate, Score, Value

STAGE = "covidnet3d_audit"
ROUNDING = 0.005 + 1e-9  # percent, of two decimals
COUNTED = "counted in the published split lists, not printed by the paper; nothing was trained"
MOST_FALSE = 2000  # false alarms that are tried


def audit(config: AuditConfig) -> list[Score]:
    """Return what follows from each published row, with gates for what contradicts itself."""
    return [_row(row, config.tests[row.data], config.rows) for row in config.rows]


def hits(sensitivity: float, positives: int) -> list[int]:
    """Return the numbers of hits among `positives` whose percentage rounds to `sensitivity`."""
    return [
        count
        for count in range(positives + 1)
        if abs(100 * count / positives - sensitivity) <= ROUNDING
    ]


def false_alarms(precision: float, true: int) -> list[int]:
    """Return the numbers of false alarms beside `true` hits that round to `precision`."""
    return [
        count
        for count in range(MOST_FALSE)
        if true + count and abs(100 * true / (true + count) - precision) <= ROUNDING
    ]


def fitting_positives(sensitivity: float, candidates: Sequence[int]) -> list[int]:
    """Return the sizes among `candidates` of which the sensitivity can be a share."""
    return [positives for positives in candidates if hits(sensitivity, positives)]


def copies(row: PublishedRow, rows: Sequence[PublishedRow]) -> list[str]:
    """Return the other models with the same scores on the same data, but another accuracy."""

    def scores(of: PublishedRow) -> tuple[str, float, float, float]:
        return of.data, of.precision, of.sensitivity, of.f1

    return [
        other.model
        for other in rows
        if scores(other) == scores(row) and other.accuracy != row.accuracy
    ]


def _row(row: PublishedRow, test: PublishedTest, rows: Sequence[PublishedRow]) -> Score:
    total = test.positives + test.others
    harmonic = 2 * row.precision * row.sensitivity / (row.precision + row.sensitivity)
    values = [
        Value(PUBLISHED_ACCURACY, row.accuracy),
        Value(PUBLISHED_F1, row.f1),
        Value(IMPLIED_F1, harmonic),
        Value(MAJORITY_ACCURACY, 100 * test.largest_class / total),
    ]
    fitting = fitting_positives(row.sensitivity, (test.positives, *test.denominators))
    if fitting:
        values.append(Value(FITTING_POSITIVES, fitting[0]))
    gates = [
        Gate("F1 is that of precision and sensitivity", abs(row.f1 - harmonic), 0.02, False),
        Gate("sensitivity is a share of the test's positives", float(test.positives in fitting), 1),
        Gate("other rows with these scores", float(len(copies(row, rows))), 0.0, at_least=False),
    ]
    found = hits(row.sensitivity, test.positives)
    false = false_alarms(row.precision, found[0]) if len(found) == 1 else []
    if found:
        values.append(Value(HITS, found[0]))
    if len(false) == 1:
        values.append(Value(FALSE_ALARMS, false[0]))
        if test.classes == 2:
            implied = 100 * (found[0] + test.others - false[0]) / total
            values.append(Value(IMPLIED_ACCURACY, implied))
            gates.append(
                Gate(
                    "accuracy is that of hits and false alarms",
                    abs(row.accuracy - implied),
                    0.01,
                    at_least=False,
                )
            )
    values.append(Value(CONTRADICTIONS, sum(not gate.passed for gate in gates)))
    return Score(
        stage=STAGE,
        variant=f"{row.data}_{row.model}",
        values=values,
        gates=gates,
        dataset={"card": row.data, "split": "test, as published", "items": total},
        note=COUNTED if row.counted else "computed from the published numbers; nothing was trained",
    )
