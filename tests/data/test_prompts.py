"""Prompts: of images with known content, and about a concept."""

from dataclasses import replace

import pytest

from vismodels.data.prompts import ConceptPrompt, ConceptPrompts, LabelledPrompt

PROMPTS = ConceptPrompts(
    concept="star",
    words="a star",
    source=["a house with a star"],
    target=["a tree", "a lake"],
    validation=[ConceptPrompt("a car with a star", "a car")],
    test=[ConceptPrompt("a dog with a star", "a dog")],
)


@pytest.mark.parametrize("part", ["source", "target", "validation", "test"])
def test_every_part_has_prompts(part):
    with pytest.raises(ValueError, match=f"no prompts about 'star' in {part}"):
        replace(PROMPTS, **{part: []})


@pytest.mark.parametrize(
    "test",
    [
        ConceptPrompt("a house with a star", "a house"),  # learnt from
        ConceptPrompt("a tree with a star", "a tree"),  # its counterfactual is
        ConceptPrompt("a car with a star", "a red car"),  # chosen with
    ],
)
def test_prompts_that_leak_are_refused(test):
    with pytest.raises(ValueError, match="test prompts about 'star' are also used elsewhere"):
        replace(PROMPTS, test=[test])


def test_validation_is_kept_apart_from_learning_too():
    with pytest.raises(ValueError, match="validation prompts"):
        replace(PROMPTS, validation=[ConceptPrompt("a lake with a star", "a lake")])


def test_labels_are_known_of_all_prompts_or_of_none():
    with pytest.raises(ValueError, match="labels are known"):
        replace(PROMPTS, attribute="star", present=1)
    with pytest.raises(ValueError, match="labels are known"):
        replace(PROMPTS, test=[ConceptPrompt("a dog with a star", "a dog", {"star": 1})])
    with pytest.raises(ValueError, match="together"):
        replace(PROMPTS, attribute="star")


def test_what_an_image_should_show_may_be_unknown():
    assert LabelledPrompt("a house").labels == {}
    assert LabelledPrompt("a house", {"star": 0}) != LabelledPrompt("a house")
