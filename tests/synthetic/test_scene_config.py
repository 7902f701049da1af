import subprocess
import sys

import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.synthetic.scene_config import (
    JudgeConfig,
    SceneClassModelConfig,
    SceneModelConfig,
    ScenesConfig,
)


def test_the_defaults_are_the_measured_recipe():
    config = parse_config(SceneModelConfig, {}, "scene_model")
    assert config.scenes.jitter == 1
    assert config.scenes.corners == ("right",)
    assert (config.training.iterations, config.training.batch_size) == (1500, 32)
    assert config.scoring.gate == 93
    assert parse_config(JudgeConfig, {}, "judge").scenes == config.scenes
    classes = parse_config(SceneClassModelConfig, {}, "classes")
    assert (classes.training.iterations, classes.scoring.steps) == (4000, (4, 20))
    assert classes.code == config.code


def test_the_harder_scenes_are_configuration_values():
    section = {"scenes": {"jitter": 2.0, "corners": ["left", "right"]}}
    assert parse_config(SceneModelConfig, section, "x").scenes.corners == ("left", "right")


@pytest.mark.parametrize(
    ("model", "section", "message"),
    [
        (SceneModelConfig, {"scenes": {"jitter": 3.0}}, r"scenes\.jitter"),
        (SceneModelConfig, {"scenes": {"corners": []}}, r"scenes\.corners"),
        (SceneModelConfig, {"scenes": {"style_shares": [0.5, 0.2, 0.2]}}, r"sum to .*, expected 1"),
        (SceneModelConfig, {"code": {"patch_size": 3}}, r"code\.patch_size"),
        (SceneModelConfig, {"network": {"channels": [48, 60]}}, r"\[60\] are no multiples of norm"),
        (SceneModelConfig, {"network": {"heads": 5}}, r"\[48, 64\] are no multiples of heads"),
        (SceneModelConfig, {"network": {"text_heads": 3}}, r"text_width \(64\) is no multiple"),
        (SceneModelConfig, {"network": {"text_length": 16}}, r"network\.text_length"),
        (SceneModelConfig, {"training": {"warmup": 1500}}, r"warmup \(1500\) must be below"),
        (SceneModelConfig, {"training": {"batch": 3}}, "did you mean"),
        (SceneModelConfig, {"scoring": {"gate": 101}}, r"scoring\.gate"),
        (JudgeConfig, {"training": {"warmup": 500}}, r"warmup \(500\) must be below"),
        (JudgeConfig, {"training": {"batch_size": 1}}, r"training\.batch_size"),
        (ScenesConfig, {"model_seeds": [0, 0]}, r"seeds must differ"),
        (ScenesConfig, {"model_seeds": []}, r"model_seeds"),
    ],
)
def test_settings_that_make_no_sense_are_refused(model, section, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(model, section, "scene")


def test_configuration_captions_and_scenes_are_free_of_torch():
    code = (
        "import sys, vismodels.synthetic.scene_config, vismodels.synthetic.scene_prompts, "
        "vismodels.synthetic.scenes; "
        "print('torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.split() == ["False"], output.stderr
