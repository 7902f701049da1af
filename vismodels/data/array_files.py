"""Arrays and records that stages keep for one another; damaged ones are named. Torch-free."""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vismodels.files import FileError, read_json

Entry = TypeVar("Entry")
DAMAGE = (OSError, EOFError, KeyError, TypeError, ValueError, zlib.error, zipfile.BadZipFile)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of an NPZ file by name.

    Raises:
        FileError: if it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except DAMAGE as error:
        raise FileError(f"{path}: damaged ({error}); run the stage again") from error


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays into an NPZ file, compressed; `read_arrays` reads them."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_entries(
    folder: Path,
    records: str,
    what: str,
    build: Callable[[Mapping[str, Any], dict[str, NDArray[Any]]], Entry],
) -> list[Entry]:
    """Return what a list of records and `<name>.npz` of each describe, in their order.

    Args:
        folder: of the files.
        records: name of the list, a JSON file.
        what: the entries are, for the message.
        build: makes an entry of its record and its arrays.

    Raises:
        FileError: if a file is missing or damaged.
    """
    listed: Any = read_json(folder / records)
    try:
        return [build(each, read_arrays(folder / f"{each['name']}.npz")) for each in listed]
    except (*DAMAGE, FileError) as error:
        raise FileError(
            f"{folder}: damaged {what} ({error}); run the stage that makes them again"
        ) from error
