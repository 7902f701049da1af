import re
import typing

import numpy as np
import pytest

from vismodels.synthetic.texts import (
    CHARACTERS,
    Split,
    draw_heading,
    draw_sentence,
    long_words,
    split_of,
)
from vismodels.synthetic.vocabulary import COMMON

SPLITS = typing.get_args(Split)


def text(split, sentences=300, seed=0):
    rng = np.random.default_rng(seed)
    return [word for _ in range(sentences) for word in draw_sentence(split, rng)]


def test_the_owner_of_a_word_never_changes():
    # Fixed once: another answer would move words between the splits of published results.
    owners = {word: split_of(word) for word in ("about", "paper", "river", "window", "zebra")}
    assert owners == {
        "about": "test",
        "paper": "train",
        "river": "test",
        "window": "train",
        "zebra": "test",
    }


def test_case_does_not_matter_and_short_words_belong_to_all():
    assert split_of("Paper") == split_of("PAPER") == split_of("paper")
    assert split_of("sea") is split_of("of") is None
    assert split_of("seas") in SPLITS


def test_words_are_divided_in_the_stated_shares():
    owners = [split_of(word) for word in COMMON]
    for split, share in {"train": 0.4, "validation": 0.1, "test": 0.3, "judge": 0.2}.items():
        assert owners.count(split) / len(owners) == pytest.approx(share, abs=0.05)


def test_long_words_are_runs_of_more_than_three_letters():
    assert long_words("Mid-autumn's THE x7ABCD2abc, 'Paper' 1984") == {"autumn", "abcd", "paper"}


@pytest.mark.parametrize("split", SPLITS)
def test_every_long_word_belongs_to_the_split(split):
    rng = np.random.default_rng(1)
    headings = [word for _ in range(100) for word in draw_heading(split, rng)]
    words = long_words(" ".join(text(split) + headings))
    assert len(words) > 300
    assert {split_of(word) for word in words} == {split}


def test_words_are_printable_and_the_whole_alphabet_occurs():
    words = text("train", 800)
    assert all(words)
    assert set("".join(words)) == set(CHARACTERS)


def test_a_text_mixes_common_words_invented_ones_numbers_and_codes():
    words = text("train", 1000)
    letters = [word for word in words if re.fullmatch("[a-z]{4,}", word)]
    common = sum(word in COMMON for word in letters) / len(letters)
    numbers = sum(re.fullmatch(r"[\d.,:/%-]+", word) is not None for word in words)
    codes = sum(re.search(r"\d[a-zA-Z]|[a-zA-Z]\d", word) is not None for word in words)
    assert 0.3 < common < 0.7
    assert 0.08 < numbers / len(words) < 0.25
    assert 0.01 < codes / len(words) < 0.1


def test_few_long_words_come_again_so_that_none_is_learnt_by_heart():
    first, second = (long_words(" ".join(text("train", seed=seed))) for seed in (0, 1))
    assert len(first & second - set(COMMON)) < 0.1 * len(first)


def test_a_sentence_starts_with_a_capital_or_figure_and_ends_with_a_mark():
    rng = np.random.default_rng(0)
    for _ in range(200):
        sentence = draw_sentence("judge", rng)
        assert 4 <= len(sentence) <= 16
        assert re.match("[A-Z0-9]", sentence[0])
        assert sentence[-1][-1] in ".!?"


def test_a_heading_has_capitals_and_no_full_stop():
    rng = np.random.default_rng(0)
    headings = [draw_heading("test", rng) for _ in range(200)]
    assert all(re.match("[A-Z0-9]", word) for heading in headings for word in heading)
    assert not any(heading[-1].endswith(".") for heading in headings)
    assert any(re.fullmatch(r"\d\.\d", heading[0]) for heading in headings)


def test_texts_depend_on_the_generator_only():
    assert text("train", 5) == text("train", 5)
    assert text("train", 5) != text("train", 5, seed=1)
