"""Pages of document data sets: a scan and its ground truth as files, made into `PagePair`s.

A set is a folder of pairs `<page>_source.<suffix>` and `<page>_target.<suffix>`, as the DIBCO
contests are handed around. Torch-free.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from vismodels.data.images import read_image
from vismodels.data.manifest import WHOLE, locate, read_acquired, refuse_changed
from vismodels.data.pages import Image, PagePair, read_pages, write_pages
from vismodels.files import FileError
from vismodels.metrics.dataset import ITEMS, MANY_LEVELED, PAGE_MEGAPIXELS, TEXT_SHARE
from vismodels.results import Score, Value, mean_value

PICTURES = "document_deblurring"  # task of cards whose targets are pictures, not masks of the text
TEXT_BELOW = 128  # levels of a ground truth; published ones hold up to 183 levels

_FILE = re.compile(r"(?P<page>.+)_(?P<kind>source|target)", re.IGNORECASE)


def prepare_documents(name: str, data_root: Path | str, acquired: Path, folder: Path) -> Score:
    """Write the pages of every split of a set below `folder` and return the record of it.

    A ground truth becomes black text on white, in two levels. The targets of a card of the task
    `document_deblurring` are pictures and stay as they are.

    Args:
        name: of the set.
        data_root: folder of the user's data sets.
        acquired: folder of the stage `data_acquire`.
        folder: where to write `<split>/<page>_{degraded,clean}.png`; a set without splits is
            written to `whole`.

    Raises:
        FileError: if the data changed since it was acquired, a page lacks its source or target, an
            image cannot be read, or a ground truth is not one.
    """
    found = locate(name, data_root)
    card, items = read_acquired(acquired)
    refuse_changed(found, items)
    members: dict[str, Mapping[str, Path]] = {
        split: found.split(split) for split in card["splits"]
    } or {WHOLE: found.files}
    pairs = {split: match_pairs(files) for split, files in members.items()}
    record = _Record()
    for split, files in pairs.items():
        pages = _pages(files, masks=card["task"] != PICTURES)
        write_pages(record.following(pages), folder / split)
    return Score(
        stage="data_documents",
        variant=name,
        dataset={"card": name, "items": len(record.shares)},
        values=record.values(),
        budget={split: len(files) for split, files in pairs.items()},
    )


def read_document_pages(prepared: Sequence[Path], split: str) -> list[PagePair]:
    """Return the pages of one split of one or more prepared sets.

    A set without splits of its own is taken whole.

    Raises:
        FileError: if a set has no such split.
        ValueError: if two sets have a page of the same name.
    """
    parts = [folder / (WHOLE if (folder / WHOLE).is_dir() else split) for folder in prepared]
    pages = [page for part in parts for page in read_pages(part)]
    names = [page.name for page in pages]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two pages have the name {twice!r}; rename one, so that scores tell them")
    return pages


def read_scans(
    names: Sequence[str], data_root: Path | str, acquired: Sequence[Path]
) -> dict[str, Image]:
    """Return the images of sets without ground truth: page -> (H, W, 3) uint8 RGB.

    Args:
        names: of the sets.
        data_root: folder of the user's data sets.
        acquired: folder of the stage `data_acquire` of each set.

    Raises:
        FileError: if the data changed since it was acquired, or an image cannot be read.
    """
    scans: dict[str, Image] = {}
    for name, folder in zip(names, acquired, strict=True):
        found = locate(name, data_root)
        _, items = read_acquired(folder)
        refuse_changed(found, items)
        scans |= {Path(item).stem: read_page(path) for item, path in found.files.items()}
    return scans


def match_pairs(files: Mapping[str, Path]) -> dict[str, tuple[Path, Path]]:
    """Return page -> its source and target, sorted by page.

    Args:
        files: name of the item -> path, as in `FoundData.files`. Suffixes of a pair may differ.

    Raises:
        FileError: if a file is neither, lacks its other half, or comes twice.
    """
    halves: dict[str, dict[str, Path]] = {}
    for item, path in sorted(files.items()):
        match = _FILE.fullmatch(Path(item).stem)
        if match is None:
            raise FileError(
                f"{path}: expected `<page>_source.<suffix>` or `<page>_target.<suffix>`; rename "
                "the file, or take it out of the folder"
            )
        page, kind = match["page"], match["kind"].lower()
        other = halves.setdefault(page, {}).setdefault(kind, path)
        if other != path:
            raise FileError(f"{path}: {other} is the {kind} of the page {page!r} too; remove one")
    for page, found in halves.items():
        if len(found) < 2:
            ((kind, path),) = found.items()
            missing = "target" if kind == "source" else "source"
            raise FileError(
                f"{path}: there is no {page}_{missing} beside it; add it, or remove the file"
            )
    return {page: (found["source"], found["target"]) for page, found in sorted(halves.items())}


def read_page(path: Path) -> Image:
    """Return the pixels of an image file as (H, W, 3) uint8 RGB, as they look on white paper.

    Like `read_image`, but transparent pixels are laid over white instead of showing the color that
    is hidden in them.

    Raises:
        FileError: if it cannot be read.
    """
    pixels = read_image(path)
    with PillowImage.open(path) as image:
        if not image.has_transparency_data or image.mode.startswith("I"):
            return pixels
        layer = image.convert("RGBA")
    paper = PillowImage.new("RGBA", layer.size, "white")
    return np.array(PillowImage.alpha_composite(paper, layer).convert("RGB"))


def grey_levels(image: Image) -> NDArray[np.uint8]:
    """Return the BT.601 grey levels of an image, full range: 0 for black, 255 for white.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) uint8. The levels of a grey image are its own.
    """
    return np.array(PillowImage.fromarray(image).convert("L"))


def text_mask(image: Image) -> NDArray[np.bool_]:
    """Return where a ground truth shows text: (H, W) bool, True where it is darker than 128."""
    mask: NDArray[np.bool_] = grey_levels(image) < TEXT_BELOW
    return mask


def _pages(files: Mapping[str, tuple[Path, Path]], masks: bool) -> Iterator[tuple[PagePair, bool]]:
    """Yield each page, and whether its ground truth holds other levels than 0 and 255."""
    for name, (source, target) in files.items():
        degraded, clean = read_page(source), read_page(target)
        if degraded.shape != clean.shape:
            (height, width), (wrong_height, wrong_width) = degraded.shape[:2], clean.shape[:2]
            raise FileError(
                f"{target}: expected {height}x{width} pixels like {source.name}, got "
                f"{wrong_height}x{wrong_width}; fetch both again"
            )
        is_many_leveled = not np.isin(clean, (0, 255)).all()
        if masks:
            clean = _two_levels(clean, target)
        yield PagePair(name, degraded, clean), is_many_leveled


def _two_levels(target: Image, path: Path) -> Image:
    text = text_mask(target)
    if text.mean() > 0.5:
        raise FileError(
            f"{path}: {100 * text.mean():.0f} % of the ground truth is dark, but text covers less "
            "than half of a page; look whether it is inverted (text must be black on white)"
        )
    levels = np.where(text, np.uint8(0), np.uint8(255))
    return np.repeat(levels[:, :, None], 3, axis=2)


class _Record:
    """What is measured of pages while they are written, so that no more than one is in memory."""

    def __init__(self) -> None:
        self.shares: dict[str, float] = {}
        self.pixels = 0
        self.many_leveled = 0

    def following(self, pages: Iterator[tuple[PagePair, bool]]) -> Iterator[PagePair]:
        for page, is_many_leveled in pages:
            text = text_mask(page.clean)
            self.shares[page.name] = 100 * float(text.mean())
            self.pixels += text.size
            self.many_leveled += is_many_leveled
            yield page

    def values(self) -> list[Value]:
        return [
            Value(ITEMS, len(self.shares)),
            Value(PAGE_MEGAPIXELS, self.pixels / 1e6),
            Value(MANY_LEVELED, self.many_leveled),
            mean_value(TEXT_SHARE, self.shares),
        ]
