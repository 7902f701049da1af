"""Where the words of a page stand: columns, headings and justified paragraphs down to the foot.

Torch-free. Typesetting knows advances and baselines only; ink is measured when it is drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from PIL.ImageFont import FreeTypeFont
from pydantic import Field, field_validator, model_validator

from vismodels.config import Config
from vismodels.data.ranges import Counts, Range, Shares, draw, draw_count
from vismodels.synthetic.faces import Face, font_of_x_height
from vismodels.synthetic.texts import Split, draw_heading, draw_sentence

_MOST_STRETCH = 3.0  # a line whose blanks would be wider than this many blanks stays ragged


class PageStyle(Config):
    """What pages look like; every page draws its own values from these ranges.

    Args:
        height: of a page, pixels.
        width: of a page, pixels.
        x_height: height of a lower-case x in the body text, pixels.
        leading: distance of baselines in x-heights; below 2.2 lines would touch.
        margin: blank frame of the page, pixels.
        columns: the numbers of columns to choose from.
        sentences: in a paragraph.
        headings: share of paragraphs that have one.
        ragged: share of pages whose lines are not justified.
        ink: level of the ink in each channel, 0 is black.
        paper: level of the paper in each channel, 1 is white.
        tint: largest difference of two channels of the ink, and of the paper.
    """

    height: int = Field(ge=64)
    width: int = Field(ge=64)
    x_height: Range
    leading: Range
    margin: Range
    columns: tuple[Literal[1, 2], ...] = Field(min_length=1)
    sentences: Counts
    headings: float = Field(ge=0, le=1)
    ragged: float = Field(ge=0, le=1)
    ink: Shares
    paper: Shares
    tint: float = Field(ge=0, le=0.5)

    @field_validator("x_height")
    @classmethod
    def _is_legible(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] < 4:
            raise ValueError("letters need an x-height of at least 4 pixels")
        return value

    @field_validator("leading")
    @classmethod
    def _keeps_lines_apart(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] < 2.2:
            raise ValueError("lines touch unless baselines are at least 2.2 x-heights apart")
        return value

    @model_validator(mode="after")
    def _has_contrast(self) -> Self:
        if self.ink[1] >= self.paper[0] - self.tint:
            raise ValueError(
                f"the ink (up to {self.ink[1]}) must be darker than the paper (from "
                f"{self.paper[0]}, less the tint {self.tint})"
            )
        return self


@dataclass(frozen=True)
class PlacedWord:
    """A word that is to be drawn.

    Args:
        text: without blanks.
        font: at its size.
        x: left end of the baseline, pixels.
        baseline: row of the baseline.
        line: number of the line in reading order.
    """

    text: str
    font: FreeTypeFont
    x: int
    baseline: int
    line: int


@dataclass(frozen=True)
class _Look:
    """What all lines of one page have in common; lengths in pixels."""

    body: FreeTypeFont
    heading: FreeTypeFont
    leading: float
    margin: float
    indent: float  # of a paragraph's first line
    gap: float  # between paragraphs
    justified: bool
    columns: int
    gutter: float


@dataclass(frozen=True)
class _Line:
    """A line before it has a place; `drop` is its distance from the baseline above."""

    words: Sequence[str]
    font: FreeTypeFont
    drop: float
    indent: float
    stretched: bool


def set_page(
    style: PageStyle, faces: Sequence[Face], split: Split, rng: np.random.Generator
) -> list[PlacedWord]:
    """Return the words of a page in reading order; its columns are filled to the foot.

    Args:
        style: ranges that the page's own look is drawn from.
        faces: one is drawn for the body, one for the headings.
        split: whose words are used.
        rng: source of all choices.
    """
    look = _draw_look(style, faces, rng)
    inner = style.width - 2 * look.margin - (look.columns - 1) * look.gutter
    width = inner / look.columns
    placed: list[PlacedWord] = []
    count = 0
    for column in range(look.columns):
        left = look.margin + column * (width + look.gutter)
        baseline = look.margin - 0.4 * look.leading
        for line in _endless_lines(style, look, width, split, rng):
            baseline += line.drop
            if baseline + line.font.getbbox("(p", anchor="ls")[3] > style.height - look.margin:
                break
            starts = _starts(line, width)
            placed += [
                PlacedWord(word, line.font, round(left + start), round(baseline), count)
                for word, start in zip(line.words, starts, strict=True)
            ]
            count += 1
    return placed


def _draw_look(style: PageStyle, faces: Sequence[Face], rng: np.random.Generator) -> _Look:
    x_height = draw(style.x_height, rng)
    body, heading = (faces[int(rng.integers(len(faces)))] for _ in range(2))
    leading = draw(style.leading, rng) * x_height
    return _Look(
        body=font_of_x_height(body, x_height),
        heading=font_of_x_height(heading, x_height * rng.uniform(1.2, 1.6)),
        leading=leading,
        margin=draw(style.margin, rng),
        indent=2 * x_height * float(rng.integers(2)),
        gap=0.5 * leading * float(rng.integers(2)),
        justified=bool(rng.random() >= style.ragged),
        columns=style.columns[int(rng.integers(len(style.columns)))],
        gutter=2.5 * x_height,
    )


def _endless_lines(
    style: PageStyle, look: _Look, width: float, split: Split, rng: np.random.Generator
) -> Iterator[_Line]:
    """Yield the lines of paragraph after paragraph."""
    while True:
        if rng.random() < style.headings:
            title = _broken(draw_heading(split, rng), look.heading, width, 0)
            yield from (_Line(w, look.heading, 1.5 * look.leading, 0, False) for w in title)
        count = draw_count(style.sentences, rng)
        text = [word for _ in range(count) for word in draw_sentence(split, rng)]
        lines = _broken(text, look.body, width, look.indent)
        for place, words in enumerate(lines):
            is_first, is_last = place == 0, place == len(lines) - 1
            yield _Line(
                words,
                look.body,
                look.leading + is_first * look.gap,
                is_first * look.indent,
                look.justified and not is_last,
            )


def _broken(
    words: Sequence[str], font: FreeTypeFont, width: float, indent: float
) -> list[list[str]]:
    """Return `words` broken into lines of at most `width`; a wider word is left out."""
    blank = font.getlength(" ")
    lines: list[list[str]] = [[]]
    used = indent
    for word in words:
        length = font.getlength(word)
        if length + indent > width:
            continue
        if used + length > width:
            lines.append([])
            used = 0.0
        lines[-1].append(word)
        used += length + blank
    return lines


def _starts(line: _Line, width: float) -> list[float]:
    """Return where each word of a line starts, in pixels from the left end of the column."""
    lengths = [line.font.getlength(word) for word in line.words]
    blank = line.font.getlength(" ")
    if line.stretched and len(lengths) > 1:
        stretched = (width - line.indent - sum(lengths)) / (len(lengths) - 1)
        if stretched <= _MOST_STRETCH * blank:
            blank = stretched
    return [line.indent + sum(lengths[:place]) + place * blank for place in range(len(lengths))]
