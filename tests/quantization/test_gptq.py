import itertools

import pytest
import torch

from vismodels.quantization import gptq as module
from vismodels.quantization.functional import fake_quantize
from vismodels.quantization.gptq import gptq
from vismodels.quantization.spec import QuantSpec

FOUR = QuantSpec(4, signed=True)
UNIT = torch.ones(1, 1), torch.zeros(1, 1)


def inputs(count, width, generator, mixed=True):
    """Return samples whose features go together, as those of a network do."""
    x = torch.randn(count, width, generator=generator)
    return x @ torch.randn(width, width, generator=generator) if mixed else x


def error(weight, rounded, gram):
    lost = (weight - rounded).double()
    return ((lost @ gram.double()) * lost).sum().item()


def test_the_second_column_makes_up_for_the_first_by_hand():
    # Both inputs are the same: 0.4 is rounded to 0, and what is lost goes to the other weight.
    weight, gram = torch.tensor([[0.4, 0.3]]), torch.ones(2, 2)
    assert fake_quantize(weight, *UNIT, FOUR).tolist() == [[0, 0]]
    assert gptq(weight, gram, *UNIT, FOUR, damping=1e-6).tolist() == [[0, 1]]


def test_independent_inputs_are_rounded_to_the_nearest(generator):
    weight = 3 * torch.randn(4, 6, generator=generator)
    gram = torch.diag(torch.rand(6, generator=generator) + 0.1)
    assert torch.equal(gptq(weight, gram, *UNIT, FOUR), fake_quantize(weight, *UNIT, FOUR))


def test_errors_of_outputs_are_smaller_than_with_nearest_rounding(generator):
    weight, x = torch.randn(16, 24, generator=generator), inputs(200, 24, generator)
    scale, zero_point = torch.full((16, 1), 0.3), torch.zeros(16, 1)
    nearest = fake_quantize(weight, scale, zero_point, FOUR)
    rounded = gptq(weight, x.T @ x, scale, zero_point, FOUR)
    assert error(weight, rounded, x.T @ x) < 0.6 * error(weight, nearest, x.T @ x)


def test_it_is_near_the_best_of_all_roundings(generator):
    weight, x = torch.rand(1, 6, generator=generator), inputs(50, 6, generator)
    gram = x.T @ x
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))
    best = min(error(weight, each[None], gram) for each in every)
    nearest = error(weight, weight.round(), gram)
    found = error(weight, gptq(weight, gram, *UNIT, FOUR), gram)
    assert best <= found < best + 0.5 * (nearest - best)


def test_blocks_do_not_change_the_result(generator, monkeypatch):
    weight, x = torch.randn(5, 23, generator=generator), inputs(100, 23, generator)
    whole = gptq(weight, x.T @ x, *UNIT, FOUR)
    monkeypatch.setattr(module, "BLOCK", 4)
    assert torch.equal(gptq(weight, x.T @ x, *UNIT, FOUR), whole)


def test_results_are_values_of_the_quantizer(generator):
    weight, x = torch.randn(4, 8, generator=generator), inputs(50, 8, generator)
    scale = torch.rand(4, 8, generator=generator) + 0.1  # each column may have its own
    zero_point = torch.randint(0, 15, (4, 8), generator=generator).float()
    spec = QuantSpec(4, signed=False)
    rounded = gptq(weight, x.T @ x, scale, zero_point, spec)
    assert torch.equal(fake_quantize(rounded, scale, zero_point, spec), rounded)


def test_inputs_that_are_always_zero_are_rounded_to_the_nearest(generator):
    weight, x = 3 * torch.randn(4, 5, generator=generator), inputs(50, 5, generator)
    x[:, 2] = 0
    rounded = gptq(weight, x.T @ x, *UNIT, FOUR)
    assert torch.equal(rounded[:, 2], fake_quantize(weight[:, 2], *UNIT, FOUR)[0])


@pytest.mark.parametrize("damping", [0.01, 1e-9])
def test_no_inputs_at_all_are_survived(damping):
    weight = torch.tensor([[0.4, 1.7]])
    assert gptq(weight, torch.zeros(2, 2), *UNIT, FOUR, damping=damping).tolist() == [[0, 2]]


def test_the_unit_of_the_products_does_not_matter(generator):
    weight, x = torch.randn(4, 8, generator=generator), inputs(50, 8, generator)
    gram = x.T @ x
    assert torch.equal(gptq(weight, gram, *UNIT, FOUR), gptq(weight, gram / 50, *UNIT, FOUR))


def test_products_of_other_inputs_are_refused():
    with pytest.raises(ValueError, match=r"2 inputs needs their \(2, 2\) products, got \(3, 3\)"):
        gptq(torch.ones(1, 2), torch.eye(3), *UNIT, FOUR)
