import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vismodels.nas.relaxation import exponential_temperature, gumbel_softmax, linear_temperature

LOGITS = torch.tensor([1.0, -0.5, 0.0, 2.0])


def draws(logits, temperature, generator, hard=False, count=20_000):
    return gumbel_softmax(logits.expand(count, -1), temperature, generator, hard)


@given(st.integers(0, 10_000), st.floats(0.05, 20), st.booleans())
def test_weights_are_a_distribution(seed, temperature, hard):
    generator = torch.Generator().manual_seed(seed)
    weights = gumbel_softmax(LOGITS, temperature, generator, hard)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))


def test_hard_samples_are_exactly_one_hot(generator):
    weights = draws(LOGITS, 1.0, generator, hard=True)
    assert torch.equal(weights.sort(dim=1).values, torch.tensor([0.0, 0, 0, 1]).expand(20_000, 4))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_hard_samples_select_the_largest_soft_weight_and_have_its_gradient(temperature, generator):
    state = generator.get_state()
    soft_logits, hard_logits = (LOGITS.clone().requires_grad_() for _ in range(2))
    soft = draws(soft_logits, temperature, generator, count=50)
    generator.set_state(state)
    hard = draws(hard_logits, temperature, generator, hard=True, count=50)
    assert torch.equal(hard.argmax(1), soft.argmax(1))
    values = torch.randn(50, 4, generator=generator)
    (of_soft,) = torch.autograd.grad((soft * values).sum(), soft_logits)
    (of_hard,) = torch.autograd.grad((hard * values).sum(), hard_logits)
    torch.testing.assert_close(of_hard, of_soft)
    assert of_soft.abs().min() > 0


def test_the_sample_is_the_softmax_of_logits_and_noise_over_the_temperature(generator):
    state = generator.get_state()
    at_one = gumbel_softmax(LOGITS, 1.0, generator).log()
    generator.set_state(state)
    at_quarter = gumbel_softmax(LOGITS, 0.25, generator)
    torch.testing.assert_close(at_quarter, torch.softmax(4 * at_one, 0))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_candidates_are_selected_as_often_as_softmax_says(temperature, generator):
    frequencies = draws(LOGITS, temperature, generator, hard=True).mean(0)
    # 20,000 draws: a standard error of at most 0.0035
    torch.testing.assert_close(frequencies, torch.softmax(LOGITS, 0), rtol=0, atol=0.013)


def test_noise_has_the_mean_and_variance_of_a_gumbel_distribution(generator):
    # with two candidates the difference of two noises is logistic: mean 0, variance pi**2 / 3
    soft = draws(torch.zeros(2, dtype=torch.float64), 1.0, generator, count=100_000)
    difference = soft[:, 0].log() - soft[:, 1].log()
    assert abs(difference.mean().item()) < 0.025
    assert difference.var().item() == pytest.approx(math.pi**2 / 3, rel=0.025)


def test_low_temperatures_give_nearly_one_hot_and_high_ones_nearly_equal_weights(generator):
    assert draws(LOGITS, 1e-3, generator).max(1).values.quantile(0.02) > 0.999
    assert (draws(LOGITS, 1e3, generator) - 0.25).abs().max() < 0.01


def test_extreme_temperatures_and_logits_stay_finite(generator):
    logits = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    for hard in (False, True):
        weights = draws(logits, 1e-6, generator, hard, count=1000)
        (gradient,) = torch.autograd.grad(weights[:, 0].sum(), logits)
        assert weights.isfinite().all()
        assert gradient.isfinite().all()


def test_the_state_of_the_generator_decides_the_sample(generator):
    state = generator.get_state()
    torch.manual_seed(1)
    first, later = (gumbel_softmax(LOGITS, 1.0, generator) for _ in range(2))
    generator.set_state(state)
    torch.manual_seed(2)
    assert torch.equal(gumbel_softmax(LOGITS, 1.0, generator), first)
    assert not torch.equal(first, later)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature, generator):
    with pytest.raises(ValueError, match=f"must be positive, got {temperature}"):
        gumbel_softmax(LOGITS, temperature, generator)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_temperature_starts_and_ends_where_it_should_and_stays_there(start, end):
    assert linear_temperature(0.0, start, end) == start
    assert linear_temperature(1.0, start, end) == end
    assert linear_temperature(-0.5, start, end) == start
    assert linear_temperature(7.0, start, end) == end


def test_the_temperature_falls_linearly_from_10_to_one_tenth():
    shares = (0.0, 0.25, 0.5, 1.0)
    assert [linear_temperature(p) for p in shares] == pytest.approx([10, 7.525, 5.05, 0.1])


def test_the_exponential_temperature_falls_by_equal_factors():
    shares = (-1.0, 0.0, 0.5, 1.0, 2.0)
    expected = [5, 5, 2.5**0.5, 0.5, 0.5]
    assert [exponential_temperature(p) for p in shares] == pytest.approx(expected)


def test_an_exponential_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"must be positive, got 5\.0 and 0"):
        exponential_temperature(0.5, end=0)
