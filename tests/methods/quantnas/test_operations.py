import re
from itertools import pairwise

import pytest

from vismodels.config import ConfigError
from vismodels.methods.quantnas.operations import (
    OPERATIONS,
    SKIP_CONNECT,
    ZERO,
    Conv,
    convolutions,
)


def shapes(name, i=12, o=24, c=48):
    return [
        (conv.in_channels, conv.out_channels, conv.kernel, conv.groups)
        for conv in convolutions(name, i, o, c)
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("simple_1x1", [(12, 24, (1, 1), 1)]),
        ("simple_9x9", [(12, 24, (9, 9), 1)]),
        ("simple_5x5_grouped_2", [(12, 24, (5, 5), 2)]),
        ("simple_3x3_grouped_3", [(12, 24, (3, 3), 3)]),
        ("simple_3x3_grouped_full", [(12, 24, (3, 3), 12)]),
        ("conv_5x1_1x5", [(12, 48, (5, 1), 1), (48, 24, (1, 5), 1)]),
        ("conv_3x1_1x3", [(12, 48, (3, 1), 1), (48, 24, (1, 3), 1)]),
        ("growth1_3x3", [(12, 48, (3, 3), 1), (48, 24, (3, 3), 1)]),
        ("growth2_5x5", [(12, 96, (5, 5), 1), (96, 24, (5, 5), 1)]),
        (
            "decenc_3x3_2",
            [(12, 24, (3, 3), 1), (24, 24, (3, 3), 1), (24, 24, (3, 3), 1)],
        ),
        (
            "decenc_5x5_8_g3",
            [(12, 6, (5, 5), 3), (6, 6, (5, 5), 3), (6, 24, (5, 5), 3)],
        ),
        ("DWS_3x3", [(12, 48, (1, 1), 1), (48, 24, (3, 3), 12)]),
        ("DWS_5x5", [(12, 48, (1, 1), 1), (48, 24, (5, 5), 12)]),
        (ZERO, []),
    ],
)
def test_an_operation_is_the_chain_that_its_name_says(name, expected):
    assert shapes(name) == expected


def test_a_skip_is_no_convolution():
    assert convolutions(SKIP_CONNECT, 12, 12, 48) == ()


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {SKIP_CONNECT, ZERO}))
def test_every_operation_leads_from_its_input_to_its_output_by_the_kernels_it_names(name):
    chain = convolutions(name, 24, 48, 24)
    assert chain[0].in_channels == 24
    assert chain[-1].out_channels == 48
    for before, after in pairwise(chain):
        assert before.out_channels == after.in_channels
    sizes = [(int(h), int(w)) for h, w in re.findall(r"(\d)x(\d)", name)]
    kernels = {conv.kernel for conv in chain}
    assert set(sizes) == kernels - ({(1, 1)} if name.startswith("DWS") else set())


def test_a_convolution_counts_its_weights():
    conv = Conv(12, 24, (3, 5), groups=3)
    assert conv.weight_shape == (24, 4, 3, 5)
    assert conv.macs_per_pixel == 24 * 4 * 3 * 5


# --- what is refused ---------------------------------------------------------------------------


def test_an_unknown_operation_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="'simpel_3x3'; did you mean 'simple_3x3'"):
        convolutions("simpel_3x3", 12, 12, 12)


@pytest.mark.parametrize(
    ("name", "i", "o"), [("simple_3x3_grouped_3", 16, 36), ("simple_3x3_grouped_3", 36, 16)]
)
def test_channels_that_the_groups_cannot_divide_are_refused(name, i, o):
    with pytest.raises(ConfigError, match=rf"{i} to {o} channels cannot be divided into 3 groups"):
        convolutions(name, i, o, 36)


def test_inner_channels_that_the_groups_cannot_divide_are_refused():
    with pytest.raises(ConfigError, match="from 12 to 8 channels cannot be divided into 3 groups"):
        convolutions("decenc_3x3_2_g3", 12, 12, 16)


def test_channels_that_the_bottleneck_cannot_divide_are_refused():
    with pytest.raises(ConfigError, match=r"decenc_3x3_8 from 12 .*12 channels .* factor 8"):
        convolutions("decenc_3x3_8", 12, 12, 12)


def test_one_group_a_channel_needs_a_multiple_of_the_input():
    with pytest.raises(ConfigError, match="cannot be divided into 12 groups; change `channels`"):
        convolutions("simple_3x3_grouped_full", 12, 16, 12)


def test_a_skip_between_different_widths_is_refused():
    with pytest.raises(ConfigError, match="12 to 24 channels: an identity needs equal channels"):
        convolutions(SKIP_CONNECT, 12, 24, 12)
