import pytest
import torch

from vismodels.checkpoint import tensor_digest
from vismodels.config import ConfigError, parse_config
from vismodels.cost.counters import count
from vismodels.methods.quantnas.build import bits_text, build_network, costs
from vismodels.methods.quantnas.config import TrainConfig
from vismodels.methods.quantnas.fixed import FixedSR
from vismodels.methods.quantnas.network import PUBLISHED_EXAMPLE, SearchedSR
from vismodels.methods.quantnas.space import genotype_cost, parse_candidate
from vismodels.nas.genotype import Genotype
from vismodels.quantization.layers import QuantConv2d, bits_of

SKELETON = {"kind": "basic", "channels": 12, "cells": 1, "head_layers": 1, "tail_layers": 1}
FOUND = Genotype(
    "basic",
    {
        "head_0": "simple_3x3@8",
        "body_0": "conv_3x1_1x3@4",
        "body_1": "simple_5x5@4",
        "skip_0": "simple_1x1@8",
        "upsample": "simple_3x3_grouped_3@4",
        "tail_0": "simple_3x3@8",
    },
)
OPERATIONS = {
    "head": "simple_3x3",
    "body": "simple_3x3",
    "skip": "simple_1x1",
    "upsample": "simple_3x3",
    "tail": "simple_3x3",
}
SEARCHED = {"kind": "searched", "search": "noise"}
UNIFORM = {"kind": "uniform", "space": "basic", "bits": 4, "operations": OPERATIONS}
ESPCN = {"kind": "fixed", "model": "espcn", "bits": 8}


def config(network=SEARCHED, *, scale=4, skeleton=None):
    section = {
        "scale": scale,
        "train_sets": ["a"],
        "validation_sets": ["b"],
        "spaces": {
            "basic": {"skeleton": {**SKELETON, **(skeleton or {})}},
            "espcn": {"model": "espcn", "bits": [8, 4]},
        },
        "searches": {"noise": {"space": "basic"}, "bits": {"space": "espcn"}},
        "variant": {"network": network},
        "training": {"iterations": 10, "validate_every": 4},
    }
    return parse_config(TrainConfig, section, "train")


def test_the_found_genotype_is_built_as_it_is():
    network = build_network(config(), FOUND, 0)
    assert isinstance(network, SearchedSR)
    assert network.genotype == FOUND


@pytest.mark.parametrize("bits", [4, 8, 32])
def test_the_found_operations_are_built_at_other_bits(bits):
    network = build_network(config({**SEARCHED, "bits": bits}), FOUND, 0)
    for name, choice in network.genotype.choices.items():
        assert parse_candidate(choice) == (parse_candidate(FOUND.choices[name])[0], bits)
    assert bits_text(network) == str(bits)


@pytest.mark.parametrize("bits", [4, 8, 32])
def test_a_uniform_network_has_one_operation_a_group_and_equal_bits(bits):
    network = build_network(config({**UNIFORM, "bits": bits}), None, 0)
    choices = network.genotype.choices
    assert choices["body_1"] == f"simple_3x3@{bits}"
    assert choices["skip_0"] == f"simple_1x1@{bits}"
    assert network.network.upsample.convolutions[0].weight.shape[1] == 12  # the skeleton's width


@pytest.mark.parametrize("bits", [4, 8])
def test_a_uniform_network_like_a_found_one_is_the_narrowest_that_costs_as_much(bits):
    settings = config({**UNIFORM, "bits": bits, "like": "noise"})
    network = build_network(settings, FOUND, 0)
    skeleton = settings.spaces["basic"].skeleton
    asked = genotype_cost(skeleton, FOUND, (32, 32))
    channels = network.network.upsample.convolutions[0].weight.shape[1]
    narrower = skeleton.model_copy(update={"channels": channels - 1})
    assert genotype_cost(narrower, network.genotype, (32, 32)) < asked
    counted = count(network, torch.zeros(1, 3, 32, 32), bits_of=bits_of)
    assert asked <= counted.bitops < 1.25 * asked
    assert (channels > 12) == (bits == 4)


def test_widths_that_a_uniform_operation_cannot_have_are_passed_over():
    operations = {**OPERATIONS, "upsample": "simple_3x3_grouped_3", "body": "decenc_3x3_4"}
    settings = config({**UNIFORM, "operations": operations, "like": "noise"})
    network = build_network(settings, FOUND, 0)
    channels = network.network.head["head_0"].out_channels
    assert channels % 12 == 0  # three groups, a fourth of the channels
    skeleton = settings.spaces["basic"].skeleton
    asked = genotype_cost(skeleton, FOUND, (32, 32))
    for width, is_enough in ((channels, True), (channels - 12, False)):
        config_of_width = skeleton.model_copy(update={"channels": width})
        cost = genotype_cost(config_of_width, network.genotype, (32, 32))
        assert (cost >= asked) == is_enough


def test_a_random_network_depends_on_its_draw_and_not_on_the_seed():
    def genotype(draw, seed):
        network = {"kind": "random", "space": "basic", "draw": draw}
        return build_network(config(network), None, seed).genotype

    assert genotype(0, 0) == genotype(0, 1)
    assert len({tuple(genotype(draw, 0).choices.items()) for draw in range(3)}) == 3


@pytest.mark.parametrize("model", ["espcn", "rfdn", "srresnet"])
@pytest.mark.parametrize("bits", [4, 8, 32])
def test_published_networks_are_built_at_equal_bits(model, bits):
    network = build_network(config({**ESPCN, "model": model, "bits": bits}), None, 0)
    assert isinstance(network, FixedSR)
    layers = [layer for layer in network.modules() if isinstance(layer, QuantConv2d)]
    assert {bits_of("", layer) for layer in layers} == {(bits, bits)}
    assert bits_text(network) == str(bits)


def test_bits_are_named_from_few_to_many():
    choices = {**FOUND.choices, "tail_0": "simple_3x3@16"}
    found = Genotype("basic", choices)
    assert bits_text(SearchedSR(SKELETON, dict(found.choices))) == "4/8/16"
    assert bits_text(FixedSR("espcn", {"layers.0": 8, "layers.2": 4, "layers.4": 8})) == "4/8"


def test_the_weights_depend_on_the_seed_alone():
    first, again, other = (build_network(config(), FOUND, seed) for seed in (0, 0, 1))
    assert tensor_digest(first) == tensor_digest(again) != tensor_digest(other)


# --- bits of a published network ---------------------------------------------------------------

BITS = Genotype("espcn", {"layers_0": "bits@8", "layers_2": "bits@4", "layers_4": "bits@4"})


@pytest.mark.parametrize(("bits", "expected"), [(None, [8, 4, 4]), (32, [32, 32, 32])])
def test_a_published_network_has_the_bits_that_a_search_found(bits, expected):
    source = {"kind": "searched", "search": "bits", "bits": bits}
    network = build_network(config(source), BITS, 0)
    assert isinstance(network, FixedSR)
    layers = [layer for layer in network.modules() if isinstance(layer, QuantConv2d)]
    assert [bits_of("", layer)[0] for layer in layers] == expected


def test_bits_of_layers_that_do_not_exist_are_refused():
    found = Genotype("espcn", {**BITS.choices, "layers_6": "bits@8"})
    with pytest.raises(ConfigError, match="no decision 'layers_6'; did you mean 'layers_"):
        build_network(config({"kind": "searched", "search": "bits"}), found, 0)


# --- cost --------------------------------------------------------------------------------------


def test_the_cost_of_the_published_example_is_that_of_its_figure():
    network = SearchedSR({"kind": "basic"}, PUBLISHED_EXAMPLE)
    values = {value.metric.name: value.value for value in costs(network)}
    assert values["parameters"] == 86_143
    assert values["bitops"] == 4_628_938_752
    assert values["bitops_256"] == 64 * 4_628_938_752
    assert values["macs"] == count(network, torch.zeros(1, 3, 32, 32)).macs
    assert next(network.parameters()).device.type == "cpu"  # a copy was counted


# --- what is refused ---------------------------------------------------------------------------


def test_a_space_of_another_scale_is_refused():
    with pytest.raises(ConfigError, match=r"enlarges by 2, the photographs are of scale 4; set"):
        build_network(config(skeleton={"scale": 2}), FOUND, 0)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"body_0": "simple_3x4@8"}, "body_0 has no candidate 'simple_3x4@8'; did you mean"),
        ({"bodi_0": "simple_3x3@8"}, "no decision 'bodi_0'; did you mean 'body_0'"),
        ({"body_0": "simple_3x3@16"}, "body_0 has no candidate 'simple_3x3@16'"),
    ],
)
def test_a_genotype_of_another_space_is_refused(choices, message):
    found = Genotype("basic", {**FOUND.choices, **choices})
    with pytest.raises(ConfigError, match=message):
        build_network(config(), found, 0)


def test_a_uniform_network_needs_an_operation_for_every_group():
    operations = {group: name for group, name in OPERATIONS.items() if group != "tail"}
    with pytest.raises(ConfigError, match="needs an operation for tail"):
        build_network(config({**UNIFORM, "operations": operations}), None, 0)


@pytest.mark.parametrize("like", [None, "noise"])
def test_a_uniform_network_of_unknown_operations_is_refused(like):
    network = {**UNIFORM, "operations": {**OPERATIONS, "body": "simple_3y3"}, "like": like}
    with pytest.raises(ConfigError, match="'simple_3y3'; did you mean 'simple_3x3'"):
        build_network(config(network), FOUND, 0)
