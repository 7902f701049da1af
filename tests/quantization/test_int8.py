import logging
import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from vismodels.quantization.functional import fake_quantize
from vismodels.quantization.int8 import (
    InputGrid,
    Int8Conv2d,
    Int8Linear,
    Int8Support,
    IntegerWeight,
    probe,
)
from vismodels.quantization.spec import QuantSpec

EIGHT, FOUR = QuantSpec(8, signed=False), QuantSpec(4, signed=False)
FORMS = {
    "padded": {"padding": (1, 1)},
    "padded more on one side": {"padding": (2, 0)},
    "unpadded": {},
    "strided": {"stride": (2, 1), "padding": (1, 1)},
    "dilated": {"dilation": (2, 1), "padding": (2, 1)},
    "grouped": {"groups": 2, "padding": (1, 1)},
    "depthwise": {"groups": 6, "padding": (1, 1)},
}

pytestmark = pytest.mark.skipif(not probe().available, reason="no 8-bit kernels here")


def close_to(exact):
    """Float32 results of integer sums: some units in the last place of the largest value."""
    return pytest.approx(exact, abs=3e-7 * float(exact.abs().max()), rel=0)


def weight_of(shape, generator, largest=15):
    values = torch.randint(-largest, largest + 1, shape, generator=generator, dtype=torch.int8)
    return IntegerWeight(values, torch.rand(shape[0], generator=generator) + 0.1)


def grid_of(spec, zero_point, scale=0.07):
    return InputGrid(torch.tensor([scale]), torch.tensor([float(zero_point)]), spec)


def seen(x, grid, channel_axis):
    """Return what the grid makes of `x`, in float64."""
    shape = [1] * x.ndim
    shape[channel_axis] = -1
    scale, zero_point = grid.scale.view(shape), grid.zero_point.view(shape)
    integers = (x / scale).round() + zero_point
    return (integers.clamp(grid.spec.minimum, grid.spec.maximum) - zero_point).double()


# --- exactness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_is_exact_up_to_its_border(form, bias, memory_format, generator):
    options = FORMS[form]
    weight = weight_of((12, 6 // options.get("groups", 1), 3, 3), generator)
    offset = torch.randn(12, generator=generator) if bias else None
    # Far from the middle: padding with the code 0 would stand for -14.
    grid = grid_of(EIGHT, 200)
    x = (3 * torch.randn(2, 6, 9, 7, generator=generator) - 4).to(memory_format=memory_format)
    exact = F.conv2d(
        seen(x, grid, 1) * grid.scale.double(),
        weight.values.double() * weight.scale.double()[:, None, None, None],
        None if offset is None else offset.double(),
        **options,
    )
    y = Int8Conv2d(weight, offset, (grid,), **options)(x)
    assert y.dtype == torch.float32
    assert y.double() == close_to(exact)


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 3, 6)])
@pytest.mark.parametrize(
    "spec", [EIGHT, FOUR, QuantSpec(4, signed=True), QuantSpec(8, signed=True)]
)
def test_a_linear_layer_is_exact_for_signed_and_unsigned_codes(shape, spec, generator):
    weight = weight_of((7, 6), generator)
    offset = torch.randn(7, generator=generator)
    grid = grid_of(spec, 0 if spec.signed else 3)
    x = torch.randn(shape, generator=generator)
    exact = F.linear(
        seen(x, grid, -1) * grid.scale.double(),
        weight.values.double() * weight.scale.double()[:, None],
        offset.double(),
    )
    assert Int8Linear(weight, offset, (grid,))(x).double() == close_to(exact)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [False, True])
def test_scales_of_input_channels_are_folded_and_padded_with_their_zero_points(
    form, bias, generator
):
    options = FORMS[form]
    weight = weight_of((12, 6 // options.get("groups", 1), 3, 3), generator)
    offset = torch.randn(12, generator=generator) if bias else None
    scale = torch.rand(6, generator=generator) + 0.05
    grid = InputGrid(scale, torch.tensor([0.0, 15, 4, 9, 2, 7]), FOUR, folded=True)
    x = torch.randn(2, 6, 9, 7, generator=generator)
    exact = F.conv2d(
        seen(x, grid, 1),  # its scale is in the weight
        weight.values.double() * weight.scale.double()[:, None, None, None],
        None if offset is None else offset.double(),
        **options,
    )
    y = Int8Conv2d(weight, offset, (grid,), **options)(x)
    assert y.double() == close_to(exact)


def test_a_folded_linear_layer_is_exact(generator):
    weight = weight_of((8, 3), generator)
    grid = InputGrid(torch.tensor([0.1, 1, 0.3]), torch.tensor([0.0, 15, 4]), FOUR, folded=True)
    x = torch.randn(4, 5, 3, generator=generator)
    exact = F.linear(seen(x, grid, -1), weight.values.double() * weight.scale.double()[:, None])
    assert Int8Linear(weight, None, (grid,))(x).double() == close_to(exact)


def test_one_folded_channel_is_not_taken_for_one_scale_of_all(generator):
    weight = weight_of((2, 1), generator)
    grid = InputGrid(torch.tensor([0.25]), torch.tensor([3.0]), FOUR, folded=True)
    exact = seen(torch.ones(1, 1), grid, -1) @ (weight.values * weight.scale[:, None]).double().T
    assert Int8Linear(weight, None, (grid,))(torch.ones(1, 1)).double() == close_to(exact)


def test_codes_are_those_of_the_quantizer_at_ties_and_ends():
    # 0.5 and 1.5 steps round to even, and what lies outside is clipped
    grid = grid_of(FOUR, 4, scale=0.25)
    x = torch.tensor([-9.0, -1, -0.125, 0, 0.125, 0.375, 2.75, 9])
    ones = IntegerWeight(torch.ones(1, 1, dtype=torch.int8), torch.ones(1))
    y = Int8Linear(ones, None, (grid,))(x[:, None])[:, 0]
    assert torch.equal(y, fake_quantize(x, grid.scale, grid.zero_point, FOUR))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_of_half_precision_are_those_of_the_quantizer_too(dtype, generator):
    grid = grid_of(EIGHT, 100, scale=0.013)
    x = torch.randn(500, 1, generator=generator).to(dtype)
    ones = IntegerWeight(torch.ones(1, 1, dtype=torch.int8), torch.ones(1))
    y = Int8Linear(ones, None, (grid,))(x)
    assert y.dtype == dtype
    assert torch.equal(y, fake_quantize(x, grid.scale, grid.zero_point, EIGHT).to(dtype))


def test_the_input_is_left_as_it_is(generator):
    x = torch.randn(2, 6, 5, 5, generator=generator)
    before = x.clone()
    Int8Conv2d(weight_of((4, 6, 3, 3), generator), None, (grid_of(FOUR, 3),))(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("group", [0, 1])
def test_a_time_group_has_its_own_grid(group, generator):
    grids = (grid_of(EIGHT, 0, scale=0.02), grid_of(EIGHT, 120))
    weight = weight_of((8, 6, 3, 3), generator)
    x = torch.randn(2, 6, 5, 5, generator=generator)
    alone = Int8Conv2d(weight, None, (grids[group],), padding=(1, 1))(x)
    assert torch.equal(Int8Conv2d(weight, None, grids, padding=(1, 1))(x, group), alone)


def test_the_type_of_the_input_comes_back(generator):
    x = torch.randn(3, 6, generator=generator).bfloat16()
    assert Int8Linear(weight_of((4, 6), generator), None, (grid_of(EIGHT, 99),))(x).dtype == x.dtype


# --- integers of a weight ------------------------------------------------------------------------


def test_weights_that_fit_are_exact():
    weight = IntegerWeight.of(
        torch.tensor([[0, 15], [7, 3]]), torch.tensor([0.5, 2]), torch.tensor([15.0, 0]), 127
    )
    assert weight.values.tolist() == [[-15, 0], [7, 3]]
    assert weight.scale.tolist() == [0.5, 2]
    assert weight.limited is None


def test_only_channels_that_do_not_fit_are_rounded_once_more():
    # 255 - 127 = 128 steps become 64 of twice the size; -50 / 2 = -25, and 1 / 2 rounds to 0
    codes = torch.tensor([[255, 77, 128], [60, 0, 1]])
    weight = IntegerWeight.of(codes, torch.tensor([1.0, 3]), torch.tensor([127.0, 0]), 64)
    assert weight.values.tolist() == [[64, -25, 0], [60, 0, 1]]
    assert weight.scale.tolist() == [2, 3]
    assert weight.limited == 64


# --- saturation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "largest"),
    [(EIGHT, 63), (QuantSpec(7, signed=False), 127), (FOUR, 127), (QuantSpec(8, signed=True), 63)],
)
def test_where_sums_saturate_two_products_stay_within_int16(spec, largest):
    assert Int8Support(True, saturates=True).largest_weight(spec) == largest
    assert 2 * largest * (spec.maximum - spec.minimum) <= 32_767
    assert Int8Support(True, saturates=False).largest_weight(spec) == 127


def test_limited_weights_are_exact_where_full_ones_saturate():
    """The kernels of a processor without VNNI, which oneDNN can be told to use."""
    script = """
import torch
from vismodels.quantization.int8 import InputGrid, Int8Linear, IntegerWeight, probe
from vismodels.quantization.spec import QuantSpec
support, spec = probe(), QuantSpec(8, signed=False)
assert support.available
grid = InputGrid(torch.ones(1), torch.zeros(1), spec)
x = torch.randint(200, 256, (16, 320)).float()
for largest in (support.largest_weight(spec), 127):
    values = torch.full((32, 320), largest, dtype=torch.int8)
    exact = x.double() @ values.double().T
    y = Int8Linear(IntegerWeight(values, torch.ones(32)), None, (grid,))(x)
    print(support.saturates, largest, float((y - exact).abs().max() / exact.max()) < 1e-6)
"""
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    if printed[0].startswith("False"):
        pytest.skip("the kernels of this machine do not saturate even so")
    assert printed == ["True 63 True", "True 127 False"]


# --- refusals ------------------------------------------------------------------------------------


def test_without_kernels_the_reason_is_logged(monkeypatch, caplog):
    def missing(*_):
        raise RuntimeError("not compiled with oneDNN")

    monkeypatch.setattr(Int8Linear, "forward", missing)
    with caplog.at_level(logging.WARNING):
        support = probe()
    assert not support.available
    assert "not compiled with oneDNN" in support.reason
    assert "layers stay in floating point" in caplog.text


def test_kernels_that_are_wrong_for_small_weights_are_not_used(monkeypatch):
    right = Int8Linear.forward
    monkeypatch.setattr(Int8Linear, "forward", lambda layer, x: right(layer, x) * 1.01)
    assert probe() == Int8Support(False, True, "8-bit kernels are off by 1.0% for 4-bit weights")


def test_inputs_of_more_than_eight_bits_are_refused():
    with pytest.raises(ValueError, match="at most 8 bits, got 16"):
        grid_of(QuantSpec(16, signed=False), 0)


def test_scales_of_channels_that_are_not_folded_are_refused():
    with pytest.raises(ValueError, match="5 scales of input channels cannot be taken out"):
        InputGrid(torch.ones(5), torch.zeros(5), FOUR)


def test_scales_of_other_channels_than_the_weights_are_refused(generator):
    grid = InputGrid(torch.ones(5), torch.zeros(5), FOUR, folded=True)
    with pytest.raises(ValueError, match="5 scales of input channels do not fit a weight of"):
        Int8Linear(weight_of((4, 3), generator), None, (grid,))


def test_folded_scales_with_time_groups_are_refused(generator):
    grid = InputGrid(torch.ones(6), torch.zeros(6), FOUR, folded=True)
    with pytest.raises(ValueError, match="a weight for each group"):
        Int8Linear(weight_of((4, 6), generator), None, (grid, grid))


def test_a_layer_without_a_grid_is_refused(generator):
    with pytest.raises(ValueError, match="needs a grid"):
        Int8Linear(weight_of((4, 6), generator), None, ())


def test_resident_bytes_are_a_byte_for_each_weight_and_twelve_for_each_output(generator):
    layer = Int8Linear(weight_of((4, 6), generator), torch.zeros(4), (grid_of(EIGHT, 3),))
    assert layer.resident_bytes() == 24 + 4 * (4 + 4 + 4)  # scale, zero point, bias
