import pytest
from pydantic import ValidationError

from vismodels.config import ConfigError, parse_config
from vismodels.methods.lineas.config import ActConfig, FitConfig


def test_defaults_are_the_papers_for_text_to_image():
    config = FitConfig()
    assert config.layers == ("unet.*norm.*",)
    assert (config.iterations, config.batch_size) == (1000, 4)
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("adamw", 1e-4)
    assert (config.pooling, config.scaling, config.reduction) == ("mean", "none", "mean")
    assert (config.mode, config.noise, config.sparsity.gamma) == ("all", "fresh", 0)
    assert (config.call.num_inference_steps, config.call.guidance_scale) == (1, 0)
    assert (config.post_iterations, config.sparsity.l1, config.sparsity.group) == (0, 1, 1)


def test_linear_act_is_sequential_by_default():
    assert (ActConfig().estimator, ActConfig().order) == ("linear", "sequential")


def test_a_batch_below_four_is_refused_unless_forced():
    with pytest.raises(ValidationError, match="at least 4"):
        FitConfig(batch_size=3)
    assert FitConfig(batch_size=3, force_small_batch=True).batch_size == 3


def test_closed_forms_need_one_number_for_each_unit():
    with pytest.raises(ValidationError, match="mean_std"):
        ActConfig(pooling="mean_std")


def test_a_pattern_that_is_none_is_refused_when_it_is_read():
    with pytest.raises(ConfigError, match=r"lineas\.layers.*regular expression"):
        parse_config(FitConfig, {"layers": ["unet.(norm"]}, "lineas")
