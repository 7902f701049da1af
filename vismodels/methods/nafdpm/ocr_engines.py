"""OCR engines that may be installed: Tesseract (Smith, ICDAR 2007) and RapidOCR (PP-OCRv4).

They judge restored pages beside the trained recognizer, and label pages as the published code does.
An engine that is not there gives None, never an empty text: a table shows `n/a`, not an error rate.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module, metadata
from typing import Any, Literal

from vismodels.config import suggestion
from vismodels.data.pages import Image, Word, page_text

Engine = Literal["tesseract", "rapidocr"]
ENGINES: tuple[Engine, ...] = ("tesseract", "rapidocr")
LANGUAGE = "eng"  # of Tesseract
LEAST_CONFIDENCE: dict[Engine, float] = {"tesseract": 0.80, "rapidocr": 0.85}  # as published


def available_engines() -> dict[Engine, str]:
    """Return the engines that can read here, with their versions.

    Tesseract needs the package pytesseract, the program and its English data; RapidOCR the package
    rapidocr-onnxruntime.
    """
    versions = {engine: _version(engine) for engine in ENGINES}
    return {engine: version for engine, version in versions.items() if version is not None}


def read(image: Image, engine: Engine) -> str | None:
    """Return the text of a page in the order of the engine, lines by line ends.

    RapidOCR leaves out many blanks: compare with `metrics.text.cer(..., ignore_blanks=True)`.

    Args:
        image: (H, W, 3) uint8 RGB.
        engine: one of `ENGINES`.

    Returns:
        None if the engine is not available.

    Raises:
        ValueError: for an unknown engine, with the nearest name.
    """
    found = words(image, engine, least_confidence=0.0)
    return None if found is None else page_text(found)


def words(image: Image, engine: Engine, least_confidence: float | None = None) -> list[Word] | None:
    """Return what an engine reads on a page, piece by piece: labels instead of the true ones.

    Pieces are words for Tesseract. For RapidOCR they are whole lines, or what it takes for such,
    with blanks in the text.

    Args:
        image: (H, W, 3) uint8 RGB.
        engine: one of `ENGINES`.
        least_confidence: of a piece that is kept, from 0 to 1; None for the published values, 0.80
            and 0.85.

    Returns:
        In the order of the engine; boxes are clipped to the page, slanted ones enclosed. None if
        the engine is not available.

    Raises:
        ValueError: for an unknown engine, with the nearest name.
    """
    if _version(engine) is None:
        return None
    least = LEAST_CONFIDENCE[engine] if least_confidence is None else least_confidence
    if engine == "tesseract":
        return _tesseract_words(image, least)
    return _rapidocr_words(image, least)


@cache
def _version(engine: Engine) -> str | None:
    """Return the version of an engine; None if it, or something it needs, is not installed."""
    if engine not in ENGINES:
        raise ValueError(f"no OCR engine is called {engine!r}{suggestion(engine, ENGINES)}")
    try:
        if engine == "rapidocr":
            import_module("rapidocr_onnxruntime")
            return metadata.version("rapidocr-onnxruntime")
        tesseract = import_module("pytesseract")
    except ImportError:
        return None
    try:
        languages = tesseract.get_languages()
    except tesseract.TesseractNotFoundError:
        return None
    return str(tesseract.get_tesseract_version()) if LANGUAGE in languages else None


def _tesseract_words(image: Image, least: float) -> list[Word]:
    tesseract = import_module("pytesseract")
    table = tesseract.image_to_data(image, lang=LANGUAGE, output_type=tesseract.Output.DICT)
    columns = ("text", "conf", "left", "top", "width", "height")
    places = list(zip(*(table[f"{part}_num"] for part in ("block", "par", "line")), strict=True))
    lines = {place: number for number, place in enumerate(dict.fromkeys(places))}
    found = []
    for row in zip(places, *(table[column] for column in columns), strict=True):
        place, text, confidence, left, top, width, height = row
        if text.strip() and confidence >= 100 * least:
            box = (left, top, left + width, top + height)
            found.append(_word(text.strip(), box, lines[place], image))
    return found


def _rapidocr_words(image: Image, least: float) -> list[Word]:
    pieces, _ = _rapidocr()(image[:, :, ::-1])  # it expects the channels in OpenCV's order
    found = []
    for line, (corners, text, confidence) in enumerate(pieces or ()):
        if text.strip() and confidence >= least:
            x, y = zip(*corners, strict=True)
            found.append(_word(text.strip(), (min(x), min(y), max(x), max(y)), line, image))
    return found


@cache
def _rapidocr() -> Any:
    """Return the engine on one thread, loaded once."""
    module = import_module("rapidocr_onnxruntime")
    return module.RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def _word(text: str, box: Sequence[float], line: int, image: Image) -> Word:
    height, width = image.shape[:2]
    left, top, right, bottom = (
        min(max(round(edge), 0), whole)
        for edge, whole in zip(box, (width, height, width, height), strict=True)
    )
    return Word(text, left, top, right, bottom, line)
