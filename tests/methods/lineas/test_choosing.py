import math

import pytest
from small_concepts import CALL, Painter, RedReader, about_star, asking, guidance, stage_config

from vismodels.methods.lineas.choosing import choose
from vismodels.methods.lineas.config import ArmConfig, LearnConfig
from vismodels.methods.lineas.learning import learn
from vismodels.methods.lineas.prompting import NegativePrompt

GRID = {"half": guidance(1.5), "all": guidance(2.0), "little": guidance(1.1)}


def choose_from(prompts_of, method_of=None, grid=GRID, concepts=("star",)):
    config = stage_config(
        LearnConfig,
        concepts=concepts,
        arm=ArmConfig(grid=grid),
        strengths=(1.0,),
    )
    painter, reader = Painter(), RedReader()

    def learnt(settings, concept, seed):
        return learn(None, prompts_of(concept, seed), grid[settings], call=CALL, seed=seed)

    chosen = choose(
        config, painter, reader, prompts_of, method_of or learnt, name="words", card="scenes"
    )
    return *chosen, painter, reader


def prompts_of(concept, seed):
    return about_star(seed, concept=concept)


def area(left):
    """Return the area of a method that leaves a share of the star at its one strength."""
    return (1 - left) / math.sqrt(1 + left**2)


def test_the_settings_with_the_largest_area_are_chosen_and_all_are_recorded():
    best, scores, _, _ = choose_from(prompts_of)
    assert best == "all"
    found = {s.condition["settings"]: s.value("counterfactual_area").value for s in scores}
    assert found == pytest.approx({"half": area(0.5), "all": 1.0, "little": area(0.9)}, rel=1e-5)
    chosen = {s.condition["settings"]: s.budget["chosen"] for s in scores}
    assert chosen == {"half": "no", "all": "yes", "little": "no"}
    assert {(s.variant, s.seed, s.dataset["split"]) for s in scores} == {("words", 0, "validation")}


def test_only_validation_prompts_of_the_first_seed_are_painted_and_read():
    _, _, painter, reader = choose_from(prompts_of)
    validation = about_star(0).validation
    assert set(reader.prompts) == {prompt.text for prompt in validation}
    assert set(painter.prompts) == {t for p in validation for t in (p.text, p.without)}


def test_all_concepts_count_alike():
    left = {("a", "star"): 0.0, ("a", "moon"): 0.999, ("b", "star"): 0.4, ("b", "moon"): 0.4}
    best, scores, _, _ = choose_from(
        prompts_of,
        lambda settings, concept, seed: NegativePrompt("star", 2 - left[settings, concept]),
        grid={"a": guidance(2.0), "b": guidance(2.0)},
        concepts=("star", "moon"),
    )
    assert best == "b"  # 0.557 for both is more than 1 for one and nothing for the other
    values = {s.condition["settings"]: s.value("counterfactual_area") for s in scores}
    assert values["a"].items == pytest.approx({"star": 1.0, "moon": area(0.999)}, rel=1e-3)
    assert values["b"].value == pytest.approx(area(0.4), rel=1e-5)


def test_where_no_prompt_brings_the_concept_the_first_settings_are_taken():
    best, scores, _, _ = choose_from(
        lambda concept, seed: about_star(validation=asking("cube", "ball", concept="night"))
    )
    assert best == "half"
    assert {score.value("counterfactual_area").value for score in scores} == {None}
