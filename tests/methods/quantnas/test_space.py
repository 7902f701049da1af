from math import log

import pytest
from pydantic import ValidationError

from vismodels.config import ConfigError, parse_config
from vismodels.methods.quantnas.network import PUBLISHED_EXAMPLE
from vismodels.methods.quantnas.space import (
    BasicSkeleton,
    RFDNSkeleton,
    SpaceConfig,
    candidate,
    genotype_cost,
    parse_candidate,
    with_bits,
)
from vismodels.nas.genotype import Genotype

PUBLISHED = SpaceConfig(skeleton=BasicSkeleton())
EXAMPLE = Genotype("basic", PUBLISHED_EXAMPLE)  # its upsampling is not in the published lists
DRAWN = PUBLISHED.random_genotype(0)


def space(skeleton, **settings):
    return parse_config(SpaceConfig, {"skeleton": skeleton, **settings}, "space")


# --- the published space -----------------------------------------------------------------------


def test_the_published_space_has_the_published_decisions():
    counts = {name: len(options) for name, options in PUBLISHED.candidates().items()}
    assert counts == {
        "head_0": 8,
        "head_1": 8,
        "body_0": 8,
        "body_1": 8,
        "skip_0": 6,
        "upsample": 8,
        "tail_0": 10,
        "tail_1": 10,
    }
    assert sum(log(count) for count in counts.values()) == pytest.approx(16.794, abs=5e-4)


def test_candidates_are_ordered_operation_by_operation():
    assert PUBLISHED.candidates()["skip_0"] == (
        *("simple_1x1@8", "simple_1x1@4"),
        *("simple_3x3@8", "simple_3x3@4"),
        *("simple_5x5@8", "simple_5x5@4"),
    )


def test_the_mean_cost_of_the_published_space_is_that_of_the_specification():
    def mean_cost(kind):
        return sum(sum(c) / len(c) for c in PUBLISHED.costs((32, 32), kind).values())

    assert mean_cost("bitops") == pytest.approx(8_604_942_336, abs=1)
    assert mean_cost("linear") == pytest.approx(2_581_482_701, abs=1)


def test_the_published_example_costs_what_its_figure_says():
    assert genotype_cost(BasicSkeleton(), EXAMPLE, (32, 32)) == 4_628_938_752
    large = genotype_cost(BasicSkeleton(), EXAMPLE, (256, 256))
    assert large == 64 * 4_628_938_752  # 296.252 G


def test_a_cost_counts_every_cell_and_the_size_of_the_layer():
    small = space({"kind": "basic", "channels": 12, "cells": 5, "scale": 3})
    costs = small.costs((2, 7))
    position = small.candidates()["skip_0"].index("simple_3x3@4")
    assert costs["skip_0"][position] == 5 * 2 * 7 * 12 * 12 * 9 * 4 * 4
    position = small.candidates()["tail_0"].index("simple_5x5_grouped_3@8")
    assert costs["tail_0"][position] == (2 * 3) * (7 * 3) * 3 * 12 * 25 // 3 * 8 * 8


def test_the_rfdn_space_has_decisions_for_every_cell():
    slots = {slot.name: slot for slot in RFDNSkeleton().slots()}
    assert len(slots) == 4 * 7 + 2
    assert [slots[f"cell_2_{part}"].out_channels for part in ("skip_1", "body_1", "body_3")] == [
        24,
        48,
        24,
    ]
    assert slots["tail_0"].resolution == 4
    lists = SpaceConfig(skeleton=RFDNSkeleton()).lists
    assert {group: len(names) for group, names in lists.items()} == {
        "body": 9,
        "skip": 9,
        "upsample": 9,
        "tail": 6,
    }


# --- bits of what reads or writes the image ----------------------------------------------------


@pytest.mark.parametrize(
    ("skeleton", "outer"),
    [
        ({"kind": "basic", "channels": 12}, {"head_0", "tail_1"}),
        ({"kind": "basic", "channels": 12, "tail_layers": 1}, {"head_0", "tail_0"}),
        ({"kind": "basic", "channels": 12, "tail_layers": 0}, {"head_0", "upsample"}),
        ({"kind": "rfdn", "channels": 12}, {"cell_0_skip_0", "cell_0_body_0", "tail_0"}),
        (
            {"kind": "rfdn", "channels": 12, "tail_layers": 0},
            {"cell_0_skip_0", "cell_0_body_0", "upsample"},
        ),
    ],
)
def test_io_bits_fix_the_layers_at_the_image_and_no_others(skeleton, outer):
    chosen = space(skeleton, io_bits=16).candidates()
    bits = {name: {parse_candidate(option)[1] for option in chosen[name]} for name in chosen}
    assert {name for name, found in bits.items() if found == {16}} == outer
    assert all(found == {8, 4} for name, found in bits.items() if name not in outer)


# --- genotypes ---------------------------------------------------------------------------------


def test_candidates_are_named_and_parsed_alike():
    assert parse_candidate(candidate("conv_3x1_1x3", 16)) == ("conv_3x1_1x3", 16)


def test_random_genotypes_belong_to_the_space_and_depend_on_the_seed_alone():
    drawn = [PUBLISHED.random_genotype(seed) for seed in range(20)]
    for genotype in drawn:
        PUBLISHED.check(genotype)
    assert drawn == [PUBLISHED.random_genotype(seed) for seed in range(20)]
    assert len({tuple(g.choices.values()) for g in drawn}) == 20
    assert len({g.choices["tail_1"] for g in drawn}) > 5


def test_other_bits_keep_the_operations():
    choices = with_bits(EXAMPLE, 32).choices
    assert choices["body_1"] == "conv_3x1_1x3@32"
    assert {name: parse_candidate(c)[0] for name, c in choices.items()} == {
        name: parse_candidate(c)[0] for name, c in PUBLISHED_EXAMPLE.items()
    }


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bdy_0": "simple_3x3@8"}, "no decision 'bdy_0'; did you mean 'body_0'"),
        ({"body_0": "simple_3x4@8"}, "body_0 has no candidate 'simple_3x4@8'; did you mean"),
        ({"body_0": "simple_3x3@2"}, "body_0 has no candidate 'simple_3x3@2'"),
    ],
)
def test_unknown_names_in_a_genotype_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        PUBLISHED.check(Genotype("basic", {**DRAWN.choices, **change}))


def test_missing_decisions_and_other_spaces_are_refused():
    some = {name: c for name, c in DRAWN.choices.items() if not name.startswith("tail")}
    with pytest.raises(ConfigError, match="says nothing about tail_0, tail_1"):
        PUBLISHED.check(Genotype("basic", some))
    with pytest.raises(ConfigError, match="space 'rfdn', expected 'basic'"):
        PUBLISHED.check(Genotype("rfdn", DRAWN.choices))


@pytest.mark.parametrize("name", ["simple_3x3", "simple_3x3@", "simple_3x3@5", "simple_3x3@08"])
def test_a_candidate_without_known_bits_is_refused(name):
    with pytest.raises(ConfigError, match=r"operation@bits with bits of .*2, 4, 8, 16, 32"):
        parse_candidate(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": [8, 5]}, r"bits must be of .*got \[5\]"),
        ({"io_bits": 7}, r"bits must be of .*got \[7\]"),
        ({"bits": []}, "bits"),
        ({"bits": [8, 8]}, "head_0 has a candidate twice"),
        ({"operations": {"head": ["simple_3x3"]}}, "operations must list the groups body, head"),
    ],
)
def test_bits_and_operations_that_cannot_be_searched_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        space({"kind": "basic"}, **settings)


def test_an_operation_that_a_layer_cannot_have_is_refused_with_the_layer():
    with pytest.raises(
        ConfigError, match=r"head_0: simple_3x3_grouped_3 from 3 to 16 .* divided into 3 groups"
    ):
        space({"kind": "basic", "channels": 16})


def test_the_published_lists_are_those_of_every_group_with_a_layer():
    operations = {group: ["simple_3x3"] for group in ("head", "body", "skip", "upsample")}
    without_tail = {"kind": "basic", "channels": 16, "tail_layers": 0}
    assert "tail_0" not in space(without_tail, operations=operations).candidates()
    with pytest.raises(ConfigError, match="tail"):
        space({"kind": "basic", "channels": 16}, operations=operations)


@pytest.mark.parametrize("scale", [1, 5, 2.5, "4"])
def test_other_scales_are_refused(scale):
    with pytest.raises(ConfigError, match=r"skeleton.*scale"):
        space({"kind": "basic", "scale": scale})


def test_a_width_that_the_rfdn_skeleton_cannot_have_is_refused():
    with pytest.raises(ValidationError, match=r"multiple of 12 .* got 40"):
        RFDNSkeleton(channels=40)
