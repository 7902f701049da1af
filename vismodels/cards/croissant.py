"""Data cards as Croissant metadata, for catalogues and search engines. Torch-free."""

import mimetypes
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from vismodels.cards.schema import UNVERIFIED, CardFile, DataCard, Licence, split_members


def to_croissant(card: DataCard) -> dict[str, Any]:
    """Return the card as Croissant 1.1 metadata (JSON-LD; mlcommons.org/croissant/1.1).

    Checksums appear only where the card has them; contents without an address get their path
    below `data_root`, or below the folder of the installed packages.
    """
    licences = dict.fromkeys(lic for lic in (card.licence, *(f.licence for f in card.files)) if lic)
    description = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [f"{_CROISSANT}1.1", f"{_CROISSANT}RAI/1.0"],
        "name": card.name,
        "description": f"{card.title}. Task: {card.task}.",
        "version": card.version,
        "url": card.homepage,
        "license": [_licence_address(licence) for licence in licences],
        "creator": [{"@type": "sc:Person", "name": name} for name in card.creators],
        "datePublished": card.published,
        "citeAs": card.citation,
        "rai:personalSensitiveInformation": card.personal_data,
        "rai:dataUseCases": card.intended_use,
        "rai:dataLimitations": list(card.known_problems),
        "rai:dataPreprocessingProtocol": card.preprocessing,
        "rai:dataReleaseMaintenancePlan": f"Card maintained by {card.maintainer}",
        "recordSet": _record_sets(card),
    }
    files = [_file_object(card, file) for file in card.files] + _file_sets(card)
    return _without_gaps(description) | {"distribution": files}  # none for generated data


_CROISSANT = "http://mlcommons.org/croissant/"
_TERMS = (
    "citeAs",
    "containedIn",
    "excludes",
    "field",
    "includes",
    "key",
    "recordSet",
    "references",
)
_CONTEXT = {  # the terms used below, as in appendix 1 of the specification
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": _CROISSANT,
    "rai": f"{_CROISSANT}RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in _TERMS},
}


def _licence_address(licence: Licence) -> str:
    if licence.spdx:
        return licence.url or f"https://spdx.org/licenses/{licence.spdx}.html"
    return licence.url or licence.text or ""


def _file_object(card: DataCard, file: CardFile) -> dict[str, Any]:
    place = PurePosixPath(file.package or card.folder or "", file.inside or file.path)
    return _without_gaps(
        {
            "@type": "cr:FileObject",
            "@id": quote(file.path),
            "name": file.path,
            "description": file.attribution,
            "license": _licence_address(file.licence) if file.licence else None,
            "contentUrl": file.url or quote(str(place)),
            "contentSize": None if file.bytes is None else f"{file.bytes} B",
            "encodingFormat": mimetypes.guess_type(file.path)[0] or "application/octet-stream",
            "sha256": None if file.sha256 == UNVERIFIED else file.sha256,
        }
    )


def _file_sets(card: DataCard) -> list[dict[str, Any]]:
    if card.layout is None:
        return []
    fileset = {
        "@type": "cr:FileSet",
        "@id": "layout",
        "name": "layout",
        "containedIn": [{"@id": quote(file.path)} for file in card.files if file.archive],
        "encodingFormat": mimetypes.guess_type(card.layout.pattern)[0],
        "includes": card.layout.pattern,
        "excludes": list(card.exclude),
    }
    return [_without_gaps(fileset)]


def _record_sets(card: DataCard) -> list[dict[str, Any]]:
    """Return the splits and, where the card lists its items, the split of each."""
    if not card.splits:
        return []
    text = {"@type": "cr:Field", "dataType": "sc:Text"}
    splits = {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [{**text, "@id": "splits/name", "name": "name"}],
        "data": [{"splits/name": split} for split in card.splits],
    }
    if card.layout:
        return [splits]
    reference = {"references": {"field": {"@id": "splits/name"}}}
    items = {
        "@type": "cr:RecordSet",
        "@id": "items",
        "name": "items",
        "key": {"@id": "items/file"},
        "field": [
            {**text, "@id": "items/file", "name": "file"},
            {**text, "@id": "items/split", "name": "split", **reference},
        ],
        "data": [
            {"items/file": name, "items/split": split}
            for split, names in split_members(card.splits, card.item_names()).items()
            for name in names
        ],
    }
    return [splits, items]


def _without_gaps(properties: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if value not in (None, "", [])}
