import pytest
from small_pipelines import TARGET

from vismodels.methods.lineas.prompting import NegativePrompt, PromptEdit

NEGATIVE = NegativePrompt("star", guidance_scale=5.0)
EDIT = PromptEdit(lambda prompt: f"{prompt} without star")


@pytest.mark.parametrize("method", [NEGATIVE, EDIT])
def test_strength_0_leaves_the_call_alone(method):
    assert method(TARGET, 0) == {"prompt": TARGET}


def test_the_strength_of_a_negative_prompt_dials_the_guidance():
    arguments = NEGATIVE(["a", "b"], 0.5)
    assert arguments == {
        "prompt": ["a", "b"],
        "negative_prompt": ["star", "star"],
        "guidance_scale": 3,
    }
    assert "true_cfg_scale" in NegativePrompt("star", 5.0, "true_cfg_scale")(["a"], 1)


def test_an_edit_changes_every_prompt():
    assert EDIT(["a ball"], 0.2) == {"prompt": ["a ball without star"]}


@pytest.mark.parametrize("method", [NEGATIVE, EDIT])
def test_a_strength_outside_its_range_is_refused(method):
    with pytest.raises(ValueError, match="0 to 1"):
        method(TARGET, 2)
