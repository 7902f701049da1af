from itertools import pairwise

import pytest
import torch

from vismodels.training.schedule import exponential_epochs, warmup_cosine, warmup_poly


def rates(schedule_of, iterations, rate=2.0):
    """Return the rate of each iteration, as a training that calls `step_update` has them."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    schedule = schedule_of(optimizer)
    seen = []
    for iteration in range(iterations):
        seen.append(optimizer.param_groups[0]["lr"])
        schedule.step_update(iteration + 1)
    return [*seen, optimizer.param_groups[0]["lr"]]


def test_poly_rates_fall_to_zero_with_a_power_of_nine_tenths():
    expected = [2.0 * (1 - t / 8) ** 0.9 for t in range(9)]
    assert rates(lambda o: warmup_poly(o, 8), 8) == pytest.approx(expected)


def test_exponential_rates_fall_once_an_epoch():
    expected = [2.0] * 3 + [1.0] * 3 + [0.5] * 2
    assert rates(lambda o: exponential_epochs(o, 3, 0.5), 7) == pytest.approx(expected)


def test_a_decay_of_one_keeps_the_rate():
    assert set(rates(lambda o: exponential_epochs(o, 2, 1.0), 6)) == {2.0}


@pytest.mark.parametrize(
    "schedule_of",
    [
        lambda o: warmup_cosine(o, 20, 4),
        lambda o: warmup_poly(o, 20, 4),
        lambda o: exponential_epochs(o, 5, 0.5, 4),
    ],
    ids=["cosine", "poly", "exponential"],
)
def test_warm_up_is_linear_begins_above_zero_and_goes_before_the_rest(schedule_of):
    seen = rates(schedule_of, 20)
    assert seen[:5] == pytest.approx([0.5, 0.875, 1.25, 1.625, 2.0])
    assert all(after <= before for before, after in pairwise(seen[4:]))


@pytest.mark.parametrize("schedule_of", [warmup_cosine, warmup_poly])
def test_the_last_rate_is_zero_with_and_without_warm_up(schedule_of):
    for warmup in (0, 3):
        seen = rates(lambda o, warmup=warmup: schedule_of(o, 9, warmup), 9)
        assert seen[-1] == pytest.approx(0, abs=1e-12)
        assert min(seen[:-1]) > 0


def test_exponential_epochs_are_counted_from_the_end_of_the_warm_up():
    seen = rates(lambda o: exponential_epochs(o, 3, 0.5, 2), 8)
    assert seen == pytest.approx([1.0, 1.5, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.5])
