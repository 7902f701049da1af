import numpy as np
import pytest
import torch
from small_concepts import CALL, EDIT, RedReader, about_star, stage_config
from small_pipelines import hooks_of

from vismodels.checkpoint import tensor_digest
from vismodels.methods.lineas import scoring
from vismodels.methods.lineas.config import ArmConfig, EvaluationConfig, ScoreConfig
from vismodels.methods.lineas.evaluation import Evaluation, inducing
from vismodels.methods.lineas.folding import fold_
from vismodels.methods.lineas.layers import pipeline_modules
from vismodels.methods.lineas.learning import learn
from vismodels.methods.lineas.scoring import score

LAYERS = {"unet.conv_norm_out": 4, "unet.mid_block.resnets.0.norm1": 8}
ARMS = {
    "maps": ArmConfig(runs=2, grid={"only": {"kind": "act"}}),
    "words": ArmConfig(grid={"before": EDIT}),
}
CHOSEN = {"maps": ("only", ARMS["maps"].grid["only"]), "words": ("before", EDIT)}


def evaluation_of(pipeline, seed, prompts=None):
    about = about_star(seed)
    return Evaluation(
        pipeline,
        RedReader(),
        about,
        prompts or about.test,
        seed=seed,
        batch_size=2,
        call=CALL.arguments(),
    )


@pytest.fixture
def learnt(random_maps):
    """Return maps of two seeds."""
    return {"maps": {seed: random_maps(LAYERS) for seed in (0, 1)}}


@pytest.fixture
def scored(sd, learnt):
    """Return a function that scores, with other settings of the evaluation."""

    def run(**changes):
        config = stage_config(
            ScoreConfig,
            arms=ARMS,
            evaluation=EvaluationConfig(strengths=(1.0, 0.5), batch_size=2, **changes),
        )
        return score(
            config, sd, RedReader(), about_star, learnt=learnt, chosen=CHOSEN, card="scenes"
        )

    return run


def found(scores, variant, seed):
    """Return strength -> record, and None -> the record of all strengths."""
    chosen = [s for s in scores if (s.variant, s.seed) == (variant, seed)]
    return {s.condition.get("strength"): s for s in chosen if "folded" not in s.condition}


def test_every_arm_is_scored_on_its_seeds_at_every_strength(scored):
    scores = scored().scores
    points = {(s.variant, s.seed, s.condition.get("strength")) for s in scores}
    ends = {(v, seed, at) for v, at in (("unsteered", 0), ("words_removed", 1)) for seed in (0, 1)}
    arms = {(*run, at) for run in (("maps", 0), ("maps", 1), ("words", 0)) for at in (0.5, 1, None)}
    assert points == ends | arms
    assert len(scores) == len(points)
    assert all(s.dataset == {"card": "scenes", "split": "test", "items": 3} for s in scores)
    assert {s.condition["concept"] for s in scores} == {"star"}
    settings = {s.variant: s.condition.get("settings") for s in scores}
    assert settings == {"unsteered": None, "words_removed": None, "maps": "only", "words": "before"}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_values_are_those_of_the_evaluation_on_prompts_and_noise_of_the_seed(
    sd, scored, learnt, seed
):
    records = found(scored().scores, "maps", seed)
    evaluation, maps = evaluation_of(sd, seed), learnt["maps"][seed]
    points = [evaluation.point(maps, strength) for strength in (0.5, 1.0)]
    for point in points:
        for value in point.values(RedReader.presence_metric):
            assert records[point.strength].value(value.metric.name) == value
    for value in evaluation.areas(points):
        assert records[None].value(value.metric.name) == value
    assert records[None].value("map_support").value == 100.0
    assert records[1.0].value("map_support").value == 100.0
    assert records[None].value("mapped_units").value == 12


def test_words_are_scored_without_maps(sd, scored):
    records = found(scored().scores, "words", 0)
    edit = learn(sd, about_star(), EDIT, call=CALL, seed=0)
    expected = evaluation_of(sd, 0).point(edit, 1.0).values(RedReader.presence_metric)
    assert [records[1.0].value(value.metric.name) for value in expected] == expected
    names = [value.metric.name for value in records[None].values]
    assert names == ["counterfactual_area", "image_area"]


def test_shown_are_the_first_images_of_the_first_seed_as_bytes(sd, scored, learnt):
    shown = scored(shown=("maps",), shown_prompts=2).shown
    assert shown["prompts"].tolist() == ["a red cube with star", "a blue cube with star"]
    evaluation = evaluation_of(sd, 0)
    expected = {
        "unsteered/0": evaluation.unsteered,
        "maps/0.5": evaluation.images(learnt["maps"][0], 0.5),
        "maps/1": evaluation.images(learnt["maps"][0]),
        "words_removed/1": evaluation.counterfactual,
    }
    assert set(shown) == {"prompts", *expected}
    for name, images in expected.items():
        pixels = (255 * images[:2]).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        assert shown[name].dtype == np.uint8
        np.testing.assert_array_equal(shown[name], pixels)


def test_inverse_maps_are_scored_on_prompts_without_the_concept(sd, scored, learnt):
    scores = scored(inverted=("maps",)).scores
    evaluation = evaluation_of(sd, 1, inducing(about_star(1).test))
    point = evaluation.point(learnt["maps"][1].inverse(), 0.5)
    records = found(scores, "maps_inverse", 1)
    assert set(records) == {0.5, 1.0}
    for value in point.values(RedReader.presence_metric):
        assert records[0.5].value(value.metric.name) == value
    start = found(scores, "without_concept", 1)[0.0]
    assert start.value("concept_presence").value != point.presence.mean().item()
    assert start.value("counterfactual_mse").value > 0


def test_folding_agrees_with_inserting_and_leaves_the_pipeline_as_it_was(sd, scored):
    before = tensor_digest(pipeline_modules(sd))
    result = scored(folded=("maps",))
    assert tensor_digest(pipeline_modules(sd)) == before
    assert not hooks_of(sd)
    (record,) = [s for s in result.scores if s.condition.get("folded") == "yes"]
    assert (record.variant, record.seed) == ("maps", 0)
    assert 0 < record.value("folded_difference").value < 1e-5
    assert set(result.timings) == {
        "cpu_seconds_per_image_plain",
        "cpu_seconds_per_image_maps_hooked",
        "cpu_seconds_per_image_maps_folded",
    }
    assert min(result.timings.values()) > 0


def test_weights_are_restored_if_scoring_folded_maps_fails(sd, scored, monkeypatch):
    before = tensor_digest(pipeline_modules(sd))

    def failing(pipeline, maps):
        fold_(pipeline, maps)
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "fold_", failing)
    with pytest.raises(KeyboardInterrupt):
        scored(folded=("maps",))
    assert tensor_digest(pipeline_modules(sd)) == before


def test_plain_hooked_and_folded_take_turns_after_a_warm_up(sd, scored, monkeypatch):
    calls = []
    images = Evaluation.images

    def watched(self, method=None, strength=1.0):
        folded = tensor_digest(pipeline_modules(sd)) != before
        calls.append("folded" if folded else "hooked" if method else "plain")
        return images(self, method, strength)

    before = tensor_digest(pipeline_modules(sd))
    monkeypatch.setattr(Evaluation, "images", watched)
    scored(folded=("maps",))
    first = calls.index("folded") - 3
    turns = ["plain", "hooked", "folded"]
    assert calls[first : first + 7] == ["plain", *turns, *reversed(turns)]
