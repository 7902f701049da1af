"""What the YAML files of a table say: its rows and columns, and the values of the papers."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from vismodels.config import Config, ConfigError, suggestion


class DataSplit(Config):
    """A data card and one of its splits."""

    card: str
    split: str


class Select(Config):
    """Which records: all seeds of one variant of one stage, at one point of a curve or grid.

    All items of `condition` must be equal in the record. Without it, only records that have no
    condition are selected, so that the points of a curve never mix into a plain row.
    """

    stage: str
    variant: str
    condition: Mapping[str, str | int | float] = Field(default_factory=dict)


class Quantity(Config):
    """What is looked up in the records: a measured metric, or an exact count.

    A count is an entry of the budget, or else a metric of that name.
    """

    metric: str | None = None
    count: str | None = None
    dataset: DataSplit | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Quantity":
        if (self.metric is None) == (self.count is None):
            raise ValueError("give either `metric` or `count`")
        return self


class PaperColumn(Config):
    """Which column of which table of a paper stands beside ours."""

    paper: str
    table: str
    column: str
    title: str | None = None  # of what the paper measured, if it is not what we did


class LayoutColumn(Quantity):
    """A column of ours: a quantity, how to print it, and the paper's column beside it."""

    stage: str | None = None  # where it is recorded, if not in the stage of the row
    title: str | None = None  # the metric's title
    unit: str | None = None  # the metric's unit
    higher_is_better: bool | None = None  # the metric's direction
    digits: int | None = Field(default=None, ge=0)  # the metric's decimals
    scale: float = Field(default=1.0, gt=0)  # what is printed is the value times this
    aggregate: Literal["mean", "median", "min", "max"] = "mean"  # over the seeds
    paper: PaperColumn | None = None
    optional: bool = False  # some runs leave it out

    @model_validator(mode="after")
    def _scaled_columns_say_how(self) -> "LayoutColumn":
        if self.scale != 1.0 and (self.digits is None or self.unit is None):
            raise ValueError(f"a column scaled by {self.scale:g} needs `digits` and `unit`")
        return self


class LayoutRow(Config):
    """A row: the records it shows and the paper's row beside it."""

    label: str
    select: Select
    paper: str | None = None  # key of the row in the paper's values
    reference: bool = False  # a bound or a control: never marked best
    optional: bool = False  # some runs leave it out


class Layout(Config):
    """A table as it stands in `workflows/tables/*.yaml`."""

    title: str
    caption: str
    row_title: str = "Method"
    rows: tuple[LayoutRow, ...] = Field(min_length=1)
    columns: tuple[LayoutColumn, ...] = Field(min_length=1)
    requires: tuple[str, ...] = ()  # gates; one that failed puts a banner above the table


class PaperValue(Config):
    """A published number, or the reason why there is none."""

    table: str
    row: str | None = None  # None: every row, of an entry without a value
    column: str | None = None  # None: every column, of an entry without a value
    value: float | None = None  # in the unit that our column prints
    plus_minus: float | None = None
    unit: str = ""
    dataset: str = ""  # in the paper's words
    card: str | None = None  # our name of that data set, if it is the same
    split: str | None = None
    protocol: str = ""  # the metric's, word for word, if it is the same
    seeds: int | None = None
    budget: str = ""
    reason: str = ""

    @model_validator(mode="after")
    def _a_value_or_a_reason(self) -> "PaperValue":
        if self.value is None and not self.reason:
            raise ValueError("an entry without `value` needs a `reason`")
        if self.value is not None and (self.row is None or self.column is None):
            raise ValueError("a value needs its `row` and `column`")
        return self


class PaperValues(Config):
    """The numbers of one paper that we print, as in `workflows/paper_values/*.yaml`."""

    paper: str
    reference: str  # authors, year, for footnotes
    values: tuple[PaperValue, ...]

    def find(self, table: str, row: str, column: str) -> PaperValue:
        """Return the value at a place of a table, or the entry that says why there is none.

        Raises:
            ConfigError: if nothing is known of the place, with the nearest name.
        """
        found = [v for v in self.values if v.table == table]
        if not found:
            known = {value.table for value in self.values}
            raise ConfigError(f"{self.paper} has no table {table!r}{suggestion(table, known)}")
        for what, name in (("row", row), ("column", column)):
            known = {key for value in found if (key := getattr(value, what)) is not None}
            found = [v for v in found if getattr(v, what) in (name, None)]
            if not found:
                raise ConfigError(
                    f"{self.paper}, {table} has no {what} {name!r}{suggestion(name, known)}"
                )
        return min(found, key=lambda value: (value.row is None) + (value.column is None))
