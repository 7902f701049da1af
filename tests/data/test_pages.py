import numpy as np
import pytest

from vismodels.data.pages import PagePair, Word, page_text, read_pages, write_pages
from vismodels.files import FileError, write_json, write_text


def random_page(height=6, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pair(name="a", words=()):
    return PagePair(name, random_page(seed=1), random_page(seed=2), tuple(words))


def word(text, line, left=0):
    return Word(text, left, 0, left + 2, 3, line)


def test_text_has_words_by_blanks_and_lines_by_line_ends():
    words = [word("The", 0), word("quick", 0), word("fox.", 1), word("End", 2)]
    assert page_text(words) == "The quick\nfox.\nEnd"


def test_text_follows_the_numbers_of_lines_and_the_order_within_them():
    words = [word("third", 10), word("first", 2), word("second", 9), word("again", 2)]
    assert page_text(words) == "first again\nsecond\nthird"


def test_text_without_words_is_empty():
    assert page_text([]) == ""


def test_pages_come_back_as_they_were_written_sorted_by_name(tmp_path):
    first = pair("p 1 ü", [word("Straße", 0, 1), word('"x"', 1)])
    second = pair("p 2")
    write_pages([second, first], tmp_path / "set")
    pages = read_pages(tmp_path / "set")
    assert [page.name for page in pages] == ["p 1 ü", "p 2"]
    for read, written in zip(pages, (first, second), strict=True):
        assert np.array_equal(read.degraded, written.degraded)
        assert np.array_equal(read.clean, written.clean)
        assert read.words == written.words


def test_images_of_different_size_are_no_pair():
    with pytest.raises(ValueError, match=r"page 'a': .*\(6, 8, 3\).*\(6, 7, 3\)"):
        PagePair("a", random_page(), random_page(width=7))


@pytest.mark.parametrize("which", ["degraded", "clean"])
def test_float_images_are_refused(which):
    images = {"degraded": random_page(), "clean": random_page()}
    images[which] = images[which].astype(np.float32)
    with pytest.raises(TypeError, match=r"page 'a': expected uint8.*float32"):
        PagePair("a", **images)


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_pages_is_an_error_that_says_what_to_do(tmp_path, exists):
    folder = tmp_path / "none"
    if exists:
        folder.mkdir()
    with pytest.raises(FileError, match="none: holds no pages; run the stage"):
        read_pages(folder)


@pytest.mark.parametrize("suffix", ["degraded.png", "words.json"])
def test_a_missing_file_of_a_page_is_named(tmp_path, suffix):
    write_pages([pair()], tmp_path)
    (tmp_path / f"a_{suffix}").unlink()
    with pytest.raises(FileError, match=f"a_{suffix}: no such file"):
        read_pages(tmp_path)


@pytest.mark.parametrize("content", [[{"text": "x"}], [{"word": "x"}], ["x"], 3])
def test_damaged_words_are_named(tmp_path, content):
    write_pages([pair()], tmp_path)
    write_json(tmp_path / "a_words.json", content)
    with pytest.raises(FileError, match=r"a_words\.json: not a list of words"):
        read_pages(tmp_path)


def test_words_that_are_not_json_are_named(tmp_path):
    write_pages([pair()], tmp_path)
    write_text(tmp_path / "a_words.json", "[")
    with pytest.raises(FileError, match=r"a_words\.json: not valid JSON"):
        read_pages(tmp_path)
