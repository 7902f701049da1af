import math

import pytest
import torch
from small_concepts import CALL, Painter, RedReader, about_star, asking
from torch.testing import assert_close

from vismodels.methods.lineas.evaluation import Evaluation, inducing
from vismodels.methods.lineas.prompting import NegativePrompt, PromptEdit
from vismodels.metrics.steering import COUNTERFACTUAL_AREA, IMAGE_AREA

AWAY = NegativePrompt("star", guidance_scale=2.0)  # leaves 1 - strength of the star
CUBE_AND_BALL = asking("a cube", "a ball")


def evaluate(pipeline=None, prompts=CUBE_AND_BALL, **options):
    options = {"seed": 0, "batch_size": 4, "call": {}} | options
    return Evaluation(pipeline or Painter(), RedReader(), about_star(), prompts, **options)


def areas(evaluation, points):
    return {value.metric: value.value for value in evaluation.areas(points)}


def test_half_a_star_scores_what_is_computed_by_hand():
    point = evaluate().point(AWAY, 0.5)  # (1/2, 1, 0) and (1/2, 0, 1); without: (0, 1, 0), ...
    assert_close(point.presence, torch.tensor([50.0, 50.0]))
    assert_close(point.counterfactual_cosine, torch.full((2,), 1 / math.sqrt(1.25)))
    assert_close(point.image_cosine, torch.full((2,), 1.5 / math.sqrt(2 * 1.25)))
    assert_close(point.counterfactual_mse, torch.full((2,), 0.25 / 3))
    values = {value.metric.name: value for value in point.values(RedReader.presence_metric)}
    assert values["concept_presence"].items == {"000": 50.0, "001": 50.0}
    assert values["other_attributes"].value == 80.0
    assert values["counterfactual_mse"].value == 0.08333


def test_what_nobody_knows_is_not_scored():
    evaluation = evaluate()
    point = evaluation.start()
    object.__setattr__(point, "others", None)
    names = [value.metric.name for value in point.values(RedReader.presence_metric)]
    assert len(names) == 4
    assert "other_attributes" not in names


def test_chance_is_the_cosine_of_different_prompts():
    assert evaluate().chance == 0.0
    same = evaluate(prompts=asking("a cube", "a red cube"))
    assert same.chance == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("strengths", "of_counterfactual", "of_image"),
    [
        # Half the star: fidelity 0 where less remains, 0.894 (0.949) from there on.
        ([0.5], 0.5 / math.sqrt(1.25), 0.5 * 1.5 / math.sqrt(2.5)),
        # None of it: the counterfactual itself, and cos 45 degrees to the unsteered image.
        ([1.0], 1.0, math.sqrt(0.5)),
        ([1.0, 0.5], 1.0, 0.5 * math.sqrt(0.5) + 0.5 * 1.5 / math.sqrt(2.5)),
    ],
)
def test_areas_are_those_computed_by_hand(strengths, of_counterfactual, of_image):
    evaluation = evaluate()
    found = areas(evaluation, evaluation.curve(AWAY, strengths))
    assert found[COUNTERFACTUAL_AREA] == pytest.approx(of_counterfactual)
    assert found[IMAGE_AREA] == pytest.approx(of_image)


def test_a_method_that_does_nothing_has_no_area():
    evaluation = evaluate()
    found = areas(evaluation, evaluation.curve(PromptEdit(lambda prompt: prompt), [0.5, 1.0]))
    assert set(found.values()) == {0.0}


def test_without_a_concept_to_remove_areas_are_undefined():
    evaluation = evaluate(prompts=asking("a cube", "a ball", concept="night"))
    assert set(areas(evaluation, [evaluation.point(AWAY, 1.0)]).values()) == {None}


def test_curves_rise_from_weak_to_strong():
    points = evaluate().curve(AWAY, [1.0, 0.25, 0.5])
    assert [point.strength for point in points] == [0.25, 0.5, 1.0]
    assert [point.presence[0].item() for point in points] == [75, 50, 0]


def test_strength_0_is_the_unsteered_pipeline_bit_for_bit(sd, random_maps):
    evaluation = evaluate(sd, about_star().test, batch_size=2, call=CALL.arguments())
    maps = random_maps({"unet.conv_norm_out": 4})
    start, zero = evaluation.start(), evaluation.point(maps, 0.0)
    assert torch.equal(evaluation.images(maps, 0.0), evaluation.unsteered)
    for field in ("presence", "counterfactual_cosine", "counterfactual_mse", "image_cosine"):
        assert torch.equal(getattr(start, field), getattr(zero, field))
    assert_close(start.image_cosine, torch.ones(3))
    assert not torch.equal(evaluation.images(maps), evaluation.unsteered)


def test_the_ideal_point_is_the_counterfactual():
    point = evaluate().ideal_point()
    assert point.presence.tolist() == [0.0, 0.0]
    assert point.counterfactual_cosine.tolist() == [1.0, 1.0]
    assert point.counterfactual_mse.tolist() == [0.0, 0.0]


def test_noise_is_the_same_for_all_methods_and_differs_between_prompts_and_seeds():
    painter = Painter()
    evaluation = evaluate(painter)
    evaluation.point(AWAY, 1.0)
    evaluation.point(PromptEdit(str.upper), 1.0)
    first, *others = painter.noise
    assert others == [first] * 3  # the counterfactual and two methods
    assert len(set(first)) == 2
    assert set(evaluate(seed=1).seeds).isdisjoint(first)


def test_inducing_swaps_prompt_and_counterfactual():
    swapped = inducing(CUBE_AND_BALL)
    assert [(p.text, p.without) for p in swapped] == [
        ("a cube", "a cube with star"),
        ("a ball", "a ball with star"),
    ]
    assert [p.labels for p in swapped] == [p.labels for p in CUBE_AND_BALL]
    assert evaluate(prompts=swapped).start().presence.tolist() == [0.0, 0.0]


def test_one_prompt_alone_is_refused():
    with pytest.raises(ValueError, match="two prompts or more, got 1"):
        evaluate(prompts=CUBE_AND_BALL[:1])
