"""Labels for pages whose words are not known: what an OCR engine reads on the clean image.

The published code labels its training pages so; rendered pages know their words and need no engine.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vismodels.config import ConfigError
from vismodels.data.pages import PagePair, Word, read_pages, write_pages
from vismodels.methods.nafdpm import ocr_engines
from vismodels.methods.nafdpm.config import Engine
from vismodels.metrics.dataset import ITEMS
from vismodels.metrics.pages import CHARACTERS, WORDS
from vismodels.results import Score, Value


class EngineMissingError(ConfigError):
    """An OCR engine that labels were asked of and that is not installed."""


def label_pages(pages: Iterable[PagePair], engine: Engine) -> Iterator[PagePair]:
    """Yield the pages with the words that an engine reads on their clean images.

    Pieces with blanks in them (RapidOCR reads lines) are kept as one word each; the critic reads
    them if its alphabet and canvas allow.

    Args:
        pages: words that are known already are replaced.
        engine: which one.

    Raises:
        EngineMissingError: if the engine is not installed.
    """
    for page in pages:
        words = ocr_engines.words(page.clean, engine)
        if words is None:
            raise EngineMissingError(
                f"labels of {engine} were asked for, but it is not installed; install the extra "
                "vismodels[ocr] (Tesseract needs its program too), or name pages with known words"
            )
        inked = [word for word in words if word.left < word.right and word.top < word.bottom]
        yield replace(page, words=tuple(inked))


def label_set(prepared: Path, engine: Engine, name: str, folder: Path) -> list[Score]:
    """Write all splits of a set of pages with labels, and return a record of each split.

    Args:
        prepared: folder of the stage that made the pages: one folder for each split.
        engine: which one reads.
        name: of the set.
        folder: where to write.

    Raises:
        EngineMissingError: if the engine is not installed.
        FileError: if a page is damaged.
    """
    scores = []
    for split in sorted(path.name for path in prepared.iterdir() if path.is_dir()):
        pages = list(label_pages(read_pages(prepared / split), engine))
        write_pages(pages, folder / split)
        scores.append(_score(name, split, pages))
    return scores


def _score(name: str, split: str, pages: Sequence[PagePair]) -> Score:
    def letters(words: Sequence[Word]) -> int:
        return sum(len(word.text) for word in words)

    words = {page.name: float(len(page.words)) for page in pages}
    characters = {page.name: float(letters(page.words)) for page in pages}
    return Score(
        stage="nafdpm_labels",
        variant=name,
        dataset={"card": name, "split": split, "items": len(pages)},
        values=[
            Value(ITEMS, len(pages)),
            Value(WORDS, sum(words.values()), words),
            Value(CHARACTERS, sum(characters.values()), characters),
        ],
    )
