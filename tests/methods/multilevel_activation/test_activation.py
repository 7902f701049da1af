import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit

from vismodels.methods.multilevel_activation.activation import (
    MultiLevelActivation,
    Steps,
    activate,
    background_bias,
    cumulative_logits,
    cumulative_probabilities,
    derivative,
    inverse,
    levels_above,
    regions_above,
    thresholds,
)
from vismodels.methods.multilevel_activation.nesting import violations

GLIOMA = Steps()
OTHERS = [Steps(2, 4.0, 1.0), Steps(3, 10.0, 0.5), Steps(4, 2.0, 2.5), Steps(7, 3.0, 0.8)]
ALL = [GLIOMA, *OTHERS]
HALF = [torch.float16, torch.bfloat16]


def by_formula(z, steps):
    """Return a(z) in float64, by SciPy."""
    c, k, h = steps.classes, steps.steepness, steps.spacing
    return sum(expit(k * (np.asarray(z, np.float64) + h * (c / 2 - n))) for n in range(1, c))


def grid(steps, dtype=torch.float64):
    reach = steps.positions[-1] + 8 / steps.steepness
    return torch.linspace(-reach, reach, 801, dtype=dtype)


@pytest.mark.parametrize("steps", ALL)
def test_it_is_the_sum_of_its_definition(steps):
    z = grid(steps)
    np.testing.assert_allclose(activate(z, steps), by_formula(z, steps), rtol=1e-13)


def test_two_classes_are_the_logistic_function():
    z = torch.linspace(-3, 3, 61, dtype=torch.float64)
    torch.testing.assert_close(activate(z, Steps(2, 4.0, 0.7)), torch.sigmoid(4 * z))


def test_steps_lie_where_the_paper_has_them():
    assert Steps(4, 10.0, 0.5).positions == (-0.5, 0.0, 0.5)
    assert Steps(3, 10.0, 0.5).positions == (-0.25, 0.25)


def test_between_the_levels_the_slope_survives():
    z = torch.tensor(-0.25, dtype=torch.float64)
    assert activate(z, GLIOMA).item() == pytest.approx(1.000553, abs=5e-7)
    assert derivative(z, GLIOMA).item() == pytest.approx(1.4076, abs=5e-5)


@pytest.mark.parametrize("steps", ALL)
def test_it_rises_from_0_to_the_last_level(steps):
    values = activate(grid(steps), steps)
    assert (values.diff() > 0).all()
    assert values[0] > 0
    assert values[-1] < steps.classes - 1


@pytest.mark.parametrize("steps", ALL)
def test_it_is_symmetric_about_the_middle_level(steps):
    z = grid(steps)
    torch.testing.assert_close(activate(-z, steps), (steps.classes - 1) - activate(z, steps))


@pytest.mark.parametrize("steps", ALL)
@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_only_the_product_of_steepness_and_spacing_decides_the_shape(steps, factor):
    scaled = Steps(steps.classes, steps.steepness * factor, steps.spacing / factor)
    z = grid(steps)
    torch.testing.assert_close(activate(z / factor, scaled), activate(z, steps))
    assert thresholds(scaled) == pytest.approx([t / factor for t in thresholds(steps)], rel=1e-12)
    assert background_bias(scaled) == pytest.approx(background_bias(steps) / factor)


@pytest.mark.parametrize("steps", ALL)
def test_the_derivative_is_that_of_automatic_differentiation(steps):
    z = grid(steps).requires_grad_()
    (slope,) = torch.autograd.grad(activate(z, steps).sum(), z)
    torch.testing.assert_close(derivative(z.detach(), steps), slope)


def test_the_derivative_does_not_vanish_in_the_tail():
    z = torch.tensor(6.5, dtype=torch.float64)  # 60 / k above the last step: s rounds to 1
    assert derivative(z, GLIOMA).item() == pytest.approx(10 * math.exp(-60), rel=1e-6)


@pytest.mark.parametrize("steps", ALL)
def test_soft_masks_are_nested_and_sum_up_to_the_activation(steps):
    z = grid(steps).view(1, 1, -1)
    masks = cumulative_probabilities(z, steps)
    assert masks.shape == (1, steps.classes - 1, z.numel())
    assert (masks.diff(dim=1) <= 0).all()
    torch.testing.assert_close(masks.sum(1, keepdim=True), activate(z, steps))
    torch.testing.assert_close(cumulative_logits(z, steps).sigmoid(), masks)


def test_cumulative_logits_by_hand():
    z = torch.full((1, 1, 1), 0.25)
    assert cumulative_logits(z, GLIOMA).flatten().tolist() == [7.5, 2.5, -2.5]
    z = torch.tensor([[[1e30, -math.inf]]])
    assert cumulative_logits(z, GLIOMA)[0, 0].tolist() == pytest.approx([1e30, -1e30])


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 4, 4)])
def test_cumulative_logits_are_of_one_channel(shape):
    with pytest.raises(ValueError, match=r"expected logits \(B, 1, ...\) with one channel"):
        cumulative_logits(torch.zeros(shape), GLIOMA)


@pytest.mark.parametrize("steps", ALL)
def test_the_inverse_leads_back(steps):
    z = grid(steps)
    torch.testing.assert_close(inverse(activate(z, steps), steps), z, rtol=1e-9, atol=1e-12)


def test_the_inverse_is_exact_in_the_lower_tail():
    a = torch.tensor([1e-300, 1e-30, 1e-12], dtype=torch.float64)
    torch.testing.assert_close(activate(inverse(a, GLIOMA), GLIOMA), a, rtol=1e-12, atol=0)


@pytest.mark.parametrize("value", [0.0, 3.0, -0.1, 3.1, math.nan, math.inf])
def test_values_that_the_activation_cannot_take_have_no_inverse(value):
    with pytest.raises(ValueError, match="strictly between 0 and 3"):
        inverse(torch.tensor([1.0, value]), GLIOMA)


def test_levels_begin_where_the_activation_crosses_halves():
    found = thresholds(GLIOMA)
    assert found == pytest.approx((-0.502626044, 0, 0.502626044), abs=5e-10)
    assert found[1] == 0


@pytest.mark.parametrize("steps", ALL)
def test_thresholds_are_those_that_scipy_finds(steps):
    roots = [
        brentq(lambda z, n=n: by_formula(z, steps) - (n - 0.5), -9, 9, xtol=1e-15)
        for n in range(1, steps.classes)
    ]
    assert thresholds(steps) == pytest.approx(roots, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("steps", ALL)
def test_levels_count_the_halves_below_the_activation(steps):
    z = grid(steps)
    counted = sum((by_formula(z, steps) > n - 0.5).astype(int) for n in range(1, steps.classes))
    off_middle = np.abs(z.numpy()) > 1e-9  # at 0 rounding decides in the formula
    levels = levels_above(z, thresholds(steps)).numpy()
    np.testing.assert_array_equal(levels[off_middle], counted[off_middle])


def test_the_border_itself_belongs_to_the_lower_level():
    assert levels_above(torch.zeros(1), thresholds(GLIOMA)).item() == 1
    assert levels_above(torch.full((1,), 1e-40), thresholds(GLIOMA)).item() == 2


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("decode", ["activation", "cumulative"])
def test_every_half_precision_number_decodes_as_its_exact_value(dtype, decode):
    bits = torch.arange(-(2**15), 2**15).to(torch.int16)
    z = bits.view(dtype)
    bounds = thresholds(GLIOMA, decode)
    exact = (z.double().unsqueeze(1) > torch.tensor(bounds, dtype=torch.float64)).sum(1)
    assert torch.equal(levels_above(z, bounds), exact)
    assert torch.equal(levels_above(z.float(), bounds), exact)


def test_the_neighbors_of_a_threshold_decode_as_their_exact_values():
    for bound in thresholds(GLIOMA):
        near = torch.tensor(bound, dtype=torch.float64).float()
        around = torch.stack(
            [near.nextafter(torch.tensor(-9.0)), near, near.nextafter(torch.tensor(9.0))]
        )
        expected = [int(z > bound) for z in around.tolist()]
        assert levels_above(around, [bound]).tolist() == expected


def test_the_two_ways_to_decode_differ_between_their_thresholds_only():
    z = torch.tensor([-0.503, -0.501, 0.0, 0.501, 0.503])
    assert levels_above(z, thresholds(GLIOMA)).tolist() == [0, 1, 1, 2, 3]
    assert levels_above(z, thresholds(GLIOMA, "cumulative")).tolist() == [0, 0, 1, 3, 3]


def test_a_logit_that_is_no_number_has_level_0():
    assert levels_above(torch.tensor([math.nan, math.inf]), thresholds(GLIOMA)).tolist() == [0, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALF])
def test_extreme_logits_are_harmless(dtype):
    z = torch.tensor([-1e4, -50, 50, 1e4], dtype=dtype).requires_grad_()
    values = activate(z, GLIOMA)
    assert values.dtype == dtype
    torch.testing.assert_close(values, torch.tensor([0, 0, 3, 3], dtype=dtype))
    values.sum().backward()
    assert z.grad.isfinite().all()
    assert derivative(z, GLIOMA).isfinite().all()
    assert cumulative_logits(z.view(1, 1, -1), GLIOMA).isfinite().all()
    assert levels_above(z, thresholds(GLIOMA)).tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_only_rounds_the_result(dtype):
    z = torch.linspace(-1, 1, 201).to(dtype)
    assert torch.equal(activate(z, GLIOMA), activate(z.float(), GLIOMA).to(dtype))
    assert torch.equal(derivative(z, GLIOMA), derivative(z.float(), GLIOMA).to(dtype))


def test_the_background_bias_is_3_over_k_below_the_first_step():
    assert background_bias(GLIOMA) == pytest.approx(-0.8)
    assert background_bias(Steps(4, 2.0, 2.5)) == pytest.approx(-4)
    assert activate(torch.tensor(-0.8), GLIOMA).item() == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize("steps", ALL)
def test_at_the_background_bias_the_outermost_region_is_improbable(steps):
    masks = cumulative_probabilities(torch.full((1, 1, 1), background_bias(steps)), steps)
    assert masks[0, 0].item() == pytest.approx(expit(-3), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "at least 2 classes"),
        ({"steepness": 0.0}, "steepness must be positive and finite, got 0.0"),
        ({"steepness": math.inf}, "steepness must be positive and finite, got inf"),
        ({"spacing": -0.5}, "spacing must be positive and finite, got -0.5"),
        ({"spacing": math.nan}, "spacing must be positive and finite, got nan"),
        ({"decode": "cumulativ"}, "unknown way to decode 'cumulativ'; did you mean 'cumulative'"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MultiLevelActivation(**settings)


def test_the_layer_has_no_parameters_and_no_state():
    layer = MultiLevelActivation()
    assert not list(layer.parameters())
    assert not layer.state_dict()
    assert "steepness=10.0" in repr(layer)


@pytest.mark.parametrize("decode", ["activation", "cumulative"])
def test_the_layer_does_what_the_functions_do(generator, decode):
    layer = MultiLevelActivation(5, 3.0, 0.8, decode)
    z = torch.randn(2, 1, 3, 4, 5, generator=generator) * 2
    assert torch.equal(layer(z), activate(z, layer.steps))
    assert torch.equal(layer.levels(z), levels_above(z, thresholds(layer.steps, decode)))


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_regions_are_nested_for_any_logits(generator, dtype):
    z = (torch.randn(2, 1, 8, 9, 10, generator=generator) * 3).to(dtype)
    layer = MultiLevelActivation()
    regions = layer.regions(z)
    assert regions.shape == (2, 3, 8, 9, 10)
    for outer, inner in itertools.pairwise(regions.unbind(1)):
        assert not (inner & ~outer).any()
    assert torch.equal(regions.sum(1), layer.levels(z).squeeze(1))


def test_each_region_is_thresholded_by_itself_so_that_its_violations_can_be_counted():
    """With bounds in a wrong order masks cease to be nested; masks made of levels never would."""
    z = torch.tensor([-0.6, -0.25, 0.25, 0.6]).view(1, 1, 4, 1, 1)
    bounds = thresholds(GLIOMA)
    assert regions_above(z, bounds).flatten(2).int().tolist() == [
        [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    ]
    layer = MultiLevelActivation()
    layer.thresholds = (bounds[1], bounds[0], bounds[2])
    assert violations(layer.regions(z)[0]) == (0, 1)
    layer.thresholds = (bounds[0], bounds[2], bounds[1])
    assert violations(layer.regions(z)[0]) == (1, 0)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("decode", ["activation", "cumulative"])
def test_regions_and_levels_agree_on_every_half_precision_number(dtype, decode):
    z = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).view(1, 1, -1)
    bounds = thresholds(GLIOMA, decode)
    assert torch.equal(regions_above(z, bounds).sum(1, keepdim=True), levels_above(z, bounds))
