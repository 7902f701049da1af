"""Measured times of a method's stages, as a table: they vary from run to run, unlike scores."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from vismodels.files import VOLATILE, read_json
from vismodels.results import SCORES, Score, read_scores
from vismodels.tables.table import DASH, Cell, Column, Row, Table

TOTAL = "cpu_seconds"


def times_table(folders: Iterable[Path]) -> Table | None:
    """Return a row for every stage, variant and problem that measured times; None if there is none.

    A cell holds the mean over the runs, and the smallest and the largest where they differ.

    Args:
        folders: of stages with one score record each, all of one method.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for folder in folders:
        run = read_json(folder / VOLATILE)
        if run["timings"] and (folder / SCORES).is_file():
            record, *_ = read_scores(folder / SCORES)
            times = {**run["timings"], TOTAL: run["cpu_seconds"]}
            found.setdefault(_row_title(record), []).append(times)
    if not found:
        return None
    names = list(dict.fromkeys(name for runs in found.values() for run in runs for name in run))
    names = [*(name for name in names if name != TOTAL), TOTAL]
    return Table(
        title="Measured times",
        caption="Seconds of processor time on one thread: mean over the runs, then the smallest "
        "and the largest. They vary from run to run, so they are outside every score and every "
        "digest; compare them only with others of this page. The last column is the whole job, "
        "with the start of Python and, for a job that was resumed, only the time since then.",
        row_title="Stage, variant, problem",
        columns=(Column("Runs"), *(Column(_title(name), unit="s") for name in names)),
        rows=tuple(Row(title, _cells(runs, names)) for title, runs in found.items()),
    )


def _row_title(record: Score) -> str:
    names = (record.stage, record.variant, record.condition.get("problem"))
    return ", ".join(str(name) for name in names if name is not None)


def _title(name: str) -> str:
    return (
        "CPU, whole job" if name == TOTAL else name.replace("cpu_seconds", "CPU").replace("_", " ")
    )


def _cells(runs: Sequence[dict[str, float]], names: Sequence[str]) -> tuple[Cell, ...]:
    cells = [Cell(str(len(runs)), value=len(runs))]
    for name in names:
        values = [run[name] for run in runs if name in run]
        cells.append(_cell(values) if values else Cell(DASH, kind="none"))
    return tuple(cells)


def _cell(values: Sequence[float]) -> Cell:
    low, high = min(values), max(values)
    spread = f"{_text(low)} to {_text(high)}" if low < high else ""
    return Cell(_text(fmean(values)), value=fmean(values), spread=spread)


def _text(seconds: float) -> str:
    """Return seconds with three significant digits."""
    return f"{seconds:#.3g}".rstrip(".") if seconds < 1000 else f"{seconds:.0f}"
