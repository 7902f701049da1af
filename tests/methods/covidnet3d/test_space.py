import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.config import ConfigError, parse_config
from vismodels.methods.covidnet3d.space import (
    OPERATIONS,
    WIDTHS,
    SpaceConfig,
    kernel_and_expansion,
    make_divisible,
    operation_macs,
    operation_parameters,
)

SMALL = SpaceConfig(
    stem_channels=4, first_channels=4, widths=(6, 8), blocks=(2, 1), strides=(2, 1),
    head_channels=10, largest_kernel=(3,),
)  # fmt: skip


def test_the_published_space_has_21_blocks_of_8_operations():
    candidates = SpaceConfig().candidates()
    assert len(candidates) == 21
    assert set(candidates.values()) == {OPERATIONS}


def test_the_published_code_has_9_or_10_choices_of_which_3_at_most_are_free():
    candidates = SpaceConfig(layout="reference").candidates()
    counts = [len(of) for of in candidates.values()]
    assert (counts.count(9), counts.count(10)) == (6, 15)
    assert "skip" not in {name for of in candidates.values() for name in of}


def test_the_last_map_of_a_published_search_has_one_slice():
    assert list(SpaceConfig().sizes((16, 64, 64)).values())[-1] == (1, 2, 2)
    assert list(SpaceConfig().sizes((32, 512, 512)).values())[-1] == (1, 16, 16)


def test_depth_strides_keep_the_resolution_of_the_slices():
    config = SpaceConfig(depth_strides=(1, 2, 2, 2, 1, 1, 1))
    assert list(config.sizes((32, 128, 128)).values())[-1] == (4, 4, 4)
    assert config.stem_strides() == (1, 2, 2)


@pytest.mark.parametrize(
    ("operation", "expected"), [("mbconv_3_6", (3, 6)), ("skip", (0, 0)), ("mbconv_11_1", (11, 1))]
)
def test_names_tell_kernel_and_expansion(operation, expected):
    assert kernel_and_expansion(operation) == expected


@pytest.mark.parametrize("operation", ["mbconv_4_3", "mbconv_3_0", "mbconv_3", "conv_3_3", ""])
def test_other_names_are_refused(operation):
    with pytest.raises(ConfigError, match=f"no operation '{operation}'; it is `skip` or"):
        kernel_and_expansion(operation)


def test_the_formula_of_the_specification_counts_the_parameters():
    # 2 e C^2 + e C k^3 + 4 e C + 2 C at C = 24, k = 5, e = 3
    assert operation_parameters("mbconv_5_3", 24) == 3456 + 9000 + 288 + 48
    assert operation_parameters("skip", 24) == 0


def test_operations_are_counted_at_every_voxel():
    assert operation_macs("mbconv_3_2", 4, (2, 3, 5)) == 30 * (8 * 4 + 8 * 27 + 8 * 4)
    assert operation_macs("skip", 4, (2, 3, 5)) == 0


@given(st.floats(1, 2000))
def test_multiples_of_8_are_at_most_a_tenth_smaller(value):
    assert make_divisible(value) % 8 == 0
    assert make_divisible(value) >= 0.9 * value


def test_the_width_multiplier_does_not_accumulate():
    config = SpaceConfig(width_mult=0.5)
    first = [stage.channels for stage in config.stages()]
    assert first == [stage.channels for stage in config.stages()] == [16, 24, 40, 48, 96, 160]
    assert config.widths == WIDTHS["S"]


def test_large_kernels_can_be_kept_off_the_first_stages():
    candidates = SMALL.candidates()
    assert candidates["stage0_block0"] == ("mbconv_3_3", "mbconv_3_4", "mbconv_3_6", "skip")
    assert candidates["stage1_block0"] == OPERATIONS


def test_a_random_network_of_equal_cost_costs_nearly_as_much():
    wanted = SpaceConfig().uniform("mbconv_5_3")
    cost = SpaceConfig().macs(wanted, (16, 32, 32))
    found = SpaceConfig().random_like(wanted, (16, 32, 32), random.Random(0), draws=300)
    assert SpaceConfig().macs(found, (16, 32, 32)) == pytest.approx(cost, rel=0.05)
    assert found != wanted


def test_a_random_network_of_equal_cost_is_another_one_even_in_a_small_space():
    small = SpaceConfig(
        widths=(8,), blocks=(2,), strides=(1,), operations=("mbconv_3_3", "skip"), head_channels=8
    )
    one, other = (
        small.genotype({"stage0_block0": first, "stage0_block1": second})
        for first, second in (("mbconv_3_3", "skip"), ("skip", "mbconv_3_3"))
    )
    for seed in range(5):
        assert small.random_like(one, (8, 8, 8), random.Random(seed)) == other


def test_a_space_of_one_network_has_no_random_one():
    single = SpaceConfig(widths=(8,), blocks=(1,), strides=(1,), operations=("mbconv_3_3",))
    with pytest.raises(ConfigError, match="a single network"):
        single.random_like(single.uniform("mbconv_3_3"), (8, 8, 8), random.Random(0), draws=10)


def test_random_networks_use_all_operations_evenly():
    rng = random.Random(0)
    drawn = [choice for _ in range(100) for choice in SpaceConfig().draw(rng).choices.values()]
    assert all(drawn.count(name) == pytest.approx(2100 / 8, rel=0.25) for name in OPERATIONS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blocks": [1]}, "widths names 6 stages, blocks 1"),
        ({"depth_strides": [1, 1]}, "so 7 numbers; got 2"),
        ({"operations": ["skip", "skip"]}, "operations occur twice"),
        ({"operations": ["mbconv_7_3"], "largest_kernel": [3]}, "leaves stage 0 without"),
        ({"operations": ["mbconv_3_33x"]}, "did you mean 'mbconv_3_3'"),
        ({"largest_kernel": [3] * 7}, "more than the 6 stages"),
        ({"widhts": [1]}, "did you mean 'widths'"),
    ],
)
def test_sizes_that_do_not_fit_are_named(change, words):
    with pytest.raises(ConfigError, match=words):
        parse_config(SpaceConfig, change, "space")


def test_a_genotype_of_another_space_is_refused():
    with pytest.raises(ConfigError, match="no decision 'stage0_block7'"):
        SMALL.genotype(dict.fromkeys([*SMALL.candidates(), "stage0_block7"], "skip"))
    with pytest.raises(ConfigError, match="no candidate 'mbconv_7_3'"):
        SMALL.uniform("mbconv_7_3")
