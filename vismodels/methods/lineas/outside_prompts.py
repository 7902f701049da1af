"""Prompts about the 15 concepts of the paper's text-to-image runs, composed by a small grammar.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 4.4 and Appendix N. A language model wrote
the paper's prompts, which are not published with it; these keep their form: neutral prompts, the
same for all concepts, and a tag for the concept. Torch-free.
"""

from collections.abc import Mapping
from itertools import product
from typing import Literal

from vismodels.config import suggestion
from vismodels.data.prompts import ConceptPrompt, ConceptPrompts
from vismodels.methods.lineas.outside_concepts import CONCEPTS, Kind
from vismodels.seeding import numpy_generator

Part = Literal["source", "target", "validation", "test"]
PARTS: tuple[Part, ...] = ("source", "target", "validation", "test")

_PEOPLE = (
    *("an old fisherman", "a young woman in a red coat", "a child in rubber boots", "a cook"),
    *("a street musician", "a farmer with a straw hat", "two elderly neighbors", "a mail carrier"),
    *("a tall man with a beard", "a girl with braids", "a nurse", "a violinist"),
)
_ANIMALS = (
    *("a gray cat", "a golden retriever", "a brown horse", "a red fox", "a barn owl", "a goat"),
    *("a white goose", "a hedgehog"),
)
_THINGS = (
    *("a wooden chair", "a bowl of oranges", "a blue teapot", "a bunch of tulips"),
    *("a bicycle", "a leather suitcase", "a yellow umbrella", "a loaf of bread"),
)
_SUBJECTS = (
    *(f"{a} {b}" for a, b in product(_PEOPLE, ("resting", "waiting", "smiling", "walking"))),
    *(f"{a} {b}" for a, b in product(_ANIMALS, ("resting", "running", "looking up"))),
    *(f"{a} {b}" for a, b in product(_THINGS, ("left behind", "in plain view"))),
)
_PLACES = (
    *("in a quiet village", "on a wooden bridge", "by a stone wall", "in a wide meadow"),
    *("on a town square", "at a bus stop", "on a sandy beach", "in a paved courtyard"),
    *("beside a slow river", "in a public park", "on a flat roof", "on a station platform"),
    *("at a farmers' market", "under an oak tree", "at the edge of a wood", "on a gravel path"),
)
_LIGHTS = (
    *("at dawn", "at noon", "at dusk", "on a foggy morning"),
    *("on a rainy afternoon", "under a clear sky", "in warm evening light", "on a winter day"),
)
# How prompts to learn from ask for a concept; those to judge with have the tag.
_PHRASES: Mapping[Kind, tuple[str, ...]] = {
    "style": ("{prompt}, {words}", "{prompt} in {words}", "a picture in {words} of {prompt}"),
    "object": ("{prompt} with {words}", "{prompt} next to {words}", "{words} and {prompt}"),
    "perspective": ("{prompt}, {words}", "{words} of {prompt}", "{prompt}, seen in {words}"),
}
_TAG = "{prompt}, {words}"


def list_neutral_prompts(part: Part) -> list[str]:
    """Return all prompts of a part that ask for no concept, in a fixed order.

    The four parts share no prompt; a subject at a place is in each of them, in another light.
    """
    number = PARTS.index(part)
    numbered = product(enumerate(_SUBJECTS), enumerate(_PLACES), enumerate(_LIGHTS))
    return [
        f"{subject} {place} {light}"
        for (i, subject), (j, place), (k, light) in numbered
        if (i + j + k) % len(PARTS) == number
    ]


def write_concept_prompts(
    concept: str, *, source: int, target: int, validation: int, test: int, seed: int
) -> ConceptPrompts:
    """Return prompts about a concept; each part depends on its own count alone.

    Of one seed and part, the first prompts of a longer list are the shorter list, and the neutral
    prompts of all concepts are the same.

    Args:
        concept: one of `outside_concepts.CONCEPTS`.
        source: number of prompts with it to learn from.
        target: number of prompts without it to learn from; other scenes, so unpaired.
        validation: number of prompts to choose settings with.
        test: number of prompts to score with.
        seed: of the draws.

    Raises:
        ValueError: for an unknown concept, or more prompts than the grammar has.
    """
    if concept not in CONCEPTS:
        raise ValueError(f"no concept {concept!r}{suggestion(concept, CONCEPTS)}")
    kind, words = CONCEPTS[concept].kind, CONCEPTS[concept].words
    phrases = _PHRASES[kind]

    def scored(part: Part, count: int) -> list[ConceptPrompt]:
        return [
            ConceptPrompt(_TAG.format(prompt=prompt, words=words), prompt)
            for prompt in _draw(part, count, seed)
        ]

    return ConceptPrompts(
        concept=concept,
        words=words,
        source=[
            phrases[number % len(phrases)].format(prompt=prompt, words=words)
            for number, prompt in enumerate(_draw("source", source, seed))
        ],
        target=_draw("target", target, seed),
        validation=scored("validation", validation),
        test=scored("test", test),
    )


def _draw(part: Part, count: int, seed: int) -> list[str]:
    listed = list_neutral_prompts(part)
    if count > len(listed):
        raise ValueError(
            f"the grammar has {len(listed)} {part} prompts, {count} are asked for; lower "
            f"prompts.{part}"
        )
    order = numpy_generator(seed, "outside_prompts", part).permutation(len(listed))
    return [listed[int(number)] for number in order[:count]]
