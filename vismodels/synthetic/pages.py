"""Rendered pages: clean images whose words are known, with the exact box of each word's ink."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vismodels.data.degradations import warp
from vismodels.data.pages import Word
from vismodels.data.ranges import Shares, draw
from vismodels.synthetic.faces import Face
from vismodels.synthetic.texts import Split
from vismodels.synthetic.typesetting import PageStyle, PlacedWord, set_page

_VISIBLE = 0.1  # of the way from paper to ink, for boxes on a page that was interpolated
_PAD = 4  # pixels around the nominal box of a word, for glyphs that lean out of it


@dataclass(frozen=True)
class RenderedPage:
    """A clean page.

    Args:
        image: (H, W, 3) uint8 RGB.
        words: in reading order.
        ink: RGB levels of the ink.
        paper: RGB levels of the paper.
    """

    image: NDArray[np.uint8]
    words: tuple[Word, ...]
    ink: tuple[int, int, int]
    paper: tuple[int, int, int]


def render_page(
    style: PageStyle, faces: Sequence[Face], split: Split, rng: np.random.Generator
) -> RenderedPage:
    """Return a page of generated text.

    The box of a word encloses exactly the pixels of its ink that differ from the paper. A word
    that would be cut by the edge of the page is left out.

    Args:
        style: ranges that the page's own look is drawn from.
        faces: faces to choose from.
        split: whose words are used.
        rng: source of all choices.

    Raises:
        ValueError: without a face.
    """
    if not faces:
        raise ValueError("expected at least one face; synthetic.faces.list_faces() names them")
    ink = _draw_color(style.ink, style.tint, rng)
    paper = _draw_color(style.paper, style.tint, rng)
    colors = _blend(ink, paper)
    visible = (colors != colors[0]).any(axis=1)
    coverage = np.zeros((style.height, style.width), np.uint8)
    words = []
    for placed in set_page(style, faces, split, rng):
        word = _draw_word(placed, coverage, visible)
        if word is not None:
            words.append(word)
    return RenderedPage(colors[coverage], tuple(words), ink, paper)


def warped(page: RenderedPage, matrix: NDArray[np.float64]) -> RenderedPage:
    """Return a page moved by a small affine map, with the boxes of its words moved along.

    A box encloses the ink (see `darkness`) of its word, as far as it lies within the page. Lines
    must be further apart than the map lets a word climb along its length.

    Args:
        page: as rendered.
        matrix: (2, 3), as from `data.degradations.draw_warp`.
    """
    image = warp(page.image, matrix)
    moved = replace(page, image=image)
    ink = darkness(moved) > _VISIBLE
    boxed = (_moved_word(word, matrix, ink) for word in page.words)
    return replace(moved, words=tuple(word for word in boxed if word is not None))


def darkness(page: RenderedPage) -> NDArray[np.float64]:
    """Return how far each pixel lies on the way from the paper's colour, 0, to the ink's, 1."""
    ink, paper = np.array(page.ink, float), np.array(page.paper, float)
    share: NDArray[np.float64] = (page.image - paper) @ (ink - paper) / np.sum((ink - paper) ** 2)
    return share


def binarized(page: RenderedPage) -> NDArray[np.uint8]:
    """Return the page as black text on white: (H, W, 3), 0 where it is more ink than paper."""
    level = np.where(darkness(page) > 0.5, 0, 255).astype(np.uint8)
    return np.repeat(level[:, :, None], 3, axis=2)


def _moved_word(word: Word, matrix: NDArray[np.float64], ink: NDArray[np.bool_]) -> Word | None:
    """Return a word with the box of the ink in its moved box; None if there is none."""
    # Pixel centres are whole numbers: a box reaches half a pixel beyond its outermost ones.
    columns = np.array([word.left, word.right, word.left, word.right]) - 0.5
    rows = np.array([word.top, word.top, word.bottom, word.bottom]) - 0.5
    x, y = matrix @ np.stack([columns, rows, np.ones(4)])
    left, top = max(0, math.floor(x.min())), max(0, math.floor(y.min()))
    inside = ink[top : max(0, math.ceil(y.max()) + 1), left : max(0, math.ceil(x.max()) + 1)]
    if not inside.any():
        return None
    box = _ink_box(inside)
    return replace(
        word,
        left=left + box.left,
        top=top + box.top,
        right=left + box.right,
        bottom=top + box.bottom,
    )


def _draw_word(
    placed: PlacedWord, coverage: NDArray[np.uint8], visible: NDArray[np.bool_]
) -> Word | None:
    """Draw a word into `coverage` and return it with its ink box; None if it does not fit."""
    nominal = [int(edge) for edge in placed.font.getbbox(placed.text, anchor="ls")]
    x, y = nominal[0] - _PAD, nominal[1] - _PAD  # of the glyphs' image, from the word's origin
    size = (nominal[2] + _PAD - x, nominal[3] + _PAD - y)
    glyphs = Image.new("L", size)
    ImageDraw.Draw(glyphs).text((-x, -y), placed.text, 255, placed.font, anchor="ls")
    drawn = np.asarray(glyphs)
    box = _ink_box(visible[drawn])
    left, right = placed.x + x + box.left, placed.x + x + box.right
    top, bottom = placed.baseline + y + box.top, placed.baseline + y + box.bottom
    height, width = coverage.shape
    if min(left, top) < 0 or right > width or bottom > height:
        return None
    below = coverage[top:bottom, left:right]
    np.maximum(below, drawn[box.top : box.bottom, box.left : box.right], out=below)
    return Word(placed.text, left, top, right, bottom, placed.line)


class _Box(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def _ink_box(ink: NDArray[np.bool_]) -> _Box:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return _Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _draw_color(levels: Shares, tint: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return an RGB colour: grey of a level in `levels`, each channel darker by up to `tint`."""
    channels = draw(levels, rng) - rng.uniform(0, tint, size=3)
    red, green, blue = (int(level) for level in np.rint(255 * np.clip(channels, 0, 1)))
    return red, green, blue


def _blend(ink: tuple[int, int, int], paper: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return the colour of each coverage from 0 (paper) to 255 (ink): (256, 3) uint8."""
    share = np.arange(256)[:, None] / 255
    colors: NDArray[np.uint8] = np.rint((1 - share) * paper + share * ink).astype(np.uint8)
    return colors
