from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from vismodels.synthetic.scene_captions import CONCEPTS, VALUES, list_attributes, parse_caption
from vismodels.synthetic.scene_prompts import (
    draw_balanced,
    list_prompts,
    make_concept_prompts,
    split_of,
)

SHARES = {"fit": 1 / 4, "validation": 1 / 4, "test": 1 / 2}
every_split = pytest.mark.parametrize("split", SHARES)


def test_every_caption_is_in_one_split():
    listed = [a for split in SHARES for a in list_prompts(split)]
    assert sorted(a.caption for a in listed) == sorted(a.caption for a in list_attributes())


@every_split
def test_every_pair_of_values_has_its_share_in_every_split(split):
    everything = [a for a in list_attributes() if a.style != "striped"]
    part = [a for a in list_prompts(split) if a.style != "striped"]
    for first, second in combinations(VALUES, 2):
        whole = Counter((getattr(a, first), getattr(a, second)) for a in everything)
        here = Counter((getattr(a, first), getattr(a, second)) for a in part)
        assert here == {pair: SHARES[split] * count for pair, count in whole.items()}


@pytest.mark.parametrize("concept", CONCEPTS.values(), ids=str)
@every_split
def test_captions_with_and_without_a_concept_stay_in_their_split(concept, split):
    present = list_prompts(split, concept)
    absent = list_prompts(split, concept, present=False)
    assert all(concept.is_in(a) for a in present)
    assert absent == [concept.removed(a) for a in present]
    assert {split_of(a) for a in [*present, *absent]} == {split}
    assert len(present) >= 64  # the largest number of prompts a method learns from
    if split == "test":
        assert len(present) >= 128


def test_prompts_around_stripes_have_no_black_background():
    for present in (True, False):
        listed = list_prompts("fit", CONCEPTS["striped"], present)
        assert {a.background for a in listed} == {"gray", "brown", "cyan"}


# --- draws -------------------------------------------------------------------------------------


def draw(count, seed=0, candidates=None):
    candidates = list_prompts("fit") if candidates is None else candidates
    return draw_balanced(candidates, count, np.random.default_rng(seed))


@pytest.mark.parametrize("count", [8, 32, 64])
def test_draws_show_the_values_of_an_attribute_equally_often(count):
    drawn = draw(count, candidates=list_prompts("fit", CONCEPTS["star"]))
    assert len(set(drawn)) == count
    for name, values in VALUES.items():
        if name != "star":
            times = Counter(getattr(a, name) for a in drawn)
            assert max(times.values()) - min(times[value] for value in values) <= 2, name


def test_plain_random_draws_are_less_balanced():
    """The bound of the test above would catch a draw that does not balance."""
    candidates = list_prompts("fit", CONCEPTS["star"])
    spreads = []
    for seed in range(20):
        chosen = np.random.default_rng(seed).permutation(len(candidates))[:64]
        times = Counter(candidates[number].color for number in chosen)
        spreads.append(max(times.values()) - min(times.values()))
    assert np.median(spreads) > 4


def test_nothing_is_drawn_twice_before_everything_was_drawn_once():
    candidates = list_prompts("fit", CONCEPTS["striped"])
    drawn = draw(len(candidates) + 5, candidates=candidates)
    assert len(set(drawn[: len(candidates)])) == len(candidates)
    assert len(drawn) == len(candidates) + 5


def test_equal_seeds_draw_the_same_and_more_begin_with_fewer():
    assert draw(20) == draw(20) == draw(30)[:20]
    assert draw(20) != draw(20, seed=1)


def test_nothing_cannot_be_drawn_from():
    with pytest.raises(ValueError, match="expected candidates to draw from, got none"):
        draw(3, candidates=[])


COUNTS = {"source": 8, "target": 6, "validation": 5, "test": 7}


@pytest.mark.parametrize("concept", CONCEPTS.values(), ids=str)
def test_prompts_about_a_concept_ask_for_it_or_do_not(concept):
    made = make_concept_prompts(concept, **COUNTS, seed=0)
    assert {part: len(getattr(made, part)) for part in COUNTS} == COUNTS
    assert all(concept.is_in(parse_caption(text)) for text in made.source)
    assert not any(concept.is_in(parse_caption(text)) for text in made.target)
    for prompt in (*made.validation, *made.test):
        content = parse_caption(prompt.text)
        assert concept.is_in(content)
        assert prompt.without == concept.removed(content).caption
        assert prompt.labels == content.labels
        assert prompt.labels[made.attribute] == made.present


def test_source_and_target_prompts_are_no_pairs():
    concept = CONCEPTS["night"]
    made = make_concept_prompts(concept, source=16, target=16, validation=1, test=1, seed=0)
    without = {concept.removed(parse_caption(text)).caption for text in made.source}
    assert without != set(made.target)


def test_more_prompts_of_one_part_leave_the_others_as_they_are():
    few = make_concept_prompts(CONCEPTS["star"], **COUNTS, seed=0)
    more = make_concept_prompts(CONCEPTS["star"], **{**COUNTS, "source": 32}, seed=0)
    assert more.source[:8] == few.source
    assert (more.target, more.validation, more.test) == (few.target, few.validation, few.test)
