"""What a data card says, and reading it: a YAML file in `data_cards/`. Torch-free."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, Field, model_validator

from vismodels import files
from vismodels.config import Config, ConfigError, parse_config, suggestion

UNVERIFIED = "unverified"

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError("expected a relative path, with '/' and without '..'")
    return path


def safe_url(url: str) -> str:
    """Return `url` if it is https, or http on this machine.

    Raises:
        ValueError: for any other address.
    """
    address = urlsplit(url)
    is_local = address.scheme == "http" and address.hostname in _LOOPBACK
    if address.scheme != "https" and not is_local:
        raise ValueError("expected an https address")
    return url


RelativePath = Annotated[str, AfterValidator(_inside)]
Url = Annotated[str, AfterValidator(safe_url)]


class Licence(Config):
    """Terms of use: an SPDX identifier or a text, and the page that states them."""

    spdx: str | None = None
    text: str | None = None
    url: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Licence":
        if not (self.spdx or self.text):
            raise ValueError("a licence needs 'spdx' or 'text'")
        return self

    def __str__(self) -> str:
        stated = " - ".join(part for part in (self.spdx, self.text) if part)
        return f"{stated} ({self.url})" if self.url else stated


class Archive(Config):
    """Where and within which limits an archive is extracted; see `archive.safe_extract`."""

    into: RelativePath
    max_bytes: int = 64 * 2**30
    max_files: int = 1_000_000
    max_ratio: float = 200.0


class CardFile(Config):
    """One file: where it lies, what it must contain and where it comes from."""

    path: RelativePath  # below the card's folder; for package data just the item's name
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64}|unverified)$")]
    bytes: Annotated[int, Field(ge=0)] | None = None
    url: Url | None = None
    package: Annotated[str, Field(pattern=r"^\w+$")] | None = None  # import name
    inside: RelativePath | None = None  # path inside the package
    archive: Archive | None = None  # extracted after the download
    licence: Licence | None = None  # where it differs from file to file
    attribution: str = ""


class Layout(Config):
    """Files that are not listed one by one: all that match a glob below the card's folder."""

    pattern: RelativePath
    count: Annotated[int, Field(ge=1)] | None = None


class DataCard(Config):
    """A data set: origin, terms, files, splits, and what a user must know about it."""

    name: str
    version: str
    title: str
    task: str
    homepage: str | None
    creators: tuple[str, ...] = ()
    published: str | None = None  # ISO 8601, as precisely as known
    citation: str
    licence: Licence
    access: Literal["open", "registration", "agreement", "package", "generated"]
    how_to_get: str
    folder: RelativePath | None = None  # below data_root
    files: tuple[CardFile, ...] = ()
    layout: Layout | None = None
    exclude: tuple[str, ...] = ()  # never handed out; `known_problems` says why
    splits: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # names of items, or globs
    personal_data: str
    intended_use: str
    known_problems: tuple[str, ...] = ()
    preprocessing: str = ""
    stand_in: str | None = None  # what the default profile uses instead, and how it differs
    maintainer: str

    @model_validator(mode="after")
    def _is_consistent(self) -> "DataCard":
        names = [file.path for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError("'files' lists a path twice")
        in_package = {x is not None for f in self.files for x in (f.package, f.inside)}
        if in_package - {self.access == "package"}:
            raise ValueError("'package' and 'inside' belong to the files of access 'package'")
        if self.access not in ("package", "generated") and self.folder is None:
            raise ValueError("'folder' is required: where below data_root the files lie")
        if self.access != "generated" and not (self.files or self.layout):
            raise ValueError("'files' or 'layout' is required")
        if self.layout is None:
            listed = self.item_names()
            if unknown := set(self.exclude) - set(names):
                raise ValueError(f"'exclude' names {sorted(unknown)}, which 'files' does not list")
            split_members(self.splits, listed)
        return self

    def item_names(self) -> list[str]:
        """Return the listed files that are handed out: no archives, nothing excluded."""
        return [f.path for f in self.files if not f.archive and f.path not in self.exclude]


def split_members(
    splits: Mapping[str, Iterable[str]], names: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Return split -> names of its items, in order.

    Raises:
        ConfigError: if a pattern fits no item, or an item is in two splits.
    """
    names, owner = sorted(names), dict[str, str]()
    for split, patterns in splits.items():
        for pattern in patterns:
            matching = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
            if not matching:
                raise ConfigError(f"split {split!r}: no item is called {pattern!r}")
            for name in matching:
                if owner.setdefault(name, split) != split:
                    raise ConfigError(f"{name!r} is in the splits {owner[name]!r} and {split!r}")
    return {split: tuple(name for name in names if owner.get(name) == split) for split in splits}


def cards_folder() -> Path:
    """Return the folder of the project's data cards."""
    return files.project_root() / "data_cards"


def list_cards() -> list[str]:
    """Return the names of the project's data cards."""
    return sorted(path.stem for path in cards_folder().glob("*.yaml"))


def load_card(name: str) -> DataCard:
    """Return a data card of the project.

    Raises:
        ConfigError: if there is no such card or it does not fit the schema.
    """
    known = list_cards()
    if name not in known:
        raise ConfigError(f"there is no data card {name!r}{suggestion(name, known)}")
    return read_card(cards_folder() / f"{name}.yaml")


def read_card(path: Path | str) -> DataCard:
    """Return the data card in a YAML file, whose name without suffix is the name of the card.

    Raises:
        ConfigError: if the file is not YAML or does not fit the schema.
    """
    path = Path(path)
    try:
        section = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from error
    card = parse_config(DataCard, section, path.name)
    if card.name != path.stem:
        raise ConfigError(f"{path.name}.name: expected {path.stem!r}, got {card.name!r}")
    return card


def as_card(card: DataCard | str) -> DataCard:
    """Return a card as it is, or the project's card of that name."""
    return load_card(card) if isinstance(card, str) else card
