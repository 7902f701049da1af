"""Acquire a data set: find it, compare it with its card, list every item with its sha256.

Torch-free: the workflow asks this module which sets are present each time it plans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from vismodels.cards.find import DataMissingError, FoundData, find, find_folder
from vismodels.cards.schema import cards_folder, list_cards, load_card
from vismodels.config import Config, ConfigError
from vismodels.files import FileError, read_json, write_json
from vismodels.metrics.dataset import ITEMS, VERIFIED
from vismodels.results import Score, Value

ACQUIRED = "acquired.json"
WHOLE = "whole"  # the one part of a set without further splits, which serves any purpose
FAMILIES = ("sr", "dibco")  # below data_root: photographs, and document pages with ground truth
SetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]


class PhotographsConfig(Config):
    """The stage that makes pairs of large and small photographs."""

    scale: Literal[2, 3, 4]
    shrink_jpeg: tuple[SetName, ...]  # sets whose JPEG files are halved first, against artefacts


@dataclass(frozen=True)
class Acquired:
    """A data set that is there: its card, item name -> sha256 and split, and the record of it."""

    card: dict[str, Any]
    items: dict[str, dict[str, Any]]
    score: Score


def card_files(name: str) -> list[str]:
    """Return the path of the set's data card within the project; nothing for a set without one."""
    return [f"data_cards/{name}.yaml"] if name in list_cards() else []


def locate(name: str, data_root: Path | str) -> FoundData:
    """Return a set by the name of its card, or of a folder in one of the families of `data_root`.

    Raises:
        ConfigError: if a set without a card is in two families.
        DataMissingError: if it is not there; says what it is and how to get it.
    """
    if (cards_folder() / f"{name}.yaml").is_file():
        return find(name, data_root)
    places = [f"{family}/{name}" for family in FAMILIES]
    present = [place for place in places if Path(data_root, place).exists()]
    if len(present) > 1:
        raise ConfigError(
            f"the set {name!r} has no data card and is in {' and '.join(present)} below "
            f"{data_root}; rename one of the folders, so that the name means one set"
        )
    try:
        return find_folder((present or places)[0], data_root)
    except DataMissingError as error:
        if present:
            raise
        others = " or ".join(str(Path(data_root).resolve() / place) for place in places[1:])
        raise DataMissingError(f"{error}\n  or, for another task, at: {others}") from error


def is_generated(name: str) -> bool:
    """Return whether the set's data card says that a program made it; False without a card."""
    return name in list_cards() and load_card(name).access == "generated"


def is_present(name: str, data_root: Path | str) -> bool:
    """Return whether the place of a set exists; what is in it shows when it is acquired.

    So a set with a file missing is an error and does not silently leave the table.
    """
    if name in list_cards():
        folder = load_card(name).folder
        return folder is None or Path(data_root, folder).exists()
    return any(Path(data_root, family, name).exists() for family in FAMILIES)


def refuse_leaks(**purposes: Sequence[str]) -> None:
    """Check that no set that is used whole serves two purposes.

    A set is used whole if it has no card, no splits, or the one split `whole`.

    Args:
        purposes: purpose (`train`, `test`) -> names of the sets.

    Raises:
        ConfigError: if one does: it would be tested on what it was trained on.
    """
    users: dict[str, list[str]] = {}
    for purpose, names in purposes.items():
        for name in names:
            users.setdefault(name, []).append(purpose)
    for name, used_for in users.items():
        splits = set(load_card(name).splits) - {WHOLE} if name in list_cards() else set()
        if len(used_for) > 1 and not splits:
            raise ConfigError(
                f"the set {name!r} is named for {' and '.join(used_for)}, but has no splits: it "
                "would be used whole each time; name another set, or write a data card with splits"
            )


def acquire(name: str, data_root: Path | str) -> Acquired:
    """Return what there is of a data set, every file read and compared with the card.

    Raises:
        DataMissingError: if it is not there; says what it is and how to get it.
        FileError: if a file cannot be read or is not the one the card means.
    """
    found = locate(name, data_root)
    splits = {item: split for split in found.card.splits for item in found.split(split)}
    items = {
        item: {"sha256": digest.sha256, "verified": digest.verified, "split": splits.get(item)}
        for item, digest in found.digests().items()
    }
    score = Score(
        stage="data_acquire",
        variant=name,
        dataset={"card": found.card.name, "version": found.card.version, "items": len(items)},
        values=[
            Value(ITEMS, len(items)),
            Value(VERIFIED, sum(item["verified"] is True for item in items.values())),
        ],
    )
    return Acquired(found.card.model_dump(mode="json"), items, score)


def write_acquired(acquired: Acquired, folder: Path) -> None:
    """Write the card and the list of items to `folder` as `acquired.json`."""
    write_json(folder / ACQUIRED, {"card": acquired.card, "items": acquired.items})


def read_acquired(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the card and the items that `write_acquired` stored.

    Raises:
        FileError: if they are missing or damaged.
    """
    content = read_json(folder / ACQUIRED)
    try:
        return content["card"], content["items"]
    except (KeyError, TypeError) as error:
        raise FileError(
            f"{folder / ACQUIRED}: not what acquiring wrote; remove the folder and run again"
        ) from error


def refuse_changed(found: FoundData, items: dict[str, dict[str, Any]]) -> None:
    """Compare the data with what was acquired.

    Raises:
        FileError: if a file came, went or changed since.
    """
    now = {name: digest.sha256 for name, digest in found.digests().items()}
    before = {name: item["sha256"] for name, item in items.items()}
    changed = sorted(n for n in now.keys() | before.keys() if now.get(n) != before.get(n))
    if changed:
        raise FileError(
            f"{found.card.name}: {len(changed)} files are not what was acquired "
            f"(e.g. {changed[0]}); put the data back, or remove the set's folder below results/ "
            "and run again"
        )
