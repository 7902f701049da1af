"""Which settings of a grid were chosen on validation data, as stages leave it for one another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vismodels.config import suggestion
from vismodels.files import FileError, read_json, write_json

CHOICE = "choice.json"
Settings = TypeVar("Settings")


def write_choice(folder: Path, settings: str) -> None:
    """Write the name of the chosen settings into `folder`."""
    write_json(folder / CHOICE, {"settings": settings})


def read_choice(grid: Mapping[str, Settings], folder: Path) -> tuple[str, Settings]:
    """Return the chosen name and what it stands for in the grid.

    Raises:
        FileError: if the file is missing or damaged, or names settings that are none.
    """
    content: Any = read_json(folder / CHOICE)
    name = content.get("settings") if isinstance(content, dict) else None
    if name not in grid:
        raise FileError(
            f"{folder / CHOICE}: the settings {name!r} are none of the grid's"
            f"{suggestion(str(name), grid)}; run the stage again"
        )
    return str(name), grid[str(name)]
