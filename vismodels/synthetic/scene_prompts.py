"""Prompts to fit, to choose and to test with: splits that share no caption, and balanced draws.

Torch-free.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from vismodels.data.prompts import ConceptPrompt, ConceptPrompts
from vismodels.seeding import numpy_generator
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


def make_concept_prompts(
    concept: Concept, *, source: int, target: int, validation: int, test: int, seed: int
) -> ConceptPrompts:
    """Return prompts about a concept, in balanced draws; each part depends on its own count alone.

    Args:
        concept: of the scenes.
        source: number of prompts with it to learn from.
        target: number of prompts without it to learn from; drawn independently, so unpaired.
        validation: number of prompts to choose settings with.
        test: number of prompts to score with.
        seed: of the draws.
    """

    def draw(part: str, split: PromptSplit, count: int, present: bool = True) -> list[Attributes]:
        rng = numpy_generator(seed, "scene_prompts", concept.name, part)
        return draw_balanced(list_prompts(split, concept, present), count, rng)

    def scored(split: PromptSplit, count: int) -> list[ConceptPrompt]:
        return [
            ConceptPrompt(each.caption, concept.removed(each).caption, each.labels)
            for each in draw(split, split, count)
        ]

    return ConceptPrompts(
        concept=concept.name,
        words=concept.words,
        source=[each.caption for each in draw("source", "fit", source)],
        target=[each.caption for each in draw("target", "fit", target, present=False)],
        validation=scored("validation", validation),
        test=scored("test", test),
        attribute=concept.attribute,
        present=VALUES[concept.attribute].index(concept.present),
    )


def make_pair_prompts(
    first: Concept, second: Concept, count: int, seed: int
) -> list[ConceptPrompt]:
    """Return test prompts that ask for two concepts; their counterfactuals have neither.

    Raises:
        ValueError: if no scene has both.
    """
    both = [each for each in list_prompts("test", first) if second.is_in(each)]
    rng = numpy_generator(seed, "scene_prompts", first.name, second.name)
    return [
        ConceptPrompt(each.caption, second.removed(first.removed(each)).caption, each.labels)
        for each in draw_balanced(both, count, rng)
    ]
