"""From a layout and stored scores to a table.

Nothing is computed here but means and differences. The paper's value stands beside ours with its
data set and budget, and a difference only where both were measured on the same thing. Torch-free.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from vismodels.config import ConfigError
from vismodels.results import Metric, Score, Value
from vismodels.tables.cells import Notes, our_cell, paper_cells
from vismodels.tables.layout import DataSplit, Layout, LayoutColumn, LayoutRow, PaperValues
from vismodels.tables.lookup import (
    UnknownNameError,
    failed_gates,
    find_values,
    gate_text,
    matches,
    metric_of,
    unrecorded_gates,
)
from vismodels.tables.table import MINUS, Bounds, Cell, Column, Row, Table

LISTED_ROWS = 4  # that were not run, by name in the caption


def build_table(
    layout: Layout,
    scores: Iterable[Score],
    paper_values: Iterable[PaperValues],
    interval: Callable[[Sequence[float]], Bounds | None],
) -> Table:
    """Return the table that `layout` describes, filled from the records of all seeds.

    A cell holds the mean over seeds with its interval. One run of a seeded variant is marked as
    such, two are printed one by one; deterministic variants and equal counts stand alone. What was
    not run is called so; optional rows and columns without any score are left out, and the caption
    names them.

    Args:
        layout: rows and columns.
        scores: all records at hand.
        paper_values: the papers that the layout names.
        interval: from one value per seed to its interval, or None: `statistics.t_interval`.

    Raises:
        ConfigError: for names that no score or no paper has, unless marked optional.
    """
    scores = list(scores)
    papers = {values.paper: values for values in paper_values}
    metrics = [metric_of(column, scores) for column in layout.columns]
    found = [
        [_find(layout, row, column, scores) for column in layout.columns] for row in layout.rows
    ]
    lines = list(zip(layout.rows, found, strict=True))
    kept = [line for line in lines if not line[0].optional or any(line[1])] or lines
    absent = [row.label for row in layout.rows if all(row is not other for other, _ in kept)]
    layout = layout.model_copy(update={"rows": tuple(row for row, _ in kept)})
    found = [line for _, line in kept]
    shown = [
        index
        for index, column in enumerate(layout.columns)
        if not column.optional or any(line[index] for line in found)
    ]
    notes = Notes()
    grid: list[dict[int, _Entry]] = []  # by row, so that footnotes are numbered as they are read
    for row, line in zip(layout.rows, found, strict=True):
        ran = any(matches(score, row.select) for score in scores)
        grid.append({})
        for index in shown:
            column, metric = layout.columns[index], metrics[index]
            ours = our_cell(line[index], column, metric, ran, interval, notes)
            theirs = paper_cells(row, column, metric, ours, papers, notes)
            grid[-1][index] = _Entry(ours, *theirs)

    titled = [_head(*pair, metrics) for pair in zip(layout.columns, metrics, strict=True)]
    heads: list[Column] = []
    columns: list[list[Cell]] = []
    for index in shown:
        column, head = layout.columns[index], titled[index]
        entries = [line[index] for line in grid]
        heads.append(head)
        columns.append(_with_best(layout.rows, [e.ours for e in entries], head.higher_is_better))
        if column.paper is not None:
            about = f"as printed in {papers[column.paper.paper].reference}, {column.paper.table}"
            named = column.paper.title or head.title
            heads.append(Column(f"{named}, paper", head.unit, about))
            columns.append([entry.paper for entry in entries])
        if any(entry.difference.value is not None for entry in entries):
            about = "only where data set, split and protocol are the same"
            heads.append(Column(f"{head.title}, ours {MINUS} paper", head.unit, about))
            columns.append([entry.difference for entry in entries])
    rows = [
        Row(row.label, tuple(column[index] for column in columns))
        for index, row in enumerate(layout.rows)
    ]
    return Table(
        title=layout.title,
        caption=_caption(layout, shown, titled, rows, scores, absent),
        columns=tuple(heads),
        rows=_with_counts(rows),
        footnotes=notes.footnotes(),
        row_title=layout.row_title,
        banner=_banner(layout.requires, scores),
    )


@dataclass(frozen=True)
class _Entry:
    """Our cell, the paper's and the difference: what one column of a layout has in a row."""

    ours: Cell
    paper: Cell
    difference: Cell


def _find(
    layout: Layout, row: LayoutRow, column: LayoutColumn, scores: Sequence[Score]
) -> dict[int | None, Value | str]:
    """Return what the records hold for a place of the table; nothing if it may be left out."""
    select = row.select.model_copy(update={"stage": column.stage or row.select.stage})
    try:
        return find_values(scores, select, column)
    except UnknownNameError as error:
        if row.optional or column.optional:
            return {}
        raise ConfigError(
            f"table {layout.title!r}, row {row.label!r}: {error} (if some runs leave it out, "
            "mark the row or the column `optional: true`)"
        ) from None


def _head(column: LayoutColumn, metric: Metric, metrics: Sequence[Metric]) -> Column:
    data = f"{column.dataset.card}, {column.dataset.split}" if column.dataset else ""
    title = column.title or metric.title
    if column.title is None and data and sum(other == metric for other in metrics) > 1:
        title = f"{title}, {data}"
    better = column.higher_is_better
    return Column(
        title=title,
        unit=metric.unit if column.unit is None else column.unit,
        description="; ".join(part for part in (metric.protocol, data) if part),
        higher_is_better=metric.higher_is_better if better is None else better,
    )


def _with_best(
    rows: Sequence[LayoutRow], cells: Sequence[Cell], higher_is_better: bool | None
) -> list[Cell]:
    """Return the cells with the best of the rows that compete marked; no mark if all are equal."""
    values = {
        cell.value
        for row, cell in zip(rows, cells, strict=True)
        if cell.value is not None and not row.reference
    }
    if higher_is_better is None or len(values) < 2:
        return list(cells)
    best = max(values) if higher_is_better else min(values)
    return [
        replace(cell, best=cell.value == best and not row.reference)
        for row, cell in zip(rows, cells, strict=True)
    ]


def _with_counts(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows with the number of seeds in the cells, if it is not the same in all."""
    counts = {cell.interval.n for row in rows for cell in row.cells if cell.interval}
    if len(counts) < 2:
        return tuple(rows)

    def counted(cell: Cell) -> Cell:
        bounds = cell.interval
        return replace(cell, spread=f"{cell.spread} (n={bounds.n})") if bounds else cell

    return tuple(Row(row.label, tuple(map(counted, row.cells))) for row in rows)


def _caption(
    layout: Layout,
    shown: Sequence[int],
    heads: Sequence[Column],
    rows: Sequence[Row],
    scores: Sequence[Score],
    absent: Sequence[str],
) -> str:
    """Return the layout's caption and what the reader must know about the numbers.

    `shown`: which of the layout's columns are in the table; `heads`: the heads of all of them;
    `absent`: labels of the rows that were left out.
    """
    sentences = [layout.caption.strip()]
    datasets = dict.fromkeys(d for index in shown if (d := layout.columns[index].dataset))
    if datasets:
        sentences.append(f"Data: {'; '.join(_data_text(d, scores) for d in datasets)}.")
    left_out = [head.title for index, head in enumerate(heads) if index not in shown]
    if left_out:
        sentences.append(f"Not run: {'; '.join(left_out)}.")
    if len(absent) > LISTED_ROWS:
        sentences.append(f"{len(absent)} further rows belong to other runs.")
    elif absent:
        sentences.append(f"Rows not run: {'; '.join(absent)}.")
    cells = [cell for row in rows for cell in row.cells]
    bounds = [cell.interval for cell in cells if cell.interval is not None]
    if bounds:
        kinds, counts = dict.fromkeys(b.kind for b in bounds), sorted({b.n for b in bounds})
        over = " to ".join(dict.fromkeys((str(counts[0]), str(counts[-1]))))
        sentences.append(f"Mean ± half width of the {', '.join(kinds)} over {over} seeds.")
    if any(cell.best for cell in cells):
        sentences.append("Bold: best of the column.")
    return " ".join(sentences)


def _data_text(dataset: DataSplit, scores: Sequence[Score]) -> str:
    counts = {
        score.dataset["items"]
        for score in scores
        if score.dataset.get("card") == dataset.card
        and score.dataset.get("split") == dataset.split
        and "items" in score.dataset
    }
    items = f" ({', '.join(map(str, sorted(counts)))} items)" if counts else ""
    return f"{dataset.card}, {dataset.split}{items}"


def _banner(requires: Sequence[str], scores: Sequence[Score]) -> str:
    parts = [f"{gate_text(gate)}: not passed" for _, gate in failed_gates(requires, scores)]
    parts += [f"{name}: not recorded in this run" for name in unrecorded_gates(requires, scores)]
    return f"These numbers rest on checks that did not hold: {'; '.join(parts)}." if parts else ""
