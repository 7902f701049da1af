from dataclasses import replace

import pytest
import torch
from small_concepts import CALL, about_star, asking

from vismodels.methods.lineas.comparing import over_concepts, score_pair
from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.readers import Reading
from vismodels.metrics.steering import (
    CONCEPT_PRESENCE,
    COUNTERFACTUAL_AREA,
    FOLDED_DIFFERENCE,
    IMAGE_AREA,
)
from vismodels.results import Score, Value
from vismodels.seeding import derive_seed

CARD = {"card": "scenes", "split": "test", "items": 100}
BOTH = [
    replace(prompt, labels={**prompt.labels, "moon": 1})
    for prompt in asking("a red cube", "a blue cube", "a green ball", "a cube", "a ball")
]


def record(variant, concept, values, seed=0, **condition):
    values = [Value(metric, value, {"000": -1.0}) for metric, value in values.items()]
    return Score(
        "lineas_score", variant, values, seed, CARD, condition={"concept": concept, **condition}
    )


def test_means_over_concepts_are_those_computed_by_hand():
    scores = [
        record("arm", "star", {CONCEPT_PRESENCE: 10.0}, strength=0.25),
        record("arm", "night", {CONCEPT_PRESENCE: 40.0}, strength=0.25),
        record("arm", "star", {CONCEPT_PRESENCE: 8.0}, strength=1.0),
        record("arm", "night", {CONCEPT_PRESENCE: 0.0}, strength=1.0),
        record("arm", "star", {COUNTERFACTUAL_AREA: 0.5, IMAGE_AREA: 0.25}),
        record("arm", "night", {COUNTERFACTUAL_AREA: 1.0, IMAGE_AREA: 0.75}),
    ]
    found = {score.variant: score for score in over_concepts(scores)}
    assert list(found) == ["arm_at_25", "arm_at_100", "arm"]
    assert found["arm_at_25"].value("concept_presence").value == 25.0
    assert found["arm_at_100"].value("concept_presence").value == 4.0
    area = found["arm"].value("counterfactual_area")
    assert (area.value, area.items) == (0.75, {"night": 1.0, "star": 0.5})
    assert found["arm"].value("image_area").value == 0.5
    assert all(score.dataset == {**CARD, "items": 2} for score in found.values())
    assert {(score.stage, score.seed) for score in found.values()} == {("lineas_compare", 0)}


def test_seeds_are_not_averaged():
    scores = [
        record("arm", concept, {IMAGE_AREA: value}, seed)
        for seed, values in {0: (0.0, 0.5), 1: (0.5, 1.0)}.items()
        for concept, value in zip(("star", "night"), values, strict=True)
    ]
    means = {score.seed: score.value("image_area").value for score in over_concepts(scores)}
    assert means == {0: 0.25, 1: 0.75}


def test_what_a_concept_lacks_is_left_out():
    scores = [
        record("arm", "star", {COUNTERFACTUAL_AREA: 0.5, IMAGE_AREA: 0.5}),
        record("arm", "night", {COUNTERFACTUAL_AREA: None, IMAGE_AREA: 1.0}),
        record("other", "star", {IMAGE_AREA: 0.5}),
        record("arm", "star", {FOLDED_DIFFERENCE: 1e-7}, folded="yes"),
        record("arm", "night", {FOLDED_DIFFERENCE: 1e-7}, folded="yes"),
    ]
    (mean,) = over_concepts(scores)
    assert mean.variant == "arm"
    assert [value.metric for value in mean.values] == [IMAGE_AREA]


class Counting:
    """Finds the star in the first images of each reading, and the moon in the last ones."""

    presence_metric = CONCEPT_PRESENCE

    def __init__(self, stars, moons):
        self.counts = {"star": iter([0, *stars]), "moon": iter(moons)}  # of the ideal, no star
        self.images, self.labels = [], []

    def read(self, images, prompts, about):
        self.images.append(images)
        self.labels += [prompt.labels for prompt in prompts]
        places = torch.arange(len(images))
        count = next(self.counts[about.concept])
        seen = places < count if about.concept == "star" else places >= len(images) - count
        return Reading(100 * seen.float(), 10.0 * (places + 1), images.flatten(1))


@pytest.fixture
def maps(random_maps):
    """Return two sets of maps of one layer."""
    return tuple(random_maps({"unet.conv_norm_out": 4}) for _ in range(2))


def scored_pair(pipeline, maps, reader):
    return score_pair(
        pipeline,
        reader,
        BOTH,
        (about_star(), about_star(concept="moon", attribute="moon")),
        maps,
        arm="arm",
        seed=7,
        batch_size=2,
        call=CALL.arguments(),
        card="scenes",
    )


def test_images_with_neither_concept_are_counted(sd, maps):
    # Of 5 images: all have both; 2 + 2, 3 + 3 (one has both) and none have one.
    scores = scored_pair(sd, maps, Counting(stars=[5, 2, 3, 0], moons=[5, 2, 3, 0]))
    values = {score.variant: score.value("both_removed") for score in scores}
    assert {name: value.value for name, value in values.items()} == {
        "arm_of_neither": 0.0,
        "arm_of_first": 20.0,
        "arm_of_second": 0.0,
        "arm_of_both": 100.0,
    }
    assert values["arm_of_first"].items == {"000": 0, "001": 0, "002": 100, "003": 0, "004": 0}
    assert {score.condition["concepts"] for score in scores} == {"star+moon"}
    assert {score.seed for score in scores} == {7}


def test_both_maps_act_in_order_on_the_same_noise(sd, maps):
    reader = Counting([0] * 4, [0] * 4)
    scores = scored_pair(sd, maps, reader)
    first, second = maps
    seeds = [derive_seed(7, "lineas", "pair", "star+moon", number) for number in range(5)]
    texts = [prompt.text for prompt in BOTH]
    assert not torch.equal(
        first.then(second)["unet.conv_norm_out"].shift,
        second.then(first)["unet.conv_norm_out"].shift,
    )
    without = [prompt.without for prompt in BOTH]
    ideal = generate(sd, without, seeds=seeds, batch_size=2, call=CALL.arguments())
    assert torch.equal(reader.images.pop(0), ideal)
    for number, together in enumerate((None, first, second, first.then(second))):
        expected = generate(sd, texts, together, seeds=seeds, batch_size=2, call=CALL.arguments())
        for images in reader.images[2 * number : 2 * number + 2]:
            assert torch.equal(images, expected)
        cosine = torch.cosine_similarity(expected.flatten(1), ideal.flatten(1)).mean().item()
        found = scores[number].value("counterfactual_cosine").value
        assert found == pytest.approx(cosine, abs=1e-4)


def test_of_the_rest_only_attributes_of_neither_concept_are_read(sd, maps):
    reader = Counting([0] * 4, [0] * 4)
    scores = scored_pair(sd, maps, reader)
    assert all(labels == {"shape": 0} for labels in reader.labels)  # neither star nor moon
    assert {score.value("other_attributes").value for score in scores} == {30.0}
