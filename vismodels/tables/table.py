"""A table in memory, and numbers as text. Torch-free."""

from dataclasses import dataclass
from typing import Protocol

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
EXTRA_DECIMALS = 3  # of an interval beyond the metric's own; finer spread is rounding noise


class Bounds(Protocol):
    """An interval, as `statistics.Interval` is one."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def high(self) -> float:
        """Upper end."""

    @property
    def kind(self) -> str:
        """What it is, in words."""

    @property
    def n(self) -> int:
        """Number of values it rests on."""


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Args:
        text: what is printed, rounded.
        value: the number behind it at full precision, None if there is none.
        interval: interval of `value`.
        n: number of runs behind it; None for deterministic and foreign values.
        spread: what is printed after `text` in smaller type (`± 0.05`).
        kind: says what it is, and its class in HTML: `paper`, `missing`, `passed`, `failed`, ...
        marks: marks of its footnotes.
        best: whether it is the best of its column.
    """

    text: str
    value: float | None = None
    interval: Bounds | None = None
    n: int | None = None
    spread: str = ""
    kind: str = ""
    marks: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Column:
    """Head of a column.

    Args:
        title: short name.
        unit: `dB`, `G`, or empty.
        description: the long form, for readers who point at the title.
        higher_is_better: direction, None for a column without one.
        numeric: whether it is aligned to the right.
    """

    title: str
    unit: str = ""
    description: str = ""
    higher_is_better: bool | None = None
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """A labelled row."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Footnote:
    """A footnote and its mark."""

    mark: str
    text: str


@dataclass(frozen=True)
class Table:
    """A table in memory, ready to be rendered.

    Args:
        title: a few words.
        caption: what was measured, on what, and what the intervals are.
        columns: without the column of the labels.
        rows: each with as many cells as there are columns.
        footnotes: in the order of their first use.
        row_title: head of the column of the labels.
        banner: a warning above the table (a failed gate), or empty.
    """

    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[Footnote, ...] = ()
    row_title: str = "Method"
    banner: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: row {row.label!r} has {len(row.cells)} cells for "
                    f"{len(self.columns)} columns"
                )


def number(value: float, digits: int, signed: bool = False) -> str:
    """Return `value` with `digits` decimals, a true minus sign, and never a negative zero."""
    rounded = round(value, digits) + 0.0
    text = f"{rounded:+.{digits}f}" if signed and rounded else f"{rounded:.{digits}f}"
    return text.replace("-", MINUS)


def decimals_of_spread(half: float, digits: int) -> int:
    """Return the decimals that give a half width two significant digits."""
    if half == 0:
        return digits
    exponent = int(f"{half:.1e}".partition("e")[2])  # after rounding: 0.0996 counts as 0.10
    return min(max(0, 1 - exponent), digits + EXTRA_DECIMALS)
