import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.metrics.text import cer

TEXTS = st.text("ab c", max_size=8)


def levenshtein(a, b):
    """Return the edit distance by the recurrence that defines it."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        ("kitten", "sitting", 3 / 7),  # two substitutions, one insertion
        ("abc", "abc", 0),
        ("", "abcd", 1),
        ("abcdefgh", "ab", 3),  # above 1
        ("Abc", "abc", 1 / 3),
        ("naïve", "naive", 1 / 5),
        ("a b", "ab", 1 / 2),
        ("ab", "a b", 1 / 3),
    ],
)
def test_rates_counted_by_hand(hypothesis, reference, expected):
    assert cer(hypothesis, reference) == pytest.approx(expected)


def test_runs_of_white_space_are_one_blank():
    assert cer("  two\n lines\t", "two lines") == 0
    assert cer("twolines", " two \n\n lines ") == pytest.approx(1 / 9)


def test_blanks_can_be_left_out_on_both_sides():
    assert cer("twolines", "two\nlines", ignore_blanks=True) == 0
    assert cer("t w o", "twa", ignore_blanks=True) == pytest.approx(1 / 3)


@pytest.mark.parametrize("reference", ["", " \n "])
@pytest.mark.parametrize("hypothesis", ["", "text"])
def test_an_empty_reference_has_no_rate(hypothesis, reference):
    assert math.isnan(cer(hypothesis, reference))
    assert math.isnan(cer(hypothesis, reference, ignore_blanks=True))


@given(TEXTS, TEXTS)
def test_the_rate_is_the_edit_distance_per_character(hypothesis, reference):
    found, true = " ".join(hypothesis.split()), " ".join(reference.split())
    if true:
        assert cer(hypothesis, reference) == levenshtein(found, true) / len(true)
