import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vismodels.nas.choice import Choice, entropy, named_probabilities

NAMES = ("conv_3x3@8", "conv_3x3@4", "conv_5x5@8", "conv_5x5@4", "skip")
LOGITS = st.lists(st.floats(-50, 50, width=32), min_size=5, max_size=5)


def choice_with(logits):
    choice = Choice(NAMES)
    with torch.no_grad():
        choice.logits.copy_(torch.as_tensor(logits))
    return choice


def test_all_candidates_are_equally_probable_at_the_start():
    torch.testing.assert_close(Choice(NAMES).probabilities(), torch.full((5,), 0.2))


def test_the_logits_are_the_only_parameter_and_are_saved():
    choice = choice_with([0.0, 3.0, -1.0, 0.5, 2.0])
    assert [name for name, _ in choice.named_parameters()] == ["logits"]
    other = Choice(NAMES)
    other.load_state_dict(choice.state_dict())
    assert torch.equal(other.probabilities(), choice.probabilities())


def test_the_best_is_the_largest_logit_also_when_all_are_negative():
    assert choice_with([-1.0, -1.0, -1.0, -0.5, -1.0]).best() == NAMES[3]


@given(LOGITS)
def test_the_best_has_the_largest_probability_wherever_the_logits_lie(logits):
    choice = choice_with(logits)
    best = NAMES.index(choice.best())
    assert logits[best] == max(logits)
    assert choice.probabilities()[best] == choice.probabilities().max()


def test_the_best_of_equals_is_the_first():
    assert Choice(NAMES).best() == NAMES[0]
    assert choice_with([-2.0, 1.0, 0.0, 1.0, 1.0]).best() == NAMES[1]


# --- weights -----------------------------------------------------------------------------------


def test_softmax_weights_are_the_probabilities_and_draw_nothing(generator):
    choice, state = choice_with([0.0, 3.0, -1.0, 0.5, 2.0]), generator.get_state()
    assert torch.equal(choice.weights("softmax", 0.1, generator), choice.probabilities())
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("relaxation", ["gumbel", "hard_gumbel"])
def test_gumbel_weights_follow_the_logits(relaxation, generator):
    choice = choice_with([0.0, 0.0, 6.0, 0.0, 0.0])
    samples = torch.stack([choice.weights(relaxation, 1.0, generator) for _ in range(200)])
    assert samples.mean(0).argmax() == 2
    is_one_hot = (samples.max(1).values == 1).all() and (samples.sum(1) == 1).all()
    assert bool(is_one_hot) == (relaxation == "hard_gumbel")


@pytest.mark.parametrize("relaxation", ["softmax", "gumbel", "hard_gumbel"])
def test_a_loss_of_the_weights_moves_the_logits_towards_the_better_candidate(relaxation, generator):
    choice, losses = Choice(NAMES), torch.tensor([3.0, 2.0, 1.0, 2.0, 3.0])
    optimizer = torch.optim.Adam(choice.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (choice.weights(relaxation, 1.0, generator) * losses).sum().backward()
        optimizer.step()
    assert choice.best() == "conv_5x5@8"


def test_one_path_alone_gives_its_full_output_and_moves_the_logits(generator):
    choice = Choice(NAMES)
    operations = nn.ModuleList(nn.Linear(3, 3) for _ in NAMES)
    x = torch.randn(2, 3, generator=generator)
    weights = choice.weights("hard_gumbel", 1.0, generator)
    index = int(weights.argmax())
    output = weights[index] * operations[index](x)  # no other operation runs
    assert torch.equal(output, operations[index](x))
    output.sum().backward()
    assert choice.logits.grad.abs().min() > 0
    assert [operation.weight.grad is not None for operation in operations] == [
        position == index for position in range(5)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_one_hot_selects_the_named_candidate(name):
    weights = choice_with([4.0, 3.0, 2.0, 1.0, 0.0]).one_hot(name)
    assert weights.tolist() == [float(candidate == name) for candidate in NAMES]
    assert not weights.requires_grad


def test_an_unknown_candidate_is_refused_with_the_nearest_name():
    with pytest.raises(KeyError, match=r"no candidate 'conv_5x5@6'; did you mean 'conv_5x5@[48]'"):
        Choice(NAMES).one_hot("conv_5x5@6")
    with pytest.raises(KeyError, match=re.escape(f"known: {', '.join(sorted(NAMES))}")):
        Choice(NAMES).one_hot("zzzzzz")


@pytest.mark.parametrize("candidates", [[], ["conv", "skip", "conv"]])
def test_a_choice_without_candidates_or_with_one_twice_is_refused(candidates):
    with pytest.raises(ValueError, match=re.escape(f"different candidates, got {candidates}")):
        Choice(candidates)


# --- entropy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 8, 10])
def test_entropy_at_the_start_is_the_logarithm_of_the_number_of_candidates(count):
    choice = Choice([f"candidate {index}" for index in range(count)])
    assert choice.entropy().item() == pytest.approx(math.log(count), abs=1e-6)


def test_the_entropies_of_the_published_search_add_up_to_16_794():
    total = sum(Choice([str(i) for i in range(n)]).entropy() for n in (8, 8, 8, 8, 6, 8, 10, 10))
    assert total.item() == pytest.approx(16.794, abs=5e-4)


@given(LOGITS)
def test_entropy_is_torchs_and_lies_between_0_and_that_of_equal_probabilities(logits):
    choice = choice_with(logits)
    ours = choice.entropy()
    theirs = torch.distributions.Categorical(logits=torch.tensor(logits)).entropy()
    torch.testing.assert_close(ours.detach(), theirs, atol=1e-5, rtol=1e-5)
    assert -1e-6 <= ours <= math.log(5) + 1e-6


def test_the_gradient_of_entropy_by_hand():
    choice = choice_with([0.0, 1.0, 2.0, -1.0, 0.5])
    choice.entropy().backward()
    p = choice.probabilities().detach()
    torch.testing.assert_close(choice.logits.grad, -p * (p.log() + choice.entropy().detach()))


@pytest.mark.parametrize("distance", [90.0, 104.0, 200.0, 1e6])
def test_entropy_of_distant_logits_is_zero_with_a_finite_gradient(distance):
    choice = choice_with([0.0, -distance, -distance, -distance, -distance])
    choice.entropy().backward()
    assert choice.entropy().item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(choice.logits.grad, torch.zeros(5))


def test_entropy_of_zero_probabilities_counts_them_as_nothing():
    assert entropy(torch.tensor([0.5, 0.0, 0.5])).item() == pytest.approx(math.log(2))
    assert entropy(torch.tensor([0.0, 1.0])).item() == 0


def test_probabilities_are_logged_by_decision_and_candidate():
    choice = Choice(["a", "b"])
    with torch.no_grad():
        choice.logits[1] = math.log(3)
    named = named_probabilities({"head": choice, "tail": Choice(["c"])})
    assert named == pytest.approx({"head/a": 0.25, "head/b": 0.75, "tail/c": 1.0})
