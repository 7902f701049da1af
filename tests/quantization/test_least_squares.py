import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from vismodels.quantization.least_squares import compensation


def samples(generator, count=60, inputs=4, outputs=3):
    x = torch.randn(count, inputs, generator=generator) + 2
    return x, torch.randn(count, outputs, generator=generator)


def test_residuals_of_a_linear_map_are_explained(generator):
    x, _ = samples(generator)
    weight, bias = torch.randn(3, 4, generator=generator), torch.tensor([1.0, -2.0, 0.5])
    found, shift = compensation(x, x @ weight.T + bias, ridge=1e-9)
    assert torch.allclose(found, weight, atol=1e-5)
    assert torch.allclose(shift, bias, atol=1e-5)


def test_constant_residuals_go_to_the_bias(generator):
    x, _ = samples(generator)
    weight, bias = compensation(x, torch.tensor([[3.0, -1.0]]).expand(60, 2), ridge=0.01)
    assert weight.abs().max() < 1e-6
    assert bias.tolist() == pytest.approx([3, -1])


@pytest.mark.parametrize("intercept", [True, False])
def test_it_equals_ridge_regression_of_scikit_learn(generator, intercept):
    x, y = samples(generator)
    weight, bias = compensation(x, y, ridge=0.3, intercept=intercept)
    centered = x - x.mean(0) if intercept else x
    # Theirs penalizes the sum of squared errors, ours their mean in units of the inputs'.
    strength = 0.3 * centered.square().mean().item() * len(x)
    reference = Ridge(alpha=strength, fit_intercept=intercept).fit(x.numpy(), y.numpy())
    assert np.allclose(weight, reference.coef_, atol=1e-5)
    assert np.allclose(bias, reference.intercept_, atol=1e-5)


def test_a_bias_that_is_not_there_does_not_change(generator):
    x, y = samples(generator)
    assert compensation(x, y, ridge=0.01, intercept=False)[1].abs().max() == 0


def test_the_error_never_grows_and_falls_with_the_penalty(generator):
    x, y = samples(generator)

    def error(ridge):
        weight, bias = compensation(x, y, ridge=ridge)
        return (y - x @ weight.T - bias).square().mean().item()

    errors = [error(ridge) for ridge in (1e-6, 0.1, 10.0, 1e9)]
    assert errors == sorted(errors)
    assert errors[-1] <= y.square().mean()


def test_constant_inputs_change_the_bias_alone(generator):
    _, y = samples(generator)
    weight, bias = compensation(torch.full((60, 4), 2.0), y, ridge=0.01)
    assert weight.abs().max() == 0
    assert torch.allclose(bias, y.mean(0))
