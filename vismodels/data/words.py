"""Words as a recognizer sees them: symbols as numbers, crops as small white canvases."""

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from vismodels.data.pages import Word

# All 95 printable characters of ASCII, blank included, and the sign of the euro.
SYMBOLS = " " + string.digits + string.ascii_letters + string.punctuation + "€"
CANVAS = (32, 128)  # rows and columns, pixels
LONGEST_LABEL = 25
MARGIN = 2  # pixels of paper around the ink


class Alphabet:
    """Symbols and their classes; class 0 is the blank of CTC, which no symbol shares.

    The published code takes the backtick for both.

    Args:
        symbols: each of them once.

    Raises:
        ValueError: if there is none, or one comes twice.
    """

    BLANK = 0

    def __init__(self, symbols: str = SYMBOLS) -> None:
        if not symbols:
            raise ValueError("an alphabet needs at least one symbol")
        twice = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
        if twice:
            raise ValueError(f"the symbols {twice} come twice; give each of them once")
        self.symbols = symbols
        self._classes = {symbol: number for number, symbol in enumerate(symbols, start=1)}

    @property
    def classes(self) -> int:
        """The number of classes, the blank included."""
        return len(self.symbols) + 1

    def spells(self, text: str) -> bool:
        """Return whether every character of `text` is a symbol."""
        return all(character in self._classes for character in text)

    def encode(self, text: str) -> list[int]:
        """Return the classes of the characters of `text`.

        Raises:
            ValueError: for a character that is no symbol.
        """
        if not self.spells(text):
            foreign = sorted(set(text) - self._classes.keys())
            raise ValueError(
                f"the alphabet lacks {foreign} of {text!r}; leave such words out, as "
                "data.words.qualifies does"
            )
        return [self._classes[character] for character in text]

    def decode(self, path: Iterable[int]) -> str:
        """Return what a path of CTC spells: runs of one class count once, then blanks are dropped.

        Args:
            path: the class of each frame.
        """
        text, previous = [], self.BLANK
        for current in path:
            if current not in (previous, self.BLANK):
                text.append(self.symbols[current - 1])
            previous = current
        return "".join(text)


def greedy_decode(log_probs: Tensor, alphabet: Alphabet) -> list[str]:
    """Return what the most probable class of each frame spells, for each item.

    Args:
        log_probs: (B, T, K) with K = `alphabet.classes`.
        alphabet: whose classes they are.

    Raises:
        ValueError: if K is another number.
    """
    if log_probs.ndim != 3 or log_probs.shape[2] != alphabet.classes:
        raise ValueError(
            f"expected (B, T, {alphabet.classes}) for this alphabet, got {tuple(log_probs.shape)}"
        )
    return [alphabet.decode(path) for path in log_probs.argmax(dim=2).tolist()]


def qualifies(
    word: Word,
    alphabet: Alphabet,
    size: tuple[int, int] = CANVAS,
    longest: int = LONGEST_LABEL,
) -> bool:
    """Return whether a recognizer can be asked to read a word.

    As published: the ink is smaller than the canvas and the label is not too long. The label is
    not empty, and the alphabet can spell it.

    Args:
        word: with its box.
        alphabet: of the recognizer.
        size: rows and columns of the canvas.
        longest: number of characters.
    """
    height, width = word.bottom - word.top, word.right - word.left
    fits = 0 < height < size[0] and 0 < width < size[1]
    return fits and 0 < len(word.text) <= longest and alphabet.spells(word.text)


def words_inside(words: Iterable[Word], top: int, left: int, size: tuple[int, int]) -> list[Word]:
    """Return the words whose boxes lie wholly inside a window of a page, in its coordinates.

    Args:
        words: of the page.
        top: first row of the window.
        left: its first column.
        size: its rows and columns.
    """
    moved = (
        replace(
            word,
            left=word.left - left,
            right=word.right - left,
            top=word.top - top,
            bottom=word.bottom - top,
        )
        for word in words
    )
    return [
        word
        for word in moved
        if min(word.left, word.top) >= 0 and word.right <= size[1] and word.bottom <= size[0]
    ]


def word_crop(
    image: Tensor, word: Word, size: tuple[int, int] = CANVAS, margin: int = MARGIN
) -> Tensor:
    """Return a word at its own size in the middle of a white canvas.

    Gradients flow back to `image`. Where the canvas or the image leaves less room than `margin`,
    there is less margin.

    Args:
        image: (C, H, W); floating point, white is 1, or uint8, white is 255.
        word: its box lies inside the image.
        size: rows and columns of the canvas; the box is not larger.
        margin: pixels around the box that are shown too.

    Returns:
        (C, *size), of the dtype of `image`.

    Raises:
        ValueError: if the box is empty, leaves the image, or is larger than the canvas.
    """
    top, bottom, above, below = _span(word.top, word.bottom, image.shape[1], size[0], margin, word)
    left, right, before, after = _span(word.left, word.right, image.shape[2], size[1], margin, word)
    white = 1 if image.is_floating_point() else 255
    window = image[:, top:bottom, left:right]
    return functional.pad(window, (before, after, above, below), value=white)


def word_crops(
    images: Tensor,
    words: Sequence[Sequence[Word]],
    size: tuple[int, int] = CANVAS,
    margin: int = MARGIN,
) -> Tensor:
    """Return the crops of the words of all images, (N, C, *size), in their order.

    Args:
        images: (B, C, H, W), like the image of `word_crop`.
        words: of each image; those of an image may be none.
        size: rows and columns of the canvas.
        margin: pixels around the boxes.

    Raises:
        ValueError: as `word_crop`, or if `words` has not one entry for each image.
    """
    if len(words) != len(images):
        raise ValueError(f"expected the words of {len(images)} images, got {len(words)} lists")
    crops = [
        word_crop(image, word, size, margin)
        for image, boxes in zip(images, words, strict=True)
        for word in boxes
    ]
    return torch.stack(crops) if crops else images.new_zeros(0, images.shape[1], *size)


@dataclass(frozen=True)
class Span:
    """Where the ink of a word stands in its crop: columns, `right` exclusive."""

    left: int
    right: int


def span_in_crop(
    word: Word, image_width: int, width: int = CANVAS[1], margin: int = MARGIN
) -> Span:
    """Return the columns of the crop of `word` that its ink takes.

    Args:
        word: as given to `word_crop`.
        image_width: of the image.
        width: of the canvas.
        margin: as given to `word_crop`.
    """
    left, _, before, _ = _span(word.left, word.right, image_width, width, margin, word)
    start = before + word.left - left
    return Span(start, start + word.right - word.left)


def uniform_alignment(classes: Sequence[int], span: Span, centers: Sequence[float]) -> list[int]:
    """Return a class for each frame as if all characters of a word were equally wide.

    The flat start of speech recognition: wrong in detail, right enough to begin with. Frames beside
    the word are blank.

    Args:
        classes: of the characters, as from `Alphabet.encode`.
        span: columns of the word in its crop.
        centers: the column in the middle of each frame.
    """
    places = [(x - span.left) / (span.right - span.left) * len(classes) for x in centers]
    return [
        classes[int(place)] if 0 <= place < len(classes) else Alphabet.BLANK for place in places
    ]


def _span(
    start: int, end: int, whole: int, room: int, margin: int, word: Word
) -> tuple[int, int, int, int]:
    """Return the window around a box along one axis, and the white before and after it."""
    if not 0 <= start < end <= whole or end - start > room:
        raise ValueError(
            f"the word {word.text!r} takes {start} to {end} of {whole} pixels, on a canvas of "
            f"{room}; it must lie inside the image and fit the canvas: choose words with "
            "data.words.qualifies and words_inside"
        )
    around = min(margin, (room - (end - start)) // 2)
    first, last = max(0, start - around), min(whole, end + around)
    blank = room - (last - first)
    return first, last, blank // 2, blank - blank // 2
