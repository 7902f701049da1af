import copy
import pickle

import pytest
from diffusers import UNet2DConditionModel
from small_denoisers import build_unet
from small_pipelines import build
from torch import nn

from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    QuantizationSettings,
    WeightQuantConfig,
)
from vismodels.methods.quest.packed import pack_
from vismodels.methods.quest.quantize import dequantize_, quantize_
from vismodels.methods.quest.saving import allow_saving_, refuse_saving_

SETTINGS = QuantizationSettings(
    weights=WeightQuantConfig(ranges="minmax"),  # quickly found
    activations=ActivationQuantConfig(ranges="minmax"),
    split_shortcuts=False,
)
REFUSAL = "not packed: .*pack_for_diffusers_"


def quantized():
    model = build_unet()
    quantize_(model, SETTINGS)
    return model


def packed():
    """Return a network that is packed, but not known to diffusers."""
    model = quantized()
    pack_(model)
    return model


def unpickled():
    return pickle.loads(pickle.dumps(quantized()))


@pytest.mark.parametrize("make", [quantized, lambda: copy.deepcopy(quantized()), unpickled, packed])
def test_a_network_that_would_come_back_as_the_float_one_is_not_saved(make, tmp_path):
    model = make()
    with pytest.raises(ValueError, match=REFUSAL):
        model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=REFUSAL):
        model.push_to_hub("name")
    assert not list(tmp_path.iterdir())


def test_nor_is_the_pipeline_that_it_is_part_of(tmp_path):
    pipeline = build("sd")
    quantize_(pipeline.unet, SETTINGS)
    with pytest.raises(ValueError, match=REFUSAL):
        pipeline.save_pretrained(tmp_path)


def test_a_dequantized_network_is_saved_by_its_class(tmp_path):
    model = quantized()
    copied = copy.deepcopy(model)
    dequantize_(model)
    assert vars(model).keys() == vars(build_unet()).keys()
    model.save_pretrained(tmp_path)
    again = UNet2DConditionModel.from_pretrained(tmp_path)
    assert again.state_dict().keys() == model.state_dict().keys()
    with pytest.raises(ValueError, match=REFUSAL):  # the copy is quantized still
        copied.save_pretrained(tmp_path)


def test_other_modules_get_no_methods():
    model = nn.Sequential(nn.Linear(2, 2))
    refuse_saving_(model)
    assert not hasattr(model, "save_pretrained")


def test_methods_of_others_stay():
    model = quantized()
    model.save_pretrained = print
    allow_saving_(model)
    assert model.save_pretrained is print
    assert "push_to_hub" not in vars(model)
