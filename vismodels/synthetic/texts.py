"""Texts for rendered pages: common English words, invented ones, numbers and random tokens.

Words belong to one split each, by a hash of their letters: no word of more than three
letters stands in two splits, so a network cannot restore a word of the test pages from memory.
"""

import hashlib
import re
import string
from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np

from vismodels.synthetic.vocabulary import CODAS, COMMON, NUCLEI, ONSETS, SHORT, SUFFIXES

Split = Literal["train", "validation", "test", "judge"]
# Printable ASCII without "$<>\^_`{|}~, which some faces draw as other characters.
CHARACTERS = string.ascii_letters + string.digits + "!#%&'()*+,-./:;=?@[]"
SHARED_LETTERS = 3  # words up to this length may stand in every split

# Without the letters and digits that some faces draw alike.
_CODE_SYMBOLS = "".join(sorted({*string.ascii_letters} - {*"IOlo"}) + ["23456789"] * 2)
_OWNERS: tuple[Split, ...] = ("train",) * 4 + ("validation",) + ("test",) * 3 + ("judge",) * 2
_WORD = re.compile(r"[a-z]+")
T = TypeVar("T")


def split_of(word: str) -> Split | None:
    """Return the split that owns a word, None for one of up to three letters, which all may use.

    40 % of all words belong to "train", 30 % to "test", 20 % to "judge", 10 % to "validation".

    Args:
        word: letters only; upper and lower case are the same.
    """
    if len(word) <= SHARED_LETTERS:
        return None
    digest = hashlib.sha256(word.lower().encode()).digest()
    return _OWNERS[int.from_bytes(digest[:8], "big") % len(_OWNERS)]


def long_words(text: str) -> set[str]:
    """Return the words of more than three letters in a text, in lower case.

    A word is an unbroken run of letters: "Mid-autumn's" holds "autumn".
    """
    return {word for word in _WORD.findall(text.lower()) if len(word) > SHARED_LETTERS}


def draw_sentence(split: Split, rng: np.random.Generator) -> list[str]:
    """Return the words of a sentence of `split`, with capitals and punctuation.

    Args:
        split: whose words are used.
        rng: source of all choices.

    Returns:
        4 to 16 words of `CHARACTERS`, none empty or with a blank.
    """
    words = [_draw_token(split, rng) for _ in range(rng.integers(4, 17))]
    words[0] = words[0][0].upper() + words[0][1:]
    for place in range(1, len(words) - 1):
        chance = rng.random()
        if chance < 0.08:
            words[place] += ","
        elif chance < 0.11:
            words[place] += _pick(";:", rng)
        elif chance < 0.13:
            words[place] = _pick(("({})", "[{}]", "'{}'"), rng).format(words[place])
    words[-1] += _pick("........!??", rng)
    return words


def draw_heading(split: Split, rng: np.random.Generator) -> list[str]:
    """Return the words of a heading of `split`: capitalized, without a full stop."""
    words = [_draw_letters(split, rng) for _ in range(rng.integers(1, 4))]
    heading = [word.upper() for word in words] if rng.random() < 0.2 else [w.title() for w in words]
    if rng.random() < 0.4:
        heading.insert(0, f"{rng.integers(1, 10)}.{rng.integers(1, 10)}")
    return heading


def _draw_token(split: Split, rng: np.random.Generator) -> str:
    chance = rng.random()
    if chance < 0.25:
        return _pick(SHORT, rng)
    if chance < 0.80:
        word = _draw_letters(split, rng)
        change = rng.random()
        if change < 0.12:
            return word.title()
        if change < 0.16:
            return word.upper()
        if change < 0.19:
            return f"{word}-{_draw_letters(split, rng)}"
        return f"{word}'s" if change < 0.21 else word
    if chance < 0.94:
        return _draw_number(rng)
    return _draw_code(split, rng)


def _draw_letters(split: Split, rng: np.random.Generator) -> str:
    while True:
        word = _pick(COMMON, rng) if rng.random() < 0.5 else _invent_word(rng)
        if split_of(word) in (split, None):
            return word


def _invent_word(rng: np.random.Generator) -> str:
    """Return an invented word of one to three syllables that can be pronounced as English."""
    word = ""
    for _ in range(_pick((1, 2, 2, 2, 3), rng)):
        word += _pick(ONSETS, rng) + _pick(NUCLEI, rng)
        if rng.random() < 0.35:
            word += _pick(CODAS, rng)
    return word + _pick(SUFFIXES, rng) if rng.random() < 0.3 else word


def _draw_number(rng: np.random.Generator) -> str:
    kind = rng.integers(6)
    if kind == 0:
        return str(rng.integers(1500, 2100))  # a year
    if kind == 1:
        return f"{rng.integers(1, 1000)}.{rng.integers(100):02d}"  # an amount
    if kind == 2:
        return f"{rng.integers(1, 100)},{rng.integers(1000):03d}"
    if kind == 3:
        return f"{rng.integers(1, 100)}%"
    if kind == 4:
        separator = _pick("/-:", rng)
        return f"{rng.integers(1, 32)}{separator}{rng.integers(10, 60)}"
    return str(rng.integers(0, 10 ** rng.integers(1, 6)))


def _draw_code(split: Split, rng: np.random.Generator) -> str:
    """Return a token that nobody can guess from its beginning: letters, digits, a few signs."""
    while True:
        code = "".join(_pick(_CODE_SYMBOLS, rng) for _ in range(rng.integers(2, 8)))
        if rng.random() < 0.3:
            place = rng.integers(1, len(code))
            code = code[:place] + _pick("#&*+-./=@", rng) + code[place:]
        if all(split_of(word) == split for word in long_words(code)):
            return code


def _pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]
