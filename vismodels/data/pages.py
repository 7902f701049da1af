"""Pages as pairs of a degraded and a clean image, with the words on them where they are known.

Torch-free. Rendered pages know their words exactly; scans of contests have none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.data.images import read_image, write_png
from vismodels.files import FileError, read_json, write_json

DEGRADED, CLEAN, WORDS = "_degraded.png", "_clean.png", "_words.json"
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Word:
    """A word on a page: its text, the box of its ink in pixels, and the line it stands in.

    Args:
        text: without blanks.
        left: first column of the ink.
        top: first row of the ink.
        right: end of the ink's columns, exclusive.
        bottom: end of the ink's rows, exclusive.
        line: number of the line in reading order; words of a line are ordered from left to right.
    """

    text: str
    left: int
    top: int
    right: int
    bottom: int
    line: int


@dataclass(frozen=True)
class PagePair:
    """One page twice: as it was found and as it should be.

    Args:
        name: of the page, unique within its set.
        degraded: (H, W, 3) uint8 RGB.
        clean: like `degraded`, pixel for pixel; for binarization black text on white.
        words: in reading order; empty where they are not known.
    """

    name: str
    degraded: Image
    clean: Image
    words: tuple[Word, ...] = ()

    def __post_init__(self) -> None:
        if self.degraded.shape != self.clean.shape:
            raise ValueError(
                f"page {self.name!r}: the degraded image is {self.degraded.shape}, the clean one "
                f"{self.clean.shape}; both must show the same pixels"
            )
        if self.clean.dtype != np.uint8 or self.degraded.dtype != np.uint8:
            raise TypeError(
                f"page {self.name!r}: expected uint8, got {self.degraded.dtype} and "
                f"{self.clean.dtype}; round and clip to [0, 255] first"
            )


def page_text(words: Sequence[Word]) -> str:
    """Return the text of a page: words by blanks, lines by line ends, in reading order."""
    lines: dict[int, list[str]] = {}
    for word in words:
        lines.setdefault(word.line, []).append(word.text)
    return "\n".join(" ".join(texts) for _, texts in sorted(lines.items()))


def write_pages(pages: Iterable[PagePair], folder: Path) -> None:
    """Write each page as `<name>_degraded.png`, `<name>_clean.png` and `<name>_words.json`."""
    for page in pages:
        write_png(folder / f"{page.name}{DEGRADED}", page.degraded)
        write_png(folder / f"{page.name}{CLEAN}", page.clean)
        write_json(folder / f"{page.name}{WORDS}", [asdict(word) for word in page.words])


def read_pages(folder: Path) -> list[PagePair]:
    """Return the pages that `write_pages` wrote to a folder, sorted by name.

    Raises:
        FileError: if there is no page, or a file is missing or damaged.
    """
    names = sorted(path.name.removesuffix(CLEAN) for path in folder.glob(f"*{CLEAN}"))
    if not names:
        raise FileError(f"{folder}: holds no pages; run the stage that makes them again")
    return [
        PagePair(
            name,
            read_image(folder / f"{name}{DEGRADED}"),
            read_image(folder / f"{name}{CLEAN}"),
            _read_words(folder / f"{name}{WORDS}"),
        )
        for name in names
    ]


def _read_words(path: Path) -> tuple[Word, ...]:
    records: Any = read_json(path)
    try:
        return tuple(Word(**record) for record in records)
    except TypeError as error:
        raise FileError(f"{path}: not a list of words ({error}); run the stage again") from error
