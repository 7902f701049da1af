import pytest
from pydantic import ValidationError

from vismodels.config import parse_config
from vismodels.methods.quest.config import (
    LAYER_SETS,
    PRESETS,
    VARIANTS,
    ActivationQuantConfig,
    ClosedFormConfig,
    FinetuningConfig,
    LayerSets,
    QuantizationSettings,
    Recipe,
    ReconstructionConfig,
    recipe,
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


def test_layer_sets_have_their_names():
    assert set(LAYER_SETS) == {"paper", "code", "wide", "small"}


# --- finetuning and recipes ----------------------------------------------------------------------


def test_stages_of_the_paper_and_of_its_code():
    tla, cma = FinetuningConfig().stages
    assert [(s.name, s.weights, s.scales) for s in (tla, cma)] == [
        ("tla", "temporal", "own"),
        ("cma", "sensitive", "others"),
    ]
    assert {(s.weight_rate, s.scale_rate, s.local, s.global_weight) for s in (tla, cma)} == {
        (1e-5, 1e-4, "sum", 2.0)
    }
    first, second = FinetuningConfig(variant="code").stages
    assert (first.scale_rate, first.local, first.global_per_layer) == (1e-5, "mean", True)
    assert (second.scale_rate, second.local, second.global_per_layer) == (1e-4, "none", False)
    assert (first.timesteps, second.timesteps) == ("sequential", "cycled")


def test_what_is_set_stands_for_what_the_variant_says():
    config = FinetuningConfig(variant="selective", weight_rate=1e-3, local="relative")
    (stage,) = config.stages
    assert (stage.weight_rate, stage.local) == (1e-3, "relative")
    assert stage.scale_rate == VARIANTS["selective"][0].scale_rate
    assert config.layers == LAYER_SETS["paper"]


@pytest.mark.parametrize(
    ("variant", "expected"), [("paper", (3, 4)), ("tla", (7,)), ("full", (7,))]
)
def test_iterations_are_divided_among_stages(variant, expected):
    assert FinetuningConfig(variant=variant, iterations=7).stage_iterations == expected


def test_a_stage_without_an_iteration_is_refused():
    with pytest.raises(ValidationError, match="paper has 2 stages, got 1 iterations"):
        FinetuningConfig(iterations=1)


def test_finetuning_comes_from_yaml():
    section = {"variant": "code", "iterations": 40, "layer_set": "code"}
    assert len(parse_config(FinetuningConfig, section, "quest.finetuning").stages) == 2


def test_recipes_have_their_variants_and_budgets():
    budget = FinetuningConfig(iterations=8, layer_set="wide")
    variants = {
        name: recipe(name, finetuning=budget).finetuning
        for name in ("tla", "tla_cma", "selective", "full")
    }
    assert {name: each.variant for name, each in variants.items()} == {
        "tla": "tla",
        "tla_cma": "paper",
        "selective": "selective",
        "full": "full",
    }
    assert {(each.iterations, each.layer_set) for each in variants.values()} == {(8, "wide")}
    starts = {name: recipe(name) for name in ("tla", "tla_cma", "selective", "full")}
    assert [each.closed_form is not None for each in starts.values()] == [False, False, True, True]
    assert recipe("rtn").quantization.activations.ranges == "minmax"
    assert recipe("mse", PRESETS["w4a8"]).quantization == PRESETS["w4a8"]


def test_weights_rounded_twice_are_refused():
    with pytest.raises(ValidationError, match="leave one out"):
        Recipe(
            quantization=PRESETS["w4a4"],
            reconstruction=ReconstructionConfig(),
            closed_form=ClosedFormConfig(),
        )
