"""Scalars of a training run, iteration by iteration: the curves, without a clock in them.

Torch-free. As a part of the train state a log survives a resume without gap or repetition.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from vismodels.files import FileError, write_text


class ScalarLog:
    """Named curves over the iterations, every name at every entry.

    Curves of another rhythm (validation) go to a log of their own.
    """

    def __init__(self) -> None:
        self.iterations: list[int] = []
        self.curves: dict[str, list[float]] = {}

    def __len__(self) -> int:
        return len(self.iterations)

    def append(self, iteration: int, scalars: Mapping[str, float]) -> None:
        """Add the values of one iteration.

        Args:
            iteration: number of completed iterations; larger than that of the last entry.
            scalars: name -> value; the same names each time.

        Raises:
            ValueError: for other names than before, or an iteration that does not come later.
        """
        if not self.iterations:
            self.curves = {name: [] for name in scalars}
        elif scalars.keys() != self.curves.keys():
            raise ValueError(
                f"a log has the same names at every entry: expected {', '.join(self.curves)}, got "
                f"{', '.join(scalars)} at iteration {iteration}; use a second log for other curves"
            )
        elif iteration <= self.iterations[-1]:
            raise ValueError(
                f"iteration {iteration} does not come after {self.iterations[-1]}, the last one of "
                "the log"
            )
        self.iterations.append(iteration)
        for name, curve in self.curves.items():
            curve.append(float(scalars[name]))

    def state_dict(self) -> dict[str, Any]:
        """Return the entries for a checkpoint."""
        curves = {name: list(curve) for name, curve in self.curves.items()}
        return {"iterations": list(self.iterations), "curves": curves}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace all entries by those of `state`."""
        self.iterations = list(state["iterations"])
        self.curves = {name: list(curve) for name, curve in state["curves"].items()}

    def to_csv(self, path: Path | str) -> None:
        """Write a column `iteration` and one for each curve; equal runs give equal bytes.

        Values are written with all their digits, so that `read_csv` returns the same log.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["iteration", *self.curves])
        for row in zip(self.iterations, *self.curves.values(), strict=True):
            writer.writerow([repr(value) for value in row])
        write_text(path, text.getvalue())

    @classmethod
    def read_csv(cls, path: Path | str) -> Self:
        """Return the log that `to_csv` wrote.

        Raises:
            FileError: if the file is missing or not such a table.
        """
        log = cls()
        try:
            with Path(path).open(encoding="utf-8", newline="") as stream:
                first, *names = next(rows := csv.reader(stream, strict=True))
                if first != "iteration":
                    raise ValueError(f"first column {first!r}, expected 'iteration'")
                log.curves = {name: [] for name in names}
                for iteration, *values in rows:
                    scalars = dict(zip(names, map(float, values), strict=True))
                    log.append(int(iteration), scalars)
        except FileNotFoundError as error:
            raise FileError(f"{path}: no such file") from error
        except (ValueError, StopIteration, csv.Error) as error:
            raise FileError(f"{path}: not a table of curves ({error}); write it again") from error
        return log
