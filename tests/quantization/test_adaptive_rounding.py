import pytest
import torch

from vismodels.quantization.adaptive_rounding import (
    AdaptiveRounding,
    penalty_exponent,
    rounding_logits,
    rounding_penalty,
    soft_rounding,
)
from vismodels.quantization.functional import fake_quantize
from vismodels.quantization.spec import QuantSpec

FOUR = QuantSpec(4, signed=False)


def rounding_of(*values, scale=0.5, zero_point=8.0):
    weight = torch.tensor([values])
    grid = torch.tensor([[scale]]), torch.tensor([[zero_point]])
    return AdaptiveRounding(weight, *grid, FOUR), weight


# --- shares --------------------------------------------------------------------------------------


def test_soft_rounding_by_hand():
    shares = soft_rounding(torch.tensor([0.0, -5.0, 5.0, 1.0]))
    # 1.2 sigmoid(1) - 0.1; beyond the stretched ends it is clipped.
    assert shares.tolist() == pytest.approx([0.5, 0, 1, 1.2 * 0.7310586 - 0.1])


def test_logits_are_the_inverse_of_soft_rounding():
    shares = torch.linspace(0, 1, 11)
    assert torch.allclose(soft_rounding(rounding_logits(shares)), shares, atol=1e-6)


@pytest.mark.parametrize(("exponent", "middle"), [(2.0, 1 - 0.5**2), (20.0, 1 - 0.5**20)])
def test_the_penalty_spares_decided_shares_only(exponent, middle):
    assert rounding_penalty(torch.tensor([0.0, 1.0]), exponent) == 0
    assert rounding_penalty(torch.tensor([0.5]), exponent) == 1
    assert rounding_penalty(torch.tensor([0.25, 0.75]), exponent).item() == pytest.approx(
        2 * middle
    )


def test_the_exponent_falls_linearly_after_the_warmup():
    found = [penalty_exponent(i, 100, 0.2) for i in (0, 19, 20, 60, 100)]
    assert found == [None, None, 20, 11, 2]
    assert penalty_exponent(0, 100, 0.0) == 20


# --- the quantizer -------------------------------------------------------------------------------


def test_it_starts_with_the_weight_itself_where_it_is_in_the_range():
    rounding, weight = rounding_of(0.3, -0.7, 1.0, 9.0)  # the last one ends at (15 - 8) * 0.5
    assert torch.allclose(rounding(weight), torch.tensor([[0.3, -0.7, 1.0, 3.5]]), atol=1e-6)


def test_without_training_it_rounds_to_the_nearest():
    weight = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    scale, zero_point = torch.full((3, 1), 0.3), torch.full((3, 1), 7.0)
    rounding = AdaptiveRounding(weight, scale, zero_point, FOUR)
    assert torch.equal(rounding.hardened(weight), fake_quantize(weight, scale, zero_point, FOUR))


def test_signs_of_the_variables_decide_up_or_down():
    rounding, weight = rounding_of(0.3, 0.3, -0.3, -0.3)
    rounding.logits.data = torch.tensor([[-0.1, 0.1, -0.1, 0.1]])
    assert rounding.hardened(weight).tolist() == [[0, 0.5, -0.5, 0]]


def test_codes_stay_in_the_range():
    rounding, weight = rounding_of(3.4, 3.6, -3.9, -4.1)
    for sign in (-1, 1):
        rounding.logits.data = torch.full((1, 4), float(sign))
        ends = rounding.hardened(weight)
        assert ends.max() <= (15 - 8) * 0.5
        assert ends.min() >= (0 - 8) * 0.5


def test_the_gradient_reaches_the_variables_and_not_the_weight():
    rounding, weight = rounding_of(0.3, -0.7)
    weight.requires_grad_(True)
    rounding(weight).sum().backward()
    assert weight.grad is None
    # d/dlogit of scale * (1.2 sigmoid - 0.1), at shares of 0.6.
    share = (0.6 + 0.1) / 1.2
    expected = 0.5 * 1.2 * share * (1 - share)
    assert rounding.logits.grad.tolist()[0] == pytest.approx([expected, expected], rel=1e-4)


def test_training_can_prefer_the_far_neighbor():
    # Two equal weights of 0.2 steps: rounding both down loses their sum, one of them has to go up.
    rounding, weight = rounding_of(0.2, 0.2, 0.2, 0.2, 0.2, scale=1.0)
    rounding.logits.data += torch.tensor([[0.3, 0, 0, 0, 0]])  # one is a little ahead
    optimizer = torch.optim.Adam(rounding.parameters(), 0.02)
    for iteration in range(400):
        exponent = penalty_exponent(iteration, 400, 0.2)
        loss = (rounding(weight).sum() - 1).square()
        if exponent is not None:
            loss = loss + 0.05 * rounding.penalty(exponent)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert rounding.hardened(weight).tolist() == [[1, 0, 0, 0, 0]]
    assert rounding.penalty(2.0) < 0.05


def test_the_state_holds_the_variables_alone():
    rounding, _ = rounding_of(0.3)
    assert list(rounding.state_dict()) == ["logits"]
