import re
from collections import Counter
from itertools import combinations

import pytest

from vismodels.cards.schema import load_card
from vismodels.methods.lineas.config import PromptCounts
from vismodels.methods.lineas.outside_concepts import CONCEPTS
from vismodels.methods.lineas.outside_prompts import (
    PARTS,
    list_neutral_prompts,
    write_concept_prompts,
)

COUNTS = {"source": 64, "target": 64, "validation": 64, "test": 128}
every_concept = pytest.mark.parametrize("concept", CONCEPTS)


def write(concept="robot", seed=0, **counts):
    return write_concept_prompts(concept, **(COUNTS | counts), seed=seed)


# --- neutral prompts ---------------------------------------------------------------------------


def test_no_neutral_prompt_is_in_two_parts_or_twice_in_one():
    listed = {part: list_neutral_prompts(part) for part in PARTS}
    for part, prompts in listed.items():
        assert len(set(prompts)) == len(prompts) > 1000, part
    for first, second in combinations(PARTS, 2):
        assert not set(listed[first]) & set(listed[second])


def test_every_part_has_every_subject_place_and_light_equally_often():
    def words(part):
        return Counter(word for prompt in list_neutral_prompts(part) for word in prompt.split())

    assert len({tuple(sorted(words(part).items())) for part in PARTS}) == 1


@every_concept
def test_no_neutral_prompt_names_a_concept(concept):
    name = re.compile(rf"\b{concept.replace('_', '[ -]?')}s?\b")
    assert name.search(CONCEPTS[concept].words)
    assert not any(name.search(prompt) for part in PARTS for prompt in list_neutral_prompts(part))


def test_the_card_counts_what_the_grammar_has():
    problems = " ".join(load_card("steering_prompts").known_problems)
    assert f"{len(list_neutral_prompts('test'))} neutral prompts for each part" in problems
    assert set(load_card("steering_prompts").splits) == set(PARTS)


# --- prompts about a concept -------------------------------------------------------------------


@every_concept
def test_every_part_has_as_many_different_prompts_as_asked_for(concept):
    about = write(concept)
    for part, count in COUNTS.items():
        prompts = getattr(about, part)
        texts = prompts if part in ("source", "target") else [each.text for each in prompts]
        assert len(set(texts)) == len(prompts) == count


@every_concept
def test_prompts_to_judge_with_are_neutral_ones_with_the_words_appended(concept):
    about = write(concept)
    for part in ("validation", "test"):
        for prompt in getattr(about, part):
            assert prompt.text == f"{prompt.without}, {about.words}"
            assert prompt.without in list_neutral_prompts(part)
            assert not prompt.labels
    assert (about.attribute, about.present) == (None, None)


@every_concept
def test_source_prompts_ask_for_the_concept_in_three_ways_and_targets_do_not(concept):
    about, neutral = write(concept, source=9), list_neutral_prompts("source")
    ways = Counter()
    for text in about.source:
        scene = max((prompt for prompt in neutral if prompt in text), key=len)
        ways[text.replace(scene, "{}").replace(about.words, "{words}")] += 1
    assert list(ways.values()) == [3, 3, 3]
    assert all(way.count("{}") == way.count("{words}") == 1 for way in ways)
    assert set(about.target) <= set(list_neutral_prompts("target"))


def test_prompts_fit_into_what_clip_reads():
    about = max((write(concept) for concept in CONCEPTS), key=lambda each: len(each.words))
    assert max(len(prompt.text.split()) for prompt in about.test) < 30  # of 77 tokens


# --- draws -------------------------------------------------------------------------------------


def test_a_seed_decides_the_prompts():
    assert write() == write()
    assert not set(write(seed=0).target) >= set(write(seed=1).target)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_depends_on_its_own_count_alone_and_starts_as_the_shorter_one(part):
    whole, fewer = write(), write(**{part: 5})
    for other in PARTS:
        expected = getattr(whole, other)
        assert getattr(fewer, other) == (expected[:5] if other == part else expected)


def test_prompts_of_two_parts_are_drawn_independently():
    about = write()
    pairs = zip(about.target, (each.without for each in about.validation), strict=True)
    same = sum(first.split()[:3] == second.split()[:3] for first, second in pairs)
    assert same < len(about.target) / 4


def test_all_concepts_share_their_neutral_prompts():
    first, second = write("robot"), write("ukiyo_e")
    assert first.target == second.target
    assert [each.without for each in first.test] == [each.without for each in second.test]


def test_an_unknown_concept_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="no concept 'robots'; did you mean 'robot'"):
        write("robots")


@pytest.mark.parametrize("part", PARTS)
def test_more_prompts_than_there_are_are_refused(part):
    many = len(list_neutral_prompts(part))
    assert len(getattr(write(**{part: many}), part)) == many
    with pytest.raises(ValueError, match=rf"has {many} {part} prompts.*lower prompts\.{part}"):
        write(**{part: many + 1})


def test_the_counts_of_a_configuration_are_the_arguments():
    about = write_concept_prompts("car", **PromptCounts().model_dump(), seed=0)
    counts = [len(getattr(about, part)) for part in PARTS]
    assert counts == [32, 32, 64, 128]
