import itertools
import math

import pytest
import torch

from vismodels.nas.choice import Choice
from vismodels.nas.policy import policy_loss, policy_step, sample_path

COSTS = {"a": {"x": 1.0, "y": 0.2, "z": 0.7}, "b": {"u": 0.5, "v": 0.1}}


def choices(spread=0.0):
    made = {name: Choice(list(costs)) for name, costs in COSTS.items()}
    for choice in made.values():
        with torch.no_grad():
            choice.logits += spread * torch.arange(len(choice.candidates))
    return made


def loss_of(weights):
    return sum(
        float(weights[name] @ torch.tensor(list(costs.values()))) for name, costs in COSTS.items()
    )


def test_a_path_is_one_hot_and_its_probability_is_that_of_its_parts(generator):
    made = choices(0.5)
    weights, log = sample_path(made, generator)
    expected = 0.0
    for name, weight in weights.items():
        assert sorted(weight.tolist()) == [0.0] * (len(weight) - 1) + [1.0]
        expected += math.log(float(made[name].probabilities().detach() @ weight))
    assert float(log.detach()) == pytest.approx(expected, abs=1e-6)


def test_paths_are_drawn_as_often_as_they_are_probable(generator):
    made = choices(1.0)
    drawn = torch.stack([sample_path(made, generator)[0]["a"] for _ in range(2000)])
    torch.testing.assert_close(drawn.mean(0), made["a"].probabilities().detach(), atol=0.04, rtol=0)


def exact_gradient(made):
    """Of the expected loss, by enumerating all paths."""
    total = torch.zeros(())
    for pair in itertools.product(*(choice.candidates for choice in made.values())):
        probability = torch.ones(())
        for choice, candidate in zip(made.values(), pair, strict=True):
            probability = probability * choice.probabilities()[choice.candidates.index(candidate)]
        total = total + probability * sum(
            COSTS[name][candidate] for name, candidate in zip(made, pair, strict=True)
        )
    return torch.autograd.grad(total, [choice.logits for choice in made.values()])


@pytest.mark.parametrize("paths", [2, 4])
def test_the_gradient_is_that_of_the_expected_loss_on_average(generator, paths):
    made = choices(0.3)
    logits = [choice.logits for choice in made.values()]
    draws = 1500
    sums = [torch.zeros_like(logit) for logit in logits]
    for _ in range(draws):
        loss, _ = policy_step(made, loss_of, paths, generator)
        for total, gradient in zip(sums, torch.autograd.grad(loss, logits), strict=True):
            total += gradient
    for total, exact in zip(sums, exact_gradient(made), strict=True):
        torch.testing.assert_close(total / draws, exact, atol=0.02, rtol=0)


def test_equal_losses_move_nothing(generator):
    made = choices(0.3)
    loss, mean = policy_step(made, lambda _: 0.7, 3, generator)
    gradients = torch.autograd.grad(loss, [choice.logits for choice in made.values()])
    assert mean == pytest.approx(0.7)
    assert all(gradient.abs().max() < 1e-6 for gradient in gradients)


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_path_leaves_no_baseline(count):
    with pytest.raises(ValueError, match="two paths or more"):
        policy_loss([torch.zeros(())] * count, [0.5] * count)


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="as many probabilities, got 3 and 2"):
        policy_loss([torch.zeros(())] * 2, [0.5] * 3)
