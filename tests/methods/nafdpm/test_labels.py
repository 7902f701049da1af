from dataclasses import replace

import pytest
from small_pages import text_page

from vismodels.data.pages import read_pages, write_pages
from vismodels.methods.nafdpm import ocr_engines
from vismodels.methods.nafdpm.labels import EngineMissingError, label_pages, label_set

PAGES = [text_page(f"page{number}", number) for number in range(2)]


@pytest.fixture
def perfect_engine(monkeypatch):
    words = {page.clean.tobytes(): list(page.words) for page in PAGES}
    monkeypatch.setattr(ocr_engines, "words", lambda image, engine: words[image.tobytes()])


def test_pages_get_the_words_of_the_engine(perfect_engine):
    silent = [replace(page, words=()) for page in PAGES]
    assert [page.words for page in label_pages(silent, "tesseract")] == [p.words for p in PAGES]


def test_boxes_without_ink_are_dropped(monkeypatch):
    (first, *_) = PAGES[0].words
    flat = replace(first, bottom=first.top)
    monkeypatch.setattr(ocr_engines, "words", lambda image, engine: [first, flat])
    (page,) = label_pages(PAGES[:1], "tesseract")
    assert page.words == (first,)


def test_a_missing_engine_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(ocr_engines, "words", lambda image, engine: None)
    with pytest.raises(EngineMissingError, match=r"tesseract.*vismodels\[ocr\]"):
        list(label_pages(PAGES, "tesseract"))


def test_a_set_is_written_with_its_splits(perfect_engine, tmp_path):
    silent = [replace(page, words=()) for page in PAGES]
    write_pages(silent[:1], tmp_path / "made" / "train")
    write_pages(silent[1:], tmp_path / "made" / "test")
    scores = label_set(tmp_path / "made", "tesseract", "scans", tmp_path / "labelled")
    assert [record.dataset["split"] for record in scores] == ["test", "train"]
    (train,) = read_pages(tmp_path / "labelled" / "train")
    assert train.words == PAGES[0].words
    assert scores[1].value("words").value == len(PAGES[0].words)
