from dataclasses import replace

import pytest
from small_pages import text_page

from vismodels.data.pages import page_text
from vismodels.data.words import Alphabet
from vismodels.methods.nafdpm import ocr_engines, reading
from vismodels.methods.nafdpm.reading import Readers
from vismodels.nn.crnn import CRNN

PAGES = [text_page(f"page{number}", number) for number in range(3)]
CLEAN = {page.name: page.clean for page in PAGES}


@pytest.fixture
def judge():
    return CRNN(classes=Alphabet().classes, widths=(4,) * 7, hidden=4, recurrent_layers=1).eval()


@pytest.fixture
def engines(monkeypatch):
    """Two engines that read perfectly; RapidOCR without blanks."""
    texts = {page.clean.tobytes(): page_text(page.words) for page in PAGES}

    def read(image, engine):
        text = texts[image.tobytes()]
        return text.replace(" ", "") if engine == "rapidocr" else text

    monkeypatch.setattr(
        ocr_engines, "available_engines", lambda: {"tesseract": "5", "rapidocr": "1"}
    )
    monkeypatch.setattr(ocr_engines, "read", read)


def test_the_judge_reads_every_page_with_known_words(judge):
    (rates,) = Readers(judge, (), 0).read(PAGES, CLEAN)
    assert rates.metric.name == "cer"
    assert rates.items.keys() == CLEAN.keys()
    silent = replace(PAGES[1], words=())
    (rates,) = Readers(judge, (), 0).read([PAGES[0], silent], CLEAN)
    assert rates.items.keys() == {"page0"}


def test_pages_without_words_have_no_rate_at_all(judge):
    assert Readers(judge, (), 0).read([replace(PAGES[0], words=())], CLEAN) == []


def test_engines_read_as_many_pages_as_asked_and_blanks_count_for_tesseract_only(judge, engines):
    readers = Readers(judge, ("tesseract", "rapidocr"), 2)
    values = {v.metric.name: v for v in readers.read(PAGES, CLEAN)}
    assert values["cer_tesseract"].value == values["cer_rapidocr"].value == 0
    assert values["cer_tesseract"].items.keys() == {"page0", "page1"}


def test_an_absent_engine_leaves_no_value_instead_of_a_zero(judge, monkeypatch):
    monkeypatch.setattr(ocr_engines, "available_engines", dict)
    values = Readers(judge, ("tesseract", "rapidocr"), 2).read(PAGES, CLEAN)
    assert [value.metric.name for value in values] == ["cer"]


def test_rows_of_further_seeds_are_not_read_by_engines(judge, engines):
    values = Readers(judge, ("tesseract",), 2).read(PAGES, CLEAN, engines=False)
    assert [value.metric.name for value in values] == ["cer"]


def test_every_engine_has_a_metric():
    assert set(reading.ENGINE_METRICS) == set(ocr_engines.ENGINES)
