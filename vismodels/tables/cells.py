"""The cells of one column of a layout in one row: ours, the paper's and the difference."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from vismodels.config import ConfigError, suggestion
from vismodels.results import Metric, Value
from vismodels.tables.layout import LayoutColumn, LayoutRow, PaperValues
from vismodels.tables.table import DASH, Bounds, Cell, Footnote, decimals_of_spread, number

DAGGERS, LETTERS = "†‡§¶", "abcdefghijklmnopqrstuvwxyz"


class Notes:
    """Footnotes in the order of their first use; equal texts share a mark."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[str, str]] = {}  # text -> family of symbols, mark

    def mark(self, text: str, symbols: str) -> str:
        """Return the mark of a footnote: the next of `symbols`, doubled when they are used up."""
        if text not in self._marks:
            used = sum(family == symbols for family, _ in self._marks.values())
            mark = symbols[used % len(symbols)] * (used // len(symbols) + 1)
            self._marks[text] = symbols, mark
        return self._marks[text][1]

    def footnotes(self) -> tuple[Footnote, ...]:
        """Return the footnotes used so far."""
        return tuple(Footnote(mark, text) for text, (_, mark) in self._marks.items())


def our_cell(
    found: Mapping[int | None, Value | str],
    column: LayoutColumn,
    metric: Metric,
    ran: bool,
    interval: Callable[[Sequence[float]], Bounds | None],
    notes: Notes,
) -> Cell:
    """Return what we measured.

    Args:
        found: seed -> value, as `find_values` returns it.
        column: says how to print it.
        metric: of the column.
        ran: whether the row's variant was run at all.
        interval: from one value per seed to its interval, or None.
        notes: gets the footnotes.
    """
    if not found:
        # A variant that ran, but has no such stage or no such count: nothing is missing.
        applies = not (ran and (column.count or column.stage))
        return Cell("not run", kind="missing") if applies else Cell(DASH, kind="none")
    texts = dict.fromkeys(value for value in found.values() if isinstance(value, str))
    if texts:
        return Cell(", ".join(texts))

    values = [
        value.value * column.scale
        for value in found.values()
        if isinstance(value, Value) and value.value is not None
    ]
    marks: list[str] = []
    if len(values) < len(found):
        which = "" if len(found) == 1 else f" in {len(found) - len(values)} of {len(found)} runs"
        marks.append(notes.mark(f"not defined on this data{which}", LETTERS))
    if not values:
        return Cell("undefined", kind="missing", marks=tuple(marks))
    digits = metric.digits if column.digits is None else column.digits
    value = _AGGREGATES[column.aggregate](values)
    cell = Cell(number(value, digits), value=value, marks=tuple(marks))
    if None in found or (column.count is not None and min(values) == max(values)):
        return cell
    cell = replace(cell, n=len(values))
    if column.count is None and len(values) == 1:
        mark = notes.mark("single run: no interval, no verdict", "*")
        return replace(cell, marks=(mark, *marks))
    if len(values) == 2:
        mark = notes.mark("two runs: both values, no interval", LETTERS)
        text = "; ".join(number(value, digits) for value in values)
        return replace(cell, text=text, marks=(mark, *marks))
    bounds = interval(values) if column.aggregate == "mean" else None
    if bounds is None:
        return cell
    half = (bounds.high - bounds.low) / 2
    digits = decimals_of_spread(half, digits)
    return replace(
        cell, text=number(value, digits), spread=f"± {number(half, digits)}", interval=bounds
    )


def _mean(values: Sequence[float]) -> float:
    return values[0] if min(values) == max(values) else math.fsum(values) / len(values)


_AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "mean": _mean,
    "median": statistics.median,
    "min": min,
    "max": max,
}


def paper_cells(
    row: LayoutRow,
    column: LayoutColumn,
    metric: Metric,
    ours: Cell,
    papers: Mapping[str, PaperValues],
    notes: Notes,
) -> tuple[Cell, Cell]:
    """Return the paper's value and our difference to it."""
    nothing = Cell(DASH, kind="none")
    if column.paper is None or row.paper is None:
        return nothing, nothing
    place = column.paper
    if place.paper not in papers:
        hint = suggestion(place.paper, papers)
        raise ConfigError(f"no values of the paper {place.paper!r} were given{hint}")
    theirs = papers[place.paper].find(place.table, row.paper, place.column)
    if theirs.value is None:
        reason = notes.mark(f"not available: {theirs.reason}", LETTERS)
        return Cell("n/a", kind="missing", marks=(reason,)), nothing

    ours_is = {
        "data set": (column.dataset.card, column.dataset.split) if column.dataset else (None, None),
        "protocol": metric.protocol,
        "unit": metric.unit if column.unit is None else column.unit,
    }
    theirs_is = {
        "data set": (theirs.card, theirs.split),
        "protocol": theirs.protocol,
        "unit": theirs.unit,
    }
    differs = [what for what, value in ours_is.items() if theirs_is[what] != value]
    facts = [
        f"{papers[place.paper].reference}, {theirs.table}: {theirs.dataset or 'no data set'}",
        theirs.unit and f"in {theirs.unit}" if "unit" in differs else "",
        f"budget: {theirs.budget or 'not stated'}",
        f"{theirs.seeds} seeds" if theirs.seeds else "",
        f"another {' and '.join(differs)} than ours, so no difference is given" if differs else "",
    ]
    mark = notes.mark("; ".join(fact for fact in facts if fact), DAGGERS)
    digits = max(
        _decimals_of(value.value)
        for value in papers[place.paper].values
        if (value.table, value.column) == (place.table, place.column) and value.value is not None
    )
    paper = Cell(
        number(theirs.value, digits),
        value=theirs.value,
        spread="" if theirs.plus_minus is None else f"± {_as_written(theirs.plus_minus)}",
        kind="paper",
        marks=(mark,),
    )
    if differs or ours.value is None:
        return paper, nothing
    digits = len(ours.text.partition(";")[0].partition(".")[2])
    difference = ours.value - theirs.value
    return paper, Cell(number(difference, digits, signed=True), value=difference)


def _decimals_of(value: float) -> int:
    """Return the decimals that a published number was written with, but for closing zeros."""
    return len(_as_written(value).partition(".")[2])


def _as_written(value: float) -> str:
    return f"{value:.15f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.15g}"
