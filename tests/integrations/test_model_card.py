import yaml

from vismodels.integrations.model_card import BEGIN, IMPORT, model_card
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


# --- a card that there is already -----------------------------------------------------------------


def card_over(before, settings=PRESETS["w4a4"]):
    return model_card("UNet2DConditionModel", settings, True, before)


def test_our_section_comes_after_the_text_of_others_whose_head_stays():
    before = "---\nlicense: mit\n---\n\nPaints cats.\n"
    card = card_over(before)
    assert card.startswith(before)
    assert card.index("Paints cats.") < card.index(IMPORT)
    assert card.count("---\n") == 2


def test_a_section_is_replaced_by_that_of_the_network_and_the_rest_stays():
    before = card_over("Mine.") + "\nMine, too.\n"
    after = card_over(before, PRESETS["w8a8"])
    assert "8-bit activations" in after
    assert "4-bit activations" not in after
    assert after.count(BEGIN) == after.count(IMPORT) == 1
    assert after.startswith("Mine.")
    assert after.endswith("\nMine, too.\n")
    assert card_over(after, PRESETS["w8a8"]) == after


def test_a_card_of_ours_alone_is_replaced_as_a_whole():
    assert card_over(card_over("", PRESETS["w8a8"])) == card_over("")


def test_a_card_that_says_what_to_import_stays_as_it_is():
    before = f"Mine.\n\n    {IMPORT}\n"
    assert card_over(before) == before
