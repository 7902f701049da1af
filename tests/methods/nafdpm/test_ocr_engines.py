import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from vismodels.data.pages import Word
from vismodels.methods.nafdpm import ocr_engines as module
from vismodels.methods.nafdpm.ocr_engines import ENGINES, available_engines, read, words
from vismodels.metrics.text import cer

TEXT = ("The quick brown fox", "jumps over 27 lazy dogs.")


@pytest.fixture(scope="module")
def page():
    image = Image.new("RGB", (420, 120), "white")
    font = ImageFont.load_default(28)
    for line, text in enumerate(TEXT):
        ImageDraw.Draw(image).text((20, 15 + 48 * line), text, "black", font)
    return np.asarray(image)


@pytest.fixture
def engines(monkeypatch):
    """Return a function that says which modules there are instead of the installed ones."""
    module._version.cache_clear()
    module._rapidocr.cache_clear()

    def replace(**modules):
        def find(name):
            if name not in modules:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return modules[name]

        monkeypatch.setattr(module, "import_module", find)
        monkeypatch.setattr(module.metadata, "version", lambda name: "1.4.4")

    yield replace
    module._version.cache_clear()
    module._rapidocr.cache_clear()


class NotFound(OSError):
    pass


def tesseract(table=None, languages=("eng", "osd")):
    return SimpleNamespace(
        TesseractNotFoundError=NotFound,
        Output=SimpleNamespace(DICT="dict"),
        get_languages=lambda: list(languages),
        get_tesseract_version=lambda: "5.3.0",
        image_to_data=lambda image, lang, output_type: table,
    )


def rapidocr(pieces, seen=None):
    def engine(image):
        if seen is not None:
            seen.append(image)
        return pieces, [0.1]

    return SimpleNamespace(RapidOCR=lambda **threads: engine)


TABLE = {
    "block_num": [1, 1, 1, 1, 2],
    "par_num": [1, 1, 1, 1, 1],
    "line_num": [0, 1, 1, 2, 1],
    "text": ["", "The", "en d", "of", " it "],
    "conf": [-1, 96.5, 79.9, 80, 90],
    "left": [0, 5, 30, 5, 400],
    "top": [0, 5, 5, 20, 40],
    "width": [50, 20, 20, 15, 60],
    "height": [50, 10, 10, 10, 12],
}


# --- absent ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_that_is_not_installed_gives_none_and_raises_nothing(engines, page, engine):
    engines()
    assert available_engines() == {}
    assert read(page, engine) is None
    assert words(page, engine) is None


def test_tesseract_without_its_program_is_absent(engines, page):
    def missing():
        raise NotFound("tesseract is not installed or it's not in your PATH")

    wrapper = tesseract()
    wrapper.get_languages = missing
    engines(pytesseract=wrapper)
    assert available_engines() == {}
    assert read(page, "tesseract") is None


def test_tesseract_without_english_is_absent(engines):
    engines(pytesseract=tesseract(languages=["osd"]))
    assert available_engines() == {}


def test_installed_engines_are_listed_with_their_versions(engines):
    engines(pytesseract=tesseract(), rapidocr_onnxruntime=rapidocr([]))
    assert available_engines() == {"tesseract": "5.3.0", "rapidocr": "1.4.4"}


def test_an_unknown_engine_is_an_error_with_the_nearest_name(page):
    for function in (read, words):
        with pytest.raises(ValueError, match="'teseract'; did you mean 'tesseract'"):
            function(page, "teseract")


# --- what engines return -----------------------------------------------------------------------


def test_tesseract_words_have_boxes_and_numbered_lines(engines):
    engines(pytesseract=tesseract(TABLE))
    image = np.zeros((50, 450, 3), np.uint8)
    assert words(image, "tesseract") == [
        Word("The", 5, 5, 25, 15, 1),
        Word("of", 5, 20, 20, 30, 2),
        Word("it", 400, 40, 450, 50, 3),  # stripped, and clipped to the page
    ]


def test_reading_keeps_what_is_too_unsure_for_a_label(engines):
    engines(pytesseract=tesseract(TABLE))
    assert read(np.zeros((50, 450, 3), np.uint8), "tesseract") == "The en d\nof\nit"


def test_rapidocr_lines_are_enclosed_and_chosen_by_confidence(engines):
    pieces = [
        [[[4.6, 3.0], [50.2, 1.4], [50.0, 20.0], [5.0, 21.6]], "The end", 0.85],
        [[[5.0, 30.0], [50.0, 30.0], [50.0, 45.0], [5.0, 45.0]], "of it", 0.84],
    ]
    engines(rapidocr_onnxruntime=rapidocr(pieces))
    image = np.zeros((50, 60, 3), np.uint8)
    assert words(image, "rapidocr") == [Word("The end", 5, 1, 50, 22, 0)]
    assert words(image, "rapidocr", least_confidence=0.9) == []
    assert read(image, "rapidocr") == "The end\nof it"


def test_rapidocr_is_given_blue_first(engines):
    seen = []
    engines(rapidocr_onnxruntime=rapidocr([], seen))
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 0] = 200
    read(image, "rapidocr")
    assert seen[0][0, 0].tolist() == [0, 0, 200]


def test_a_page_on_which_rapidocr_finds_nothing_has_an_empty_text(engines):
    engines(rapidocr_onnxruntime=rapidocr(None))
    assert read(np.zeros((9, 9, 3), np.uint8), "rapidocr") == ""


# --- the real engines --------------------------------------------------------------------------


def needed(engine):
    """Skip unless an engine is here, found without the code under test."""
    if engine == "rapidocr":
        pytest.importorskip("rapidocr_onnxruntime")
        return
    pytest.importorskip("pytesseract")
    program = shutil.which("tesseract")
    if program is None:
        pytest.skip("the program tesseract is not installed")
    listed = subprocess.run([program, "--list-langs"], capture_output=True, text=True, check=True)
    if "eng" not in listed.stdout.split():
        pytest.skip("Tesseract's English data are not installed")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_installed_engine_is_found(engine):
    needed(engine)
    module._version.cache_clear()
    assert engine in available_engines()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_installed_engine_reads_a_clear_page(engine, page):
    needed(engine)
    module._version.cache_clear()
    assert cer(read(page, engine), " ".join(TEXT), ignore_blanks=True) < 0.1
    found = words(page, engine)
    assert found
    for word in found:
        box = page[word.top : word.bottom, word.left : word.right]
        assert (box < 128).any()
    ink = (page < 128).any(axis=(1, 2)).nonzero()[0]
    assert min(word.top for word in found) <= ink[0] + 4
    assert max(word.bottom for word in found) >= ink[-1] - 8  # the last row is a descender's
