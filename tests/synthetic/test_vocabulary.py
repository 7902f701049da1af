import re

import pytest

from vismodels.synthetic.vocabulary import CODAS, COMMON, NUCLEI, ONSETS, SHORT, SUFFIXES


@pytest.mark.parametrize("parts", [CODAS, COMMON, NUCLEI, ONSETS, SUFFIXES])
def test_words_and_their_parts_are_letters_in_lower_case(parts):
    assert all(re.fullmatch("[a-z]+", part) for part in parts)


def test_common_words_are_hundreds_of_different_words_that_belong_to_one_split():
    assert len(COMMON) == len(set(COMMON)) > 600
    assert min(map(len, COMMON)) > 3


def test_short_words_are_those_that_every_split_shares():
    assert max(map(len, SHORT)) <= 3
