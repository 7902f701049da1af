"""Where the items of a data set are, and whether they are what the card means. Torch-free.

`find` looks at names only; `check` and `FoundData.digests` read the files.
"""

import errno
import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vismodels import files
from vismodels.cards.schema import UNVERIFIED, CardFile, DataCard, as_card, split_members
from vismodels.config import ConfigError, parse_config, suggestion
from vismodels.files import FileError

CHECKSUMS = "checksums.json"  # beside the data: what was found where a card has no checksum
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_NO_PERMISSION = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class DataMissingError(FileNotFoundError):
    """Data that a card describes and that is not there; the message says how to get it."""


class ChecksumError(FileError):
    """A file that is not the one its card means."""


@dataclass(frozen=True)
class Digest:
    """The sha256 of a file; `verified` if the card demands exactly this one."""

    sha256: str
    verified: bool


@dataclass(frozen=True)
class FoundData:
    """A data set that is there.

    `files`: name of the item -> absolute path, sorted by name. `recorded`: name -> sha256 noted
    when a file without checksum was fetched.
    """

    card: DataCard
    files: Mapping[str, Path]
    recorded: Mapping[str, str] = field(default_factory=dict)

    def split(self, name: str) -> dict[str, Path]:
        """Return the items of one split of the card: name -> absolute path.

        Raises:
            ConfigError: if the card has no such split, or its items are not there.
        """
        if name not in self.card.splits:
            raise ConfigError(
                f"data card {self.card.name!r} has no split {name!r}"
                f"{suggestion(name, self.card.splits)}"
            )
        members = split_members(self.card.splits, self.files)[name]
        return {item: self.files[item] for item in members}

    def digests(self) -> dict[str, Digest]:
        """Return name -> sha256 of every item, and whether the card vouches for it.

        Raises:
            ChecksumError: if a file differs from its card or from what was recorded.
        """
        statuses = [_status(self.card, *item, self.recorded) for item in self.files.items()]
        require_unchanged(self.card, statuses)
        return {s.name: Digest(s.found or "", s.status == "ok") for s in statuses}


@dataclass(frozen=True)
class FileStatus:
    """One file compared with its card.

    `status`: `ok`; `unverified` (it is there, the card has no checksum); `missing`; `changed`.
    `expected`, `found`: sha256, None where there is none.
    """

    name: str
    status: Literal["ok", "unverified", "missing", "changed"]
    path: Path | None
    expected: str | None = None
    found: str | None = None


def find(card: DataCard | str, data_root: Path | str | None = None) -> FoundData:
    """Return where the items of a data set are; the files are not read.

    Args:
        card: the card or its name.
        data_root: folder of the user's data sets; not needed for data in packages.

    Raises:
        DataMissingError: if anything is missing; says what it is and how to get it.
        FileError: if a file cannot be read.
    """
    card = as_card(card)
    with permissions_explained(card):
        places = _places(card, data_root)
        items = {name: places[name] for name in card.item_names()}
        found = {name: path for name, path in items.items() if path and path.is_file()}
        if len(found) < len(items):
            lost = sorted(items.keys() - found.keys())
            state = f"{len(lost)} of {len(items)} files, e.g. {lost[0]}"
            raise missing_data(card, data_root, state)
        found |= _matching(card, data_root)
        for path in found.values():
            path.open("rb").close()
        return FoundData(card, dict(sorted(found.items())), recorded_checksums(card, data_root))


def find_folder(folder: str, data_root: Path | str) -> FoundData:
    """Return the images that lie in a folder which no card describes; none is verified.

    Args:
        folder: below `data_root`, e.g. `sr/Urban100`; subfolders are not searched.
        data_root: folder of the user's data sets.

    Raises:
        DataMissingError: if there is no such folder or no image in it.
        FileError: if a file cannot be read, is a link to nothing or has a name that is not UTF-8.
    """
    card = parse_config(DataCard, _unknown_data(folder), folder)
    place = data_folder(card, data_root)
    with permissions_explained(card):
        listing = sorted(place.iterdir()) if place.is_dir() else []
        images = [p for p in listing if p.suffix.lower() in IMAGE_SUFFIXES and not _hidden(p)]
        _refuse_unusable(images)
        found = {path.name: path for path in images if path.is_file()}
        if not found:
            inner = [path.name for path in listing if path.is_dir()]
            hint = f" (its subfolders {', '.join(inner)} are not searched)" if inner else ""
            raise missing_data(card, data_root, f"no {'/'.join(IMAGE_SUFFIXES)} file{hint}")
        for path in found.values():
            path.open("rb").close()
    return FoundData(card, found)


def check(card: DataCard | str, data_root: Path | str | None = None) -> list[FileStatus]:
    """Return the state of every file of a card, archives included; reads all of them.

    An excluded file may be absent.

    Raises:
        DataMissingError: if the card needs a `data_root` and there is none.
        FileError: if a file cannot be read.
    """
    card = as_card(card)
    with permissions_explained(card):
        recorded, places = recorded_checksums(card, data_root), _places(card, data_root)
        if card.layout:
            places |= _glob(card, data_root)
        statuses = [_status(card, name, path, recorded) for name, path in places.items()]
        return [s for s in statuses if s.status != "missing" or s.name not in card.exclude]


def data_folder(card: DataCard, data_root: Path | str | None) -> Path:
    """Return the folder of a card's files, which need not exist.

    Raises:
        DataMissingError: if there is no `data_root`.
    """
    if not data_root:
        raise missing_data(card, data_root, "no data_root is set")
    return Path(data_root).resolve() / (card.folder or "")


def _places(card: DataCard, data_root: Path | str | None) -> dict[str, Path | None]:
    """Return listed name -> path where it belongs; None inside a package that is not installed."""
    if card.access == "package":
        return {file.path: _package_path(file) for file in card.files}
    if card.access == "generated":
        return {}
    folder = data_folder(card, data_root)
    return {file.path: folder / file.path for file in card.files}


def _package_path(file: CardFile) -> Path | None:
    spec = importlib.util.find_spec(file.package or "")  # of a top-level name: imports nothing
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]).resolve() / (file.inside or "") if folders else None


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _refuse_unusable(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.name.encode()
        except UnicodeEncodeError as error:
            raise FileError(
                f"{path.parent}: the file name {os.fsencode(path.name)!r} is not valid UTF-8; "
                "rename the file"
            ) from error
        if path.is_symlink() and not path.exists():
            raise FileError(
                f"{path}: is a link to {path.readlink()}, which does not exist; mend or remove it"
            )


def _glob(card: DataCard, data_root: Path | str | None) -> dict[str, Path]:
    folder, layout = data_folder(card, data_root), card.layout
    listed = {file.path for file in card.files}
    paths = sorted(folder.glob(layout.pattern)) if layout else []
    named = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    return {name: path for name, path in named.items() if name not in listed and not _hidden(path)}


def _matching(card: DataCard, data_root: Path | str | None) -> dict[str, Path]:
    if card.layout is None:
        return {}
    found, wanted = _glob(card, data_root), card.layout.count
    if not found or wanted not in (None, len(found)):
        state = f"expected {wanted or 'some'} files like {card.layout.pattern}, got {len(found)}"
        raise missing_data(card, data_root, state)
    return {name: path for name, path in found.items() if name not in card.exclude}


def recorded_checksums(card: DataCard, data_root: Path | str | None) -> dict[str, str]:
    """Return name -> sha256 noted when a file without checksum was fetched.

    Raises:
        FileError: if the record of them is damaged.
    """
    if card.folder is None or not data_root:
        return {}
    path = data_folder(card, data_root) / CHECKSUMS
    content = files.read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise FileError(f"{path}: expected file -> sha256; delete it and fetch again")
    return content


def _status(
    card: DataCard, name: str, path: Path | None, recorded: Mapping[str, str]
) -> FileStatus:
    on_card = {file.path: file.sha256 for file in card.files}.get(name, UNVERIFIED)
    expected = recorded.get(name) if on_card == UNVERIFIED else on_card
    if path is None or not path.is_file():
        return FileStatus(name, "missing", path, expected)
    found = files.file_digest(path)
    if expected not in (None, found):
        return FileStatus(name, "changed", path, expected, found)
    return FileStatus(name, "unverified" if on_card == UNVERIFIED else "ok", path, expected, found)


def require_unchanged(card: DataCard, statuses: Iterable[FileStatus]) -> None:
    """Refuse files that differ from their card, or from what was recorded.

    Raises:
        ChecksumError: if there are any; names each with both checksums.
    """
    lines = [
        f"{s.path}: expected sha256 {s.expected}, found {s.found}"
        for s in statuses
        if s.status == "changed"
    ]
    if lines:
        raise ChecksumError(
            f"{card.name}: not the files of version {card.version} of the data card; "
            "remove them and get them again\n" + "\n".join(lines)
        )


def missing_data(card: DataCard, data_root: Path | str | None, state: str) -> DataMissingError:
    """Return the error that says what is missing, where it belongs and how to get it."""
    if card.access == "package":
        place = "installed packages " + ", ".join(sorted({str(f.package) for f in card.files}))
    else:
        place = str(
            (Path(data_root).resolve() if data_root else Path("data_root")) / str(card.folder)
        )
    size = sum(file.bytes or 0 for file in card.files)
    urls = [file.url for file in card.files if file.url]
    source = f" ({urls[0]}{', ...' if len(urls) > 1 else ''})" if urls else ""
    return DataMissingError(
        f"{card.name}: missing data: {state}\n"
        f"  expected at: {place}\n"
        f"  how to get it: {card.how_to_get.strip()}{source}\n"
        f"  size: {f'{size / 1e6:.1f} MB' if size else 'unknown'}; access: {card.access}\n"
        f"  licence: {card.licence}"
    )


@contextmanager
def permissions_explained(card: DataCard) -> Iterator[None]:
    """Turn what the file system refuses within the block into a `FileError` with advice."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_PERMISSION:
            raise
        raise FileError(
            f"{card.name}: {error.filename}: {error.strerror}; "
            "change its permissions or choose another data_root"
        ) from error


def _unknown_data(folder: str) -> dict[str, Any]:
    return {
        "name": folder,
        "version": "unknown",
        "title": f"Images in {folder}",
        "task": "unknown",
        "homepage": None,
        "citation": "unknown",
        "licence": {"text": "unknown: no data card describes this folder"},
        "access": "open",
        "how_to_get": "put the images there, or correct the folder's name",
        "folder": folder,
        "layout": {"pattern": "*"},
        "personal_data": "unknown",
        "intended_use": "unknown",
        "maintainer": "the user who put it there",
    }
