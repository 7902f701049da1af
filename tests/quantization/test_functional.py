import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vismodels.quantization.functional import (
    HWGQ_STEPS,
    SAMPLED_VALUES,
    draw_noise,
    fake_quantize,
    hwgq,
    lsq,
    lsq_step,
    mse_step,
    quantization_noise,
    round_straight_through,
    rounding_steps,
    to_codes,
)
from vismodels.quantization.spec import QuantSpec

SPECS = [QuantSpec(bits, signed) for bits in (2, 4, 8) for signed in (True, False)]
VALUES = st.floats(-100, 100, width=32)


def leaf(values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def min_max(low, high, spec, dtype=torch.float64):
    """Return scale and zero point of the quantizer whose range is [low, high]."""
    scale = (high - low) / (spec.maximum - spec.minimum)
    zero_point = spec.minimum - round(low / scale)
    return torch.tensor(scale, dtype=dtype), torch.tensor(zero_point, dtype=dtype)


def gradients(y, *leaves, weights=None):
    return torch.autograd.grad(y, leaves, torch.ones_like(y) if weights is None else weights)


# --- rounding ----------------------------------------------------------------------------------


def test_rounding_goes_to_the_nearest_and_halves_to_even():
    x = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49, 0.51])
    expected = torch.tensor([-2.0, -2.0, 0.0, 0.0, 2.0, 2.0, 0.0, 1.0])
    assert torch.equal(round_straight_through(x), expected)


@given(st.floats(-1e6, 1e6, width=32))
def test_rounding_gives_exact_integers_and_the_gradient_of_the_identity(value):
    x = leaf([value])
    y = round_straight_through(x)
    assert torch.equal(y, x.detach().round())
    assert gradients(y, x)[0].item() == 1


# --- uniform affine quantization ---------------------------------------------------------------


def test_codes_by_hand():
    x, four = torch.tensor([-9.0, -1.0, 0.24, 0.25, 0.75, 99.0]), QuantSpec(4, signed=False)
    codes = to_codes(x, torch.tensor(0.5), torch.tensor(3.0), four)
    assert codes.tolist() == [0, 1, 3, 3, 5, 15]


@pytest.mark.parametrize("spec", SPECS)
def test_without_gradient_the_same_bits_are_computed(generator, spec):
    x = 5 * torch.randn(4, 50, generator=generator)
    scale = torch.rand(4, 1, generator=generator) + 0.1
    zero_point = torch.randint(spec.minimum, spec.maximum + 1, (4, 1), generator=generator).float()
    with torch.no_grad():
        plain = fake_quantize(x, scale, zero_point, spec)
    assert torch.equal(plain, fake_quantize(x, scale, zero_point, spec))
    assert torch.equal(plain, (to_codes(x, scale, zero_point, spec) - zero_point) * scale)


def test_fake_quantization_by_hand():
    x = torch.tensor([-9.0, -1.3, -0.2, 0.0, 0.3, 0.8, 2.0])
    # scale 1/2, integers 0 to 3, zero at 1: values -1/2, 0, 1/2, 1
    y = fake_quantize(x, torch.tensor(0.5), torch.tensor(1.0), QuantSpec(2, signed=False))
    assert y.tolist() == [-0.5, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_fake_quantization_is_torchs_ties_included(spec, offset):
    zero_point = spec.minimum + offset
    x = (torch.arange(-80, 81) / 16).requires_grad_()  # with scale 1/8 integers and ties in turn
    ours = fake_quantize(x, torch.tensor(0.125), torch.tensor(float(zero_point)), spec)
    theirs = torch.fake_quantize_per_tensor_affine(x, 0.125, zero_point, spec.minimum, spec.maximum)
    assert torch.equal(ours, theirs)
    assert torch.equal(gradients(ours, x)[0], gradients(theirs, x)[0])


def test_fake_quantization_per_channel_is_torchs(generator):
    x = torch.randn(5, 3, 4, 4, generator=generator)
    scale = torch.rand(5, generator=generator) + 0.05
    zero_point = torch.tensor([0, 3, -2, 7, -8], dtype=torch.int32)
    spec = QuantSpec(4, signed=True)
    ours = fake_quantize(x, scale.view(5, 1, 1, 1), zero_point.view(5, 1, 1, 1), spec)
    theirs = torch.fake_quantize_per_channel_affine(x, scale, zero_point, 0, -8, 7)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)  # torch multiplies by 1 / scale


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_gradients_of_fake_quantization_are_torchs(spec, generator):
    x = leaf(torch.randn(400, generator=generator).tolist())
    # not below zero, where torch rounds the zero point otherwise in its backward pass
    scale, zero_point = leaf([0.21]), leaf([1.0])
    weights = torch.randn(400, generator=generator)
    ours = gradients(
        fake_quantize(x, scale, zero_point, spec), x, scale, zero_point, weights=weights
    )
    output = torch._fake_quantize_learnable_per_tensor_affine(
        x, scale, zero_point, spec.minimum, spec.maximum, 1.0
    )
    for mine, theirs in zip(
        ours, gradients(output, x, scale, zero_point, weights=weights), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)  # sums of 400 in float32


def recorded(x, scale, zero_point, spec):
    """Return `fake_quantize` operation by operation, with gradients by autograd."""
    rounded = round_straight_through(x / scale) + zero_point
    clipped = rounded.detach().clamp(spec.minimum, spec.maximum)
    return (torch.where(rounded == clipped, rounded, clipped) - zero_point) * scale


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("shape", [(1,), (1, 1, 1), (3, 1, 1), (1, 4, 1), (3, 4, 5), ()])
def test_written_gradients_are_those_of_the_recorded_operations(spec, shape, generator):
    def draw(*size):
        return torch.rand(size, generator=generator, dtype=torch.float64)

    x = (20 * (draw(3, 4, 5) - 0.5)).requires_grad_()
    scale = (draw(*shape) + 0.1).requires_grad_()
    zero_point = (4 * draw(*shape)).round().add(spec.minimum).requires_grad_()
    weights = draw(3, 4, 5)
    leaves = (x, scale, zero_point)
    ours, theirs = (f(*leaves, spec) for f in (fake_quantize, recorded))
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(
        gradients(ours, *leaves, weights=weights),
        gradients(theirs, *leaves, weights=weights),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_gradients_have_the_types_of_their_tensors(generator):
    x = torch.randn(4, 8, generator=generator).to(torch.bfloat16).requires_grad_()
    scale, zero_point = leaf([0.2]), leaf([7.0])
    y = fake_quantize(x, scale, zero_point, QuantSpec(4, signed=False))
    for each, gradient in zip((x, scale), gradients(y, x, scale), strict=True):
        assert gradient.dtype == each.dtype


def test_the_gradient_of_fake_quantization_is_zero_outside_the_range():
    # by scale -8, -4.4, -4, 0.4, 3.4, 3.6, 8; what rounds to an end, -4 or 3, is inside
    x = leaf([-2.0, -1.1, -1.0, 0.1, 0.85, 0.9, 2.0])
    y = fake_quantize(x, torch.tensor(0.25), torch.tensor(0.0), QuantSpec(3, signed=True))
    assert gradients(y, x)[0].tolist() == [0, 1, 1, 1, 1, 0, 0]


@given(st.lists(VALUES, min_size=1, max_size=20), st.floats(0.01, 10), st.sampled_from(SPECS))
def test_fake_quantization_puts_values_on_the_grid_and_leaves_them_there(values, scale, spec):
    x = torch.tensor(values, dtype=torch.float64)
    scale = torch.tensor(scale, dtype=torch.float64)
    zero_point = torch.tensor(spec.minimum + 1.0, dtype=torch.float64)
    once = fake_quantize(x, scale, zero_point, spec)
    integers = once / scale + zero_point
    torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-9)
    assert integers.round().min() >= spec.minimum
    assert integers.round().max() <= spec.maximum
    assert torch.equal(fake_quantize(once, scale, zero_point, spec), once)


@given(VALUES, st.floats(0.1, 100), st.booleans(), st.integers(2, 7), st.integers(1, 4))
def test_more_bits_never_increase_the_worst_rounding_error(low, width, signed, bits, more):
    x = torch.linspace(low, low + width, 8193, dtype=torch.float64)  # a fine sweep of the range

    def worst(bits):
        spec = QuantSpec(bits, signed)
        return (fake_quantize(x, *min_max(low, low + width, spec), spec) - x).abs().max()

    assert worst(min(bits + more, 8)) <= worst(bits)


@given(VALUES, st.floats(0.1, 100), st.sampled_from(SPECS), st.lists(st.floats(0, 1), min_size=1))
def test_inside_the_range_the_error_is_at_most_half_a_step(low, width, spec, shares):
    x = low + width * torch.tensor(shares, dtype=torch.float64)
    scale, zero_point = min_max(low, low + width, spec)
    error = (fake_quantize(x, scale, zero_point, spec) - x).abs().max()
    assert error <= scale / 2 * (1 + 1e-6)


@given(st.lists(VALUES, min_size=1), st.booleans())
def test_32_bits_are_the_identity(values, signed):
    x, one = leaf(values), torch.ones(1)
    spec = QuantSpec(32, signed)
    for y in (fake_quantize(x, one, one, spec), lsq(x, one, spec, 0.1)):
        assert torch.equal(y, x)
        assert gradients(y, x)[0].eq(1).all()


# --- learned steps -----------------------------------------------------------------------------


def test_lsq_and_its_gradients_by_hand():
    # step 1/2, integers -2 to 1, so values -1 to 1/2; x / step: -3, -1.4, 0.8, 3
    x, step = leaf([-1.5, -0.7, 0.4, 1.5]), leaf([0.5])
    y = lsq(x, step, QuantSpec(2, signed=True), 1.0)
    assert y.tolist() == [-1.0, -0.5, 0.5, 0.5]
    expected = [-2.0, -1 + 1.4, 1 - 0.8, 1.0]  # below, inside, inside, above
    for index, value in enumerate(expected):
        only = torch.zeros(4)
        only[index] = 1
        (gradient,) = torch.autograd.grad(y, step, only, retain_graph=True)
        assert gradient.item() == pytest.approx(value, abs=1e-6)
    assert gradients(y, x)[0].tolist() == [0, 1, 1, 0]


def test_the_range_of_lsq_ends_where_the_paper_ends_it():
    # 1.2 steps round to the largest integer, yet lie outside: Eq. (3) clips before it rounds
    x, step = leaf([1.2]), leaf([1.0])
    y = lsq(x, step, QuantSpec(2, signed=True), 1.0)
    assert [gradient.item() for gradient in gradients(y, x, step)] == [0, 1]


@given(st.floats(1e-5, 1), st.floats(0.125, 10, width=32))
def test_the_gradient_scale_scales_the_gradient_of_the_step_and_nothing_else(factor, step):
    spec = QuantSpec(4, signed=True)
    x = leaf([-30.0, -0.3, 0.01, 2.0, 50.0])
    whole, scaled = leaf([step]), leaf([step])
    y, z = lsq(x, whole, spec, 1.0), lsq(x, scaled, spec, factor)
    assert torch.equal(y, z)
    (x_whole, of_whole), (x_scaled, of_scaled) = gradients(y, x, whole), gradients(z, x, scaled)
    assert torch.equal(x_whole, x_scaled)
    torch.testing.assert_close(of_scaled, factor * of_whole)


@given(
    st.lists(VALUES, min_size=1, max_size=20), st.floats(0.125, 10, width=32), st.floats(1e-5, 1)
)
def test_lsq_puts_out_exact_multiples_of_its_step(values, step, factor):
    spec, scale = QuantSpec(4, signed=True), torch.tensor([step])
    x = torch.tensor(values)
    integers = (x / scale).clamp(spec.minimum, spec.maximum).round()
    assert torch.equal(lsq(x, scale, spec, factor), integers * scale)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_lsq_is_torchs_learnable_quantization_but_for_the_half_steps_at_the_ends(spec, generator):
    step, factor = 0.11, 0.3
    ratio = torch.randn(2000, generator=generator) * spec.maximum
    ends = [
        (ratio > end).logical_and(ratio < end + 0.5) for end in (spec.maximum, spec.minimum - 0.5)
    ]
    x = (ratio[~(ends[0] | ends[1])] * step).requires_grad_()
    mine, theirs, zero = leaf([step]), leaf([step]), torch.zeros(1)
    ours = lsq(x, mine, spec, factor)
    output = torch._fake_quantize_learnable_per_tensor_affine(
        x, theirs, zero, spec.minimum, spec.maximum, factor
    )
    torch.testing.assert_close(ours, output)
    weights = torch.randn(ours.shape, generator=generator)
    x_ours, step_ours = gradients(ours, x, mine, weights=weights)
    x_theirs, step_theirs = gradients(output, x, theirs, weights=weights)
    torch.testing.assert_close(x_ours, x_theirs)
    torch.testing.assert_close(step_ours, step_theirs, rtol=1e-3, atol=1e-2)  # 2000 terms


def test_lsq_per_channel_quantizes_and_trains_each_channel_by_itself(generator):
    spec = QuantSpec(3, signed=True)
    weight = torch.randn(3, 2, 5, generator=generator, requires_grad=True)
    steps = torch.tensor([0.1, 0.4, 2.0]).view(3, 1, 1).requires_grad_()
    together = lsq(weight, steps, spec, 0.5)
    (of_steps,) = gradients(together, steps)
    for channel in range(3):
        step = steps[channel].detach().clone().requires_grad_()
        alone = lsq(weight[channel], step, spec, 0.5)
        assert torch.equal(together[channel], alone)
        torch.testing.assert_close(of_steps[channel], gradients(alone, step)[0])


def test_lsq_starts_at_twice_the_mean_magnitude_over_the_root_of_the_largest_integer():
    x = torch.tensor([[1.0, -2.0, 3.0], [0.5, -0.5, 0.0]])
    spec = QuantSpec(4, signed=True)  # largest integer 7
    assert lsq_step(x, spec).tolist() == pytest.approx([2 * 7 / 6 / math.sqrt(7)])
    per_channel = lsq_step(x, spec, channels=True)
    assert per_channel.shape == (2, 1)
    assert per_channel.flatten().tolist() == pytest.approx([4 / math.sqrt(7), 2 / 3 / math.sqrt(7)])
    kernel = torch.ones(4, 3, 5, 1)
    assert lsq_step(kernel, spec, channels=True).shape == (4, 1, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_first_step_of_zeros_is_positive_and_of_their_type(dtype):
    step = lsq_step(torch.zeros(3, 4, dtype=dtype), QuantSpec(2, signed=True), channels=True)
    assert step.dtype == dtype
    assert (step > 0).all()


def error_of_step(x, step, spec):
    return (lsq(x, step, spec, 1.0) - x).square().mean()


def test_the_step_of_least_error_finds_the_grid_of_values_that_lie_on_one():
    x = torch.tensor([-3.5, -1.0, 0.5, 3.5])
    torch.testing.assert_close(mse_step(x, QuantSpec(4, signed=True)), torch.tensor([0.5]))


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("tail", [1, 3])
def test_the_step_of_least_error_beats_those_of_lsq_and_of_the_extremes(spec, tail, generator):
    x = torch.randn(3000, generator=generator) ** tail
    x = x if spec.signed else x.relu()
    found = error_of_step(x, mse_step(x, spec), spec)
    assert found <= error_of_step(x, x.abs().max() / spec.maximum, spec)
    # the grid of steps is 1/20 of the largest magnitude apart, LSQ's lies between two of them
    assert found < 1.03 * error_of_step(x, lsq_step(x, spec), spec)


@given(st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=6).filter(any))
def test_no_other_share_of_the_largest_magnitude_has_less_error(values):
    spec = QuantSpec(2, signed=True)  # of few values the error has several minima
    x = torch.tensor(values, dtype=torch.float64)
    steps = x.abs().max() / spec.maximum * torch.linspace(0.05, 1, 20, dtype=torch.float64)
    least = min(error_of_step(x, step, spec) for step in steps)
    assert error_of_step(x, mse_step(x, spec), spec) <= least * (1 + 1e-5) + 1e-12


@pytest.mark.parametrize(("bits", "gain"), [(8, 10), (16, 1000)])
def test_at_many_bits_the_step_of_least_error_is_far_better_than_lsqs(bits, gain, generator):
    spec = QuantSpec(bits, signed=True)
    x = torch.randn(3000, generator=generator, dtype=torch.float64)
    least, lsqs = (error_of_step(x, step(x, spec), spec) for step in (mse_step, lsq_step))
    assert gain * least < lsqs


def test_the_step_of_least_error_is_found_for_each_channel(generator):
    spec = QuantSpec(4, signed=True)
    weight = torch.randn(4, 3, 3, 3, generator=generator) * torch.tensor(
        [0.01, 1.0, 3.0, 0.0]
    ).view(4, 1, 1, 1)
    steps = mse_step(weight, spec, channels=True)
    assert steps.shape == (4, 1, 1, 1)
    for channel in range(3):
        torch.testing.assert_close(steps[channel].view(1), mse_step(weight[channel], spec))
    assert steps[3].isfinite()


def test_the_step_of_least_error_of_a_large_tensor_looks_at_all_of_it(generator):
    width = 40
    x = torch.randn(SAMPLED_VALUES // 100, 100, width, generator=generator)
    x[..., 0] *= 1e-3  # every `width`-th value: a regular sample would see these alone
    spec = QuantSpec(4, signed=True)
    torch.testing.assert_close(mse_step(x, spec), mse_step(x[:10], spec), rtol=0.3, atol=0)
    assert error_of_step(x, mse_step(x, spec), spec) < 0.03


# --- half-wave Gaussian quantization -----------------------------------------------------------


@pytest.mark.parametrize("bits", HWGQ_STEPS)
def test_hwgq_has_two_to_the_bits_levels_that_are_multiples_of_its_step(bits):
    step = HWGQ_STEPS[bits]
    x = torch.linspace(-1, 1.1 * step * (2**bits - 1), 400_000, dtype=torch.float64)
    y = hwgq(x, bits)
    integers = torch.unique((y / step).round())
    assert torch.equal(integers, torch.arange(2**bits, dtype=torch.float64))
    torch.testing.assert_close(y, (y / step).round() * step, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("bits", "levels"), [(4, 6), (8, 50)])
def test_an_image_keeps_few_levels_in_hwgq(bits, levels):
    image = torch.linspace(0, 1, 10_001)
    assert len(hwgq(image, bits).unique()) == levels


def test_hwgq_by_hand():
    d = 0.6356366866203315  # 2 bits: 0, d, 2d, 3d
    x = torch.tensor([-1.0, 0.0, 0.31, 0.32, 1.0, 1.7, 5.0])
    assert hwgq(x, 2).tolist() == pytest.approx([0, 0, 0, d, 2 * d, 3 * d, 3 * d])


@pytest.mark.parametrize("bits", HWGQ_STEPS)
def test_the_gradient_of_hwgq_is_one_inside_the_range_and_zero_outside(bits):
    end = HWGQ_STEPS[bits] * (2**bits - 1)
    x = leaf([-3.0, -1e-3, 1e-3 * end, 0.4 * end, 0.999 * end, 1.001 * end, 9 * end])
    (gradient,) = gradients(hwgq(x, bits), x)
    torch.testing.assert_close(gradient, torch.tensor([0.0, 0, 1, 1, 1, 0, 0]))


def test_hwgq_at_32_bits_is_a_relu(generator):
    x = torch.randn(50, generator=generator, requires_grad=True)
    assert torch.equal(hwgq(x, 32), x.relu())


@pytest.mark.parametrize(
    ("bits", "excess"), [(1, 0.08), (2, 0.01), (3, 0.02), (4, 0.08), (8, 0.38)]
)
def test_the_steps_of_hwgq_are_nearly_the_best_for_half_a_gaussian(bits, excess):
    positions = torch.linspace(0, 8, 80_001, dtype=torch.float64)
    density = torch.exp(-(positions**2) / 2)

    def error(step):
        levels = (positions / step).round().clamp(max=2**bits - 1)
        return ((levels * step - positions) ** 2 * density).sum().item()

    published = HWGQ_STEPS[bits]
    least = min(error(published * factor / 100) for factor in range(70, 131, 2))
    assert least <= error(published) < (1 + excess) * least


@pytest.mark.parametrize("bits", [5, 6, 31])
def test_hwgq_refuses_bits_without_a_published_step(bits):
    with pytest.raises(ValueError, match=rf"\[1, 2, 3, 4, 8, 16\] bits, got {bits}"):
        hwgq(torch.zeros(2), bits)


# --- noise in place of rounding ----------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(("distribution", "divisor"), [("uniform", 12), ("gaussian", 4)])
def test_noise_has_its_variance_and_mean_zero(bits, distribution, divisor, generator):
    x = torch.linspace(-1, 3, 200_000)
    step = 4 / (2**bits - 1)
    noise = quantization_noise(x, bits, generator, distribution).double() / step
    deviation = divisor**-0.5
    # means of 200,000: standard errors are 0.0022 deviations and at most 0.3 % of the variance
    assert abs(noise.mean().item()) < 4 * deviation * 0.0023
    assert noise.var().item() * divisor == pytest.approx(1, abs=0.013)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_uniform_noise_is_as_large_as_the_rounding_error_and_gaussian_three_times(bits, generator):
    spec = QuantSpec(bits, signed=False)
    x = torch.rand(200_000, generator=generator, dtype=torch.float64)
    x[0], x[1] = 0, 1
    scale, zero_point = min_max(0.0, 1.0, spec)
    rounding = (fake_quantize(x, scale, zero_point, spec) - x).var()
    for distribution, ratio in (("uniform", 1.0), ("gaussian", 3.0)):
        noise = quantization_noise(x, bits, generator, distribution)
        assert (noise.var() / rounding).item() == pytest.approx(ratio, rel=0.02)


def test_uniform_noise_stays_within_half_a_step(generator):
    noise = quantization_noise(torch.linspace(0, 3, 10_000), 2, generator)
    assert 0.499 < noise.abs().max() <= 0.5


@pytest.mark.parametrize("distribution", ["uniform", "gaussian"])
def test_noise_is_zero_at_32_bits_and_of_a_constant(distribution, generator):
    x = torch.randn(100, generator=generator)
    assert not quantization_noise(x, 32, generator, distribution).any()
    assert not quantization_noise(torch.full((9,), 2.5), 4, generator, distribution).any()


@pytest.mark.parametrize("distribution", ["uniform", "gaussian"])
def test_the_state_of_the_generator_decides_the_noise(distribution, generator):
    x = torch.linspace(0, 1, 50)
    state = generator.get_state()
    torch.manual_seed(1)
    first = quantization_noise(x, 4, generator, distribution)
    later = quantization_noise(x, 4, generator, distribution)
    generator.set_state(state)
    torch.manual_seed(2)
    assert torch.equal(quantization_noise(x, 4, generator, distribution), first)
    assert not torch.equal(later, first)


def test_noise_has_no_gradient_shape_type_or_randomness_of_its_own(generator):
    for shape in ((), (1,), (2, 3, 4)):
        x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        noise = quantization_noise(x, 4, generator)
        assert not noise.requires_grad
        assert (noise.shape, noise.dtype) == (x.shape, x.dtype)


def test_rounding_steps_by_hand():
    steps = rounding_steps(torch.tensor([-1.0, 0.5, 2.0]), (1, 2, 4, 32))
    torch.testing.assert_close(steps, torch.tensor([3.0, 1.0, 0.2, 0.0]))


@pytest.mark.parametrize("bits", [0, 33])
def test_rounding_steps_refuse_bits_that_do_not_exist(bits):
    with pytest.raises(ValueError, match=f"got {bits}"):
        rounding_steps(torch.ones(2), (8, bits))


def test_drawn_noise_takes_type_from_the_tensor_and_shape_from_the_caller(generator):
    noise = draw_noise((2, 5), torch.zeros(1, dtype=torch.float64), generator, "gaussian")
    assert (noise.shape, noise.dtype) == ((2, 5), torch.float64)
