"""Sets of rendered pages for document restoration: typefaces and words apart between the splits.

A page depends on the seed, its split and its number only, never on how many pages there are.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Self, get_args

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from vismodels.config import Config
from vismodels.data.blur import BlurConfig, degrade_blur
from vismodels.data.degradations import WarpConfig, draw_warp
from vismodels.data.pages import PagePair, page_text
from vismodels.data.wear import WearConfig, degrade_paper
from vismodels.metrics.dataset import ITEMS, PAGE_MEGAPIXELS, TEXT_SHARE
from vismodels.metrics.pages import CHARACTERS, WORDS
from vismodels.metrics.restoration import PSNR, psnr
from vismodels.results import Gate, Score, Value, mean_value
from vismodels.seeding import numpy_generator
from vismodels.synthetic.faces import find_face
from vismodels.synthetic.pages import RenderedPage, binarized, render_page, warped
from vismodels.synthetic.texts import Split, long_words
from vismodels.synthetic.typesetting import PageStyle

SPLITS: tuple[Split, ...] = get_args(Split)


def _known(name: str) -> str:
    return find_face(name).name


FaceNames = Annotated[tuple[Annotated[str, AfterValidator(_known)], ...], Field(min_length=1)]


class SplitFaces(Config):
    """The typefaces of each split.

    Training, validation and test share none, and the judge none with training; it may share some
    with the test, whose clean pages it has to read.
    """

    train: FaceNames
    validation: FaceNames
    test: FaceNames
    judge: FaceNames

    @model_validator(mode="after")
    def _are_apart(self) -> Self:
        splits: tuple[Split, ...] = ("train", "validation", "test")
        for first, second in (*combinations(splits, 2), ("train", "judge")):
            shared = set(self.of(first)) & set(self.of(second))
            if shared:
                raise ValueError(
                    f"{first} and {second} share {', '.join(sorted(shared))}; give each its own"
                )
        return self

    def of(self, split: Split) -> tuple[str, ...]:
        """Return the names of the faces of a split."""
        faces: tuple[str, ...] = dict(self)[split]
        return faces


class SplitCounts(Config):
    """The number of pages of each split."""

    train: int = Field(ge=0)
    validation: int = Field(ge=0)
    test: int = Field(ge=0)
    judge: int = Field(ge=0)

    def of(self, split: Split) -> int:
        """Return the number of pages of a split."""
        count: int = dict(self)[split]
        return count


class PageSetConfig(Config):
    """A set of rendered pages: its sizes, its looks, and what happened to the pages.

    Args:
        pages: how many in each split.
        faces: of each split.
        style: of all pages.
        warp: how straight they lie, in the clean image as in the degraded one.
        degradation: blur, for deblurring, or wear, for binarization.
    """

    pages: SplitCounts
    faces: SplitFaces
    style: PageStyle
    warp: WarpConfig
    degradation: Annotated[BlurConfig | WearConfig, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _stays_on_the_page(self) -> Self:
        limits = np.deg2rad(self.warp.rotation) + self.warp.stretch + self.warp.shear
        reach = limits * max(self.style.height, self.style.width) / 2
        if self.style.margin[0] < reach:
            raise ValueError(
                f"the warp moves ink by up to {reach:.1f} pixels, the smallest margin is "
                f"{self.style.margin[0]}; widen style.margin or narrow the limits of warp"
            )
        return self


def make_pages(config: PageSetConfig, split: Split, seed: int) -> list[PagePair]:
    """Return the pages of a split, named `<split>_<number>`.

    With blur the clean image is the page before it; with wear it is black text on white, 0 or 255.

    Args:
        config: of the whole set.
        split: which pages.
        seed: of the run.
    """
    return [_make_page(config, split, seed, number) for number in range(config.pages.of(split))]


def score_pages(
    stage: str,
    card: str,
    config: PageSetConfig,
    sets: Mapping[Split, Sequence[PagePair]],
    seed: int,
) -> list[Score]:
    """Return one record for each split: how much there is, and that it is apart from training.

    Args:
        stage: name of the stage that made the pages.
        card: name of the set.
        config: of the whole set.
        sets: the pages of each split.
        seed: of the run.
    """
    return [
        Score(
            stage=stage,
            variant=split,
            values=_values(pages),
            seed=seed,
            dataset={"card": card, "split": split, "items": len(pages)},
            gates=[] if split == "train" else _gates(config.faces, sets, split),
        )
        for split, pages in sets.items()
    ]


def _make_page(config: PageSetConfig, split: Split, seed: int, number: int) -> PagePair:
    def stream(purpose: str) -> np.random.Generator:
        return numpy_generator(seed, "rendered_pages", split, number, purpose)

    page = warped(
        _render(config, split, stream("page")),
        draw_warp((config.style.height, config.style.width), config.warp, stream("warp")),
    )
    name = f"{split}_{number:04d}"
    rng = stream("degradation")
    if isinstance(config.degradation, BlurConfig):
        degraded = degrade_blur(page.image, config.degradation, rng)
        return PagePair(name, degraded, page.image, page.words)
    verso = _render(config, split, stream("verso"))
    degraded = degrade_paper(page.image, verso.image, config.degradation, rng)
    return PagePair(name, degraded, binarized(page), page.words)


def _render(config: PageSetConfig, split: Split, rng: np.random.Generator) -> RenderedPage:
    faces = [find_face(name) for name in config.faces.of(split)]
    return render_page(config.style, faces, split, rng)


def _values(pages: Sequence[PagePair]) -> list[Value]:
    words = {page.name: float(len(page.words)) for page in pages}
    characters = {page.name: float(sum(len(w.text) for w in page.words)) for page in pages}
    dark = {page.name: 100 * float((page.clean.mean(axis=2) < 128).mean()) for page in pages}
    return [
        Value(ITEMS, len(pages)),
        Value(PAGE_MEGAPIXELS, sum(page.clean[:, :, 0].size for page in pages) / 1e6),
        Value(WORDS, sum(words.values()), words),
        Value(CHARACTERS, sum(characters.values()), characters),
        mean_value(TEXT_SHARE, dark),
        mean_value(PSNR, {page.name: psnr(page.degraded, page.clean) for page in pages}),
    ]


def _gates(faces: SplitFaces, sets: Mapping[Split, Sequence[PagePair]], split: Split) -> list[Gate]:
    def vocabulary(pages: Sequence[PagePair]) -> set[str]:
        return {word for page in pages for word in long_words(page_text(page.words))}

    words = vocabulary(sets[split]) & vocabulary(sets.get("train", ()))
    shared = set(faces.of(split)) & set(faces.train)
    return [
        Gate("words of more than three letters that occur in training", len(words), 0, False),
        Gate("typefaces that occur in training", len(shared), 0, False),
    ]
