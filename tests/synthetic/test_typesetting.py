from itertools import groupby, pairwise

import numpy as np
import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.synthetic.faces import find_face
from vismodels.synthetic.typesetting import PageStyle, set_page

SECTION = {
    "height": 400,
    "width": 480,
    "x_height": [9, 11],
    "leading": [2.4, 2.8],
    "margin": [10, 20],
    "columns": [1],
    "sentences": [2, 4],
    "headings": 0.0,
    "ragged": 0.0,
    "ink": [0, 0.2],
    "paper": [0.9, 1],
    "tint": 0.05,
}
FACES = [find_face("DejaVuSerif"), find_face("cmss10")]


def style(**changes):
    return parse_config(PageStyle, {**SECTION, **changes}, "style")


def lines_of(words):
    return [list(line) for _, line in groupby(words, lambda word: word.line)]


def page(seed=0, **changes):
    return set_page(style(**changes), FACES, "train", np.random.default_rng(seed))


def end(word):
    return word.x + word.font.getlength(word.text)


@pytest.mark.parametrize("seed", range(5))
def test_lines_are_numbered_downwards_and_words_stand_from_left_to_right(seed):
    lines = lines_of(page(seed, headings=0.5))
    assert [line[0].line for line in lines] == list(range(len(lines)))
    assert all(len({word.baseline for word in line}) == 1 for line in lines)
    for above, below in pairwise(lines):
        assert below[0].baseline > above[0].baseline
    for line in lines:
        for left, right in pairwise(line):
            assert right.x >= end(left)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("columns", [[1], [2]])
def test_words_stay_within_the_margins_and_fill_the_page_to_its_foot(seed, columns):
    words = page(seed, columns=columns, margin=[15, 15])
    assert min(word.x for word in words) >= 15
    assert max(end(word) for word in words) <= 480 - 15 + 1  # rounding of a start
    assert 400 - 15 - 11 * 2.8 * 1.6 < words[-1].baseline < 400 - 15


def test_columns_are_read_one_after_the_other_and_do_not_touch():
    words = page(columns=[2], margin=[16, 16])
    jump = next(k for k, (a, b) in enumerate(pairwise(words), 1) if b.baseline < a.baseline)
    first, second = words[:jump], words[jump:]
    assert max(end(word) for word in first) + 9 < min(word.x for word in second)
    assert sorted(word.line for word in words) == [word.line for word in words]


def ends_of_lines(**changes):
    return [end(line[-1]) for line in lines_of(page(margin=[16, 16], **changes))]


def test_most_lines_of_a_justified_page_end_at_the_margin():
    justified, ragged = ends_of_lines(ragged=0.0), ends_of_lines(ragged=1.0)
    at_margin = sum(abs(place - (480 - 16)) <= 1 for place in justified)
    assert at_margin / len(justified) > 0.6
    assert sum(abs(place - (480 - 16)) <= 1 for place in ragged) / len(ragged) < 0.3


def test_headings_are_larger_than_the_text():
    sizes = {word.font.size for word in page(headings=1.0)}
    assert len(sizes) == 2
    assert len({word.font.size for word in page(headings=0.0)}) == 1


def test_a_column_too_narrow_for_a_word_leaves_it_out():
    words = page(width=100, margin=[10, 10], x_height=[11, 11])
    assert words
    assert max(end(word) for word in words) <= 91


def test_a_page_depends_on_the_generator_only():
    first, again, other = (
        [(w.text, w.x, w.baseline) for w in page(seed, headings=0.3)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": [3]}, "style.columns"),
        ({"columns": []}, "style.columns"),
        ({"x_heigth": [9, 11]}, "did you mean 'x_height'"),
        ({"x_height": [0, 11]}, r"x_height.*at least 4 pixels"),
        ({"leading": [1.5, 2]}, r"leading.*at least 2\.2"),
        ({"ink": [0.5, 0.95]}, "darker than the paper"),
    ],
)
def test_styles_that_make_no_page_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        style(**changes)
