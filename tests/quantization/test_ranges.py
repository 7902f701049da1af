import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vismodels.quantization.functional import fake_quantize
from vismodels.quantization.ranges import (
    SMALLEST_SCALE,
    affine_parameters,
    mse_range,
    percentile_range,
)
from vismodels.quantization.spec import QuantSpec

FOUR = QuantSpec(4, signed=False)
SIGNED = QuantSpec(4, signed=True)
ENDS = st.floats(-50, 50, width=32)


def tensors(*values):
    return [torch.tensor(each) for each in values]


def quantized(rows, ends, spec):
    scale, zero_point = affine_parameters(*ends, spec)
    return fake_quantize(rows, scale[:, None], zero_point[:, None], spec)


def errors(rows, ends, spec, exponent=2.4):
    return (quantized(rows, ends, spec) - rows).abs().pow(exponent).sum(1)


# --- scale and zero point ------------------------------------------------------------------------


def test_scale_and_zero_point_by_hand():
    scale, zero_point = affine_parameters(*tensors([-3.0, 1.0, -6.0], [12.0, 15.0, -3.0]), FOUR)
    # The second range is all positive and the third all negative: zero becomes one of their ends.
    assert torch.allclose(scale, torch.tensor([1.0, 1.0, 0.4]))
    assert zero_point.tolist() == [3, 0, 15]


def test_a_signed_range_is_symmetric_about_code_zero():
    scale, zero_point = affine_parameters(*tensors([-14.0, -1.0], [7.0, 21.0]), SIGNED)
    assert scale.tolist() == [2, 3]
    assert zero_point.tolist() == [0, 0]


@pytest.mark.parametrize("spec", [FOUR, SIGNED])
def test_a_range_of_zeros_has_a_positive_scale(spec):
    scale, zero_point = affine_parameters(torch.zeros(2), torch.zeros(2), spec)
    assert torch.allclose(scale, torch.full((2,), SMALLEST_SCALE))
    assert quantized(torch.zeros(2, 3), (torch.zeros(2), torch.zeros(2)), spec).abs().max() == 0
    assert zero_point.tolist() == [0, 0]


@given(ENDS, ENDS, st.sampled_from([2, 4, 8]), st.booleans())
def test_zero_is_quantized_to_zero_and_zero_points_are_codes(a, b, bits, signed):
    spec, ends = QuantSpec(bits, signed), tensors([min(a, b)], [max(a, b)])
    zero_point = affine_parameters(*ends, spec)[1]
    assert spec.minimum <= zero_point <= spec.maximum
    assert quantized(torch.zeros(1, 1), ends, spec).item() == 0


# --- the search ----------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [FOUR, SIGNED])
def test_the_search_finds_the_best_of_all_candidates_in_every_row(generator, spec):
    rows = torch.randn(5, 40, generator=generator) ** 3 + torch.arange(5)[:, None]
    low, high = mse_range(rows, spec)
    bottom, top = rows.aminmax(dim=1)
    for row in range(5):
        own = rows[row : row + 1]
        shares = [1 - 0.01 * step for step in range(80)]
        found = [
            errors(own, (bottom[row : row + 1] * s, top[row : row + 1] * s), spec) for s in shares
        ]
        best = shares[int(torch.stack(found).argmin())]
        assert low[row].item() == pytest.approx(best * bottom[row].item())
        assert high[row].item() == pytest.approx(best * top[row].item())


def test_the_search_never_does_worse_than_the_extremes(generator):
    rows = torch.randn(6, 500, generator=generator) ** 3
    found = mse_range(rows, FOUR)
    assert (errors(rows, found, FOUR) < errors(rows, rows.aminmax(dim=1), FOUR)).all()


def test_counts_stand_for_repeated_values(generator):
    values = torch.randn(1, 12, generator=generator)
    values[0, 0] = 6.0  # an outlier, which is clipped only if it is rare
    counts = torch.randint(100, 200, (1, 12), generator=generator)
    counts[0, 0] = 1
    weighted = mse_range(values, FOUR, counts=counts)
    repeated = mse_range(values.repeat_interleave(counts[0], dim=1), FOUR)
    assert torch.allclose(torch.stack(weighted), torch.stack(repeated))
    assert torch.stack(weighted).ne(torch.stack(mse_range(values, FOUR))).any()


def test_the_search_starts_from_given_extremes():
    rows = torch.tensor([[-1.0, 0.0, 1.0]])
    low, high = mse_range(rows, FOUR, extremes=tuple(tensors([-2.0], [2.0])), shrinks=1)
    assert (low.item(), high.item()) == (-2, 2)


# --- percentiles ---------------------------------------------------------------------------------


def test_percentiles_are_those_of_numpy(generator):
    rows = torch.randn(3, 2017, generator=generator).sort(dim=1).values
    low, high = percentile_range(rows, FOUR, percentiles=[0.99])
    expected = np.quantile(rows.numpy(), [0.01, 0.99], axis=1, method="inverted_cdf")
    assert np.allclose(torch.stack([low, high]).numpy(), expected)


def test_the_percentile_with_the_least_squared_error_is_taken(generator):
    rows = torch.randn(1, 5000, generator=generator)
    rows[0, :3] = 400.0  # clipping is worse than coarse steps only if outliers are far away
    rows = rows.sort(dim=1).values
    candidates = [0.9, 0.999, 0.99999]
    found = percentile_range(rows, FOUR, percentiles=candidates)
    singles = [percentile_range(rows, FOUR, percentiles=[p]) for p in candidates]
    least = min(errors(rows, ends, FOUR, 2).item() for ends in singles)
    assert errors(rows, found, FOUR, 2).item() == least
    assert found[1].item() == 400


def test_percentiles_count_values_as_often_as_they_occurred():
    values, counts = torch.tensor([[-1.0, 0.0, 5.0]]), torch.tensor([[1, 98, 1]])
    low, high = percentile_range(values, FOUR, counts=counts, percentiles=[0.98])
    assert (low.item(), high.item()) == (0, 0)
    low, high = percentile_range(values, FOUR, counts=counts, percentiles=[0.995])
    assert (low.item(), high.item()) == (-1, 5)
