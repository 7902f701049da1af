import yaml

from vismodels.integrations.model_card import IMPORT, model_card
from vismodels.methods.quest.config import PRESETS, QuantizationSettings


def test_the_head_is_metadata_and_the_text_says_what_to_import_before_loading():
    card = model_card("UNet2DConditionModel", PRESETS["w4a8"], calibrated=True)
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "diffusers"
    assert text.index(IMPORT) < text.index("UNet2DConditionModel.from_pretrained")
    assert "codes of 4 bits" in text
    assert "8-bit activations." in text


def test_time_groups_and_float_activations_are_told():
    groups = model_card("DiTTransformer2DModel", QuantizationSettings(time_groups=3), True)
    assert "4-bit activations in 3 time groups." in groups
    floats = model_card("DiTTransformer2DModel", QuantizationSettings(), False)
    assert "floating-point activations." in floats
