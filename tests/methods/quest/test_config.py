import pytest
from pydantic import ValidationError

from vismodels.config import parse_config
from vismodels.methods.quest.config import (
    LAYER_SETS,
    PRESETS,
    ActivationQuantConfig,
    LayerSets,
    QuantizationSettings,
)


@pytest.mark.parametrize(
    ("name", "weights", "activations", "ranges"),
    [("w8a8", 8, 8, "minmax"), ("w4a8", 4, 8, "minmax"), ("w4a4", 4, 4, "mse")],
)
def test_presets_have_the_bits_of_their_names(name, weights, activations, ranges):
    preset = PRESETS[name]
    assert (preset.weights.bits, preset.activations.bits) == (weights, activations)
    assert preset.activations.ranges == ranges
    assert (preset.edge_bits, preset.softmax_bits) == (8, 8)


def test_settings_come_from_yaml():
    section = {"activations": {"granularity": "channel"}, "skip": ["conv_in"], "softmax_bits": None}
    settings = parse_config(QuantizationSettings, section, "quest.quantization")
    assert settings.skip == ("conv_in",)
    assert settings.softmax_bits is None


def test_edges_attention_and_softmax_have_one_scale_each():
    settings = QuantizationSettings(
        activations=ActivationQuantConfig(granularity="channel", symmetric=True)
    )
    assert settings.edge_activations.granularity == "tensor"
    assert (settings.edge_activations.bits, settings.edge_activations.ranges) == (8, "minmax")
    assert settings.attention.granularity == "tensor"
    assert settings.attention.bits == 4
    assert settings.probabilities.granularity == "tensor"
    assert not settings.probabilities.symmetric


def test_running_extremes_of_a_search_are_refused():
    with pytest.raises(ValidationError, match="ranges: minmax, got mse"):
        ActivationQuantConfig(ranges="mse", momentum=0.95)


def test_scales_of_channels_and_time_groups_are_refused():
    with pytest.raises(ValidationError, match="needs time_groups: 1, got 2"):
        QuantizationSettings(
            activations=ActivationQuantConfig(granularity="channel"), time_groups=2
        )


@pytest.mark.parametrize("bits", [1, 17])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(ValidationError, match="bits"):
        ActivationQuantConfig(bits=bits)


def test_a_pattern_that_is_no_regular_expression_is_refused():
    with pytest.raises(ValidationError, match="no regular expression"):
        LayerSets(temporal=("(",), sensitive=())


def test_layer_sets_have_their_three_names():
    assert set(LAYER_SETS) == {"paper", "code", "wide"}
