import pytest
from torch import nn

import vismodels
from vismodels.nn.residual_sr import ESPCN
from vismodels.zoo import create_model, list_models, model_info


def test_the_models_of_the_package_are_listed():
    assert {"espcn", "residual_sr"} <= set(list_models())


def test_models_are_filtered_by_pattern_and_task():
    assert list_models("esp*") == ["espcn"]
    assert list_models("esp*", task="super-resolution") == ["espcn"]
    assert list_models("no such*") == []


def test_an_unknown_task_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'super-resolution'"):
        list_models(task="superresolution")


def test_a_model_is_built_with_defaults_and_overrides():
    assert isinstance(create_model("espcn"), ESPCN)
    assert create_model("espcn").scale == 4
    assert create_model("espcn", scale=2).scale == 2


def test_an_unknown_model_suggests_the_nearest():
    for call in (create_model, model_info):
        with pytest.raises(KeyError, match=r"no architecture is called 'espnc'.*'espcn'"):
            call("espnc")


def test_an_unknown_argument_suggests_the_nearest():
    with pytest.raises(TypeError, match=r"no argument 'chanels'; did you mean 'channels'\?"):
        create_model("residual_sr", chanels=8)


def test_the_information_says_what_a_caller_must_know():
    info = model_info("residual_sr")
    assert (info.task, info.scale, info.input_shape[0]) == ("super-resolution", 4, 3)


def test_the_package_offers_the_zoo_at_its_top():
    assert isinstance(vismodels.create_model("espcn"), nn.Module)
    assert vismodels.list_models is list_models
