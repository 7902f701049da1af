"""Prompts to fit, to choose and to test with: splits that share no caption, and balanced draws.

Torch-free.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from vismodels.synthetic.scene_captions import VALUES, Attributes, Concept, list_attributes

PromptSplit = Literal["fit", "validation", "test"]
_OF_REMAINDER: tuple[PromptSplit, ...] = ("fit", "validation", "test", "test")


def split_of(attributes: Attributes) -> PromptSplit:
    """Return the split of a caption; it does not depend on star and style.

    So a caption and the same one without a concept lie in one split. Of the captions in one style
    that can be had on every background, a quarter, a quarter and a half of those with any two
    values are in the splits.
    """
    labels = attributes.labels
    key = labels["color"] + labels["shape"] + labels["background"] + 2 * labels["size"]
    return _OF_REMAINDER[key % len(_OF_REMAINDER)]


def list_prompts(
    split: PromptSplit, concept: Concept | None = None, present: bool = True
) -> list[Attributes]:
    """Return the contents of a split, in a fixed order.

    Args:
        split: whose captions.
        concept: only contents with it; None for all.
        present: False for these contents after the concept has been removed.
    """
    listed = [a for a in list_attributes() if split_of(a) == split]
    if concept is None:
        return listed
    having = [a for a in listed if concept.is_in(a)]
    return having if present else [concept.removed(a) for a in having]


def draw_balanced(
    candidates: Sequence[Attributes], count: int, rng: np.random.Generator
) -> list[Attributes]:
    """Return `count` of the candidates, the values of each attribute about equally often.

    The next one drawn is always one whose values have been drawn least so far, at random among
    equals. No candidate is drawn twice before all have been drawn once.

    Args:
        candidates: not empty.
        count: how many.
        rng: decides among equals.

    Raises:
        ValueError: if there is nothing to draw from.
    """
    if not candidates:
        raise ValueError("expected candidates to draw from, got none; choose another split")
    labels = {candidate: tuple(candidate.labels.items()) for candidate in candidates}
    drawn: list[Attributes] = []
    times: Counter[tuple[str, int]] = Counter()
    left: list[Attributes] = []

    def frequency(attributes: Attributes) -> int:
        return sum(times[label] * len(VALUES[label[0]]) for label in labels[attributes])

    while len(drawn) < count:
        left = left or [candidates[int(number)] for number in rng.permutation(len(candidates))]
        chosen = min(left, key=frequency)
        left.remove(chosen)
        times.update(labels[chosen])
        drawn.append(chosen)
    return drawn
