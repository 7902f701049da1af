import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.methods.quest.workflow_config import (
    RESERVED,
    PublishedDenoiser,
    QuestWorkflowConfig,
    ScenesDenoiser,
)

ARM = {"grid": {"only": {"quantization": {}}}}


def parsed(arms=None, seeds=(0, 1), **problem):
    given = {"denoiser": {"kind": "scenes"}, "arms": arms or {"mse": ARM, "tuned": ARM}, **problem}
    return parse_config(
        QuestWorkflowConfig, {"seeds": list(seeds), "problems": {"scenes": given}}, "quest"
    )


def test_the_kind_decides_which_denoiser_it_is():
    assert isinstance(parsed().problems["scenes"].denoiser, ScenesDenoiser)
    published = parsed(denoiser={"kind": "diffusers", "source": "ldm"}).problems["scenes"]
    assert isinstance(published.denoiser, PublishedDenoiser)
    assert published.denoiser.prompts is None
    with pytest.raises(ConfigError, match="source"):
        parsed(denoiser={"kind": "diffusers"})


def test_an_overlay_takes_arms_away():
    assert list(parsed({"mse": ARM, "tuned": None}).problems["scenes"].arms) == ["mse"]
    with pytest.raises(ConfigError, match="arms"):
        parsed({"mse": None})


@pytest.mark.parametrize(
    "shown",
    [{"arms": ["tund"]}, {"executed": ["tund"]}, {"histograms": ["tund"]}, {"sensitivity": "tund"}],
)
def test_only_arms_that_there_are_can_be_shown(shown):
    with pytest.raises(ConfigError, match=r"shown: no arm 'tund'.*tuned"):
        parsed(shown=shown)


def test_what_is_shown_may_be_any_arm():
    shown = {"arms": ["mse"], "executed": ["tuned"], "sensitivity": "mse", "histograms": ["tuned"]}
    assert parsed(shown=shown).problems["scenes"].shown.arms == ("mse",)


@pytest.mark.parametrize("name", RESERVED)
def test_names_of_what_stands_beside_arms_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name!r} is the name of something else"):
        parsed({name: ARM})


def test_every_run_needs_a_seed():
    assert parsed({"mse": {**ARM, "runs": 2}}).problems["scenes"].arms["mse"].runs == 2
    with pytest.raises(ConfigError, match="runs on 3 seeds, but there are 2"):
        parsed({"mse": {**ARM, "runs": 3}})


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_distance_needs_two_images(part):
    with pytest.raises(ConfigError, match=part):
        parsed(counts={part: 1})


def test_a_published_pipeline_is_asked_by_texts_or_by_classes():
    given = {"kind": "diffusers", "source": "ldm", "prompts": "prompts.txt", "classes": 10}
    with pytest.raises(ConfigError, match="by prompts or by classes; give one of the two"):
        parsed(denoiser=given)


def test_no_more_steps_are_kept_than_there_are():
    sampling = {"num_inference_steps": 4, "kept_steps": 4}
    assert parsed(sampling=sampling).problems["scenes"].sampling.kept_steps == 4
    with pytest.raises(ConfigError, match=r"kept_steps \(5\) cannot exceed num_inference_steps"):
        parsed(sampling={**sampling, "kept_steps": 5})
