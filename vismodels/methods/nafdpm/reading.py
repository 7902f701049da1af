"""Readers of restored pages: the judge at the words' places, OCR engines by themselves."""

from collections.abc import Mapping, Sequence

from vismodels.data.pages import Image, PagePair, page_text
from vismodels.data.words import Alphabet
from vismodels.methods.nafdpm import ocr_engines
from vismodels.methods.nafdpm.config import Engine
from vismodels.methods.nafdpm.recognizer import page_cer
from vismodels.metrics.text import CER, CER_RAPIDOCR, CER_TESSERACT, cer
from vismodels.nn.crnn import CRNN
from vismodels.results import Metric, Value, mean_value

ENGINE_METRICS: Mapping[Engine, Metric] = {"tesseract": CER_TESSERACT, "rapidocr": CER_RAPIDOCR}
WITHOUT_BLANKS: tuple[Engine, ...] = ("rapidocr",)  # it glues words together


class Readers:
    """What measures whether a page can be read.

    Args:
        judge: a recognizer that no training used.
        engines: OCR engines to use where they are installed.
        engine_pages: the number of pages of a set that these read.
    """

    def __init__(self, judge: CRNN, engines: Sequence[Engine], engine_pages: int) -> None:
        self._judge = judge
        self._alphabet = Alphabet()
        installed = ocr_engines.available_engines()
        self._engines = [engine for engine in engines if installed.get(engine)]
        self._engine_pages = engine_pages

    def read(
        self, pages: Sequence[PagePair], results: Mapping[str, Image], *, engines: bool = True
    ) -> list[Value]:
        """Return the character error rates of restored pages.

        Args:
            pages: with their words; those without known words are left out.
            results: page -> (H, W, 3) uint8.
            engines: whether the OCR engines read too.

        Returns:
            The judge's rate and one for each engine that is installed; nothing if no page has known
            words.
        """
        known = [page for page in pages if page.words]
        if not known:
            return []
        rates = {
            page.name: page_cer(self._judge, self._alphabet, results[page.name], page.words)
            for page in known
        }
        values = [mean_value(CER, rates)]
        for engine in self._engines if engines else ():
            read = {
                page.name: cer(
                    ocr_engines.read(results[page.name], engine) or "",  # it is installed
                    page_text(page.words),
                    ignore_blanks=engine in WITHOUT_BLANKS,
                )
                for page in known[: self._engine_pages]
            }
            values.append(mean_value(ENGINE_METRICS[engine], read))
        return values
