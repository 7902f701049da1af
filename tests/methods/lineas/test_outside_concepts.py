import re
from collections import Counter

import pytest

from vismodels.methods.lineas.outside_concepts import CONCEPTS


def test_the_concepts_are_the_papers():
    kinds = Counter(concept.kind for concept in CONCEPTS.values())
    assert kinds == {"style": 5, "object": 5, "perspective": 5}


@pytest.mark.parametrize("name", CONCEPTS)
def test_the_words_for_a_concept_hold_its_name(name):
    assert re.search(rf"\b{name.replace('_', '-')}\b", CONCEPTS[name].words)
    article, _, rest = CONCEPTS[name].words.partition(" ")
    if CONCEPTS[name].kind != "style":
        assert article == ("an" if re.match("[aeiou]|hour", rest) else "a")
