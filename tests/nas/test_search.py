from itertools import count, islice

import pytest
import torch

from vismodels.nas.choice import Choice
from vismodels.nas.search import alternating_step, paired
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit
from vismodels.training.state import TrainState

IDLE = {"architecture_loss": 0.0}


class Recorder:
    """Two updates that write down what they were given, and a search that warms up."""

    def __init__(self, is_warm):
        self.calls = []
        self.step = alternating_step(self.architecture, self.weights, is_warm, IDLE)

    def architecture(self, batch):
        self.calls.append(("architecture", batch))
        return {"architecture_loss": float(batch)}

    def weights(self, batch):
        self.calls.append(("weights", batch))
        return {"loss": float(batch)}


def test_the_architecture_moves_first_each_on_its_own_batch():
    recorder = Recorder(lambda: True)
    assert recorder.step((1, 2)) == {"architecture_loss": 1.0, "loss": 2.0}
    assert recorder.calls == [("architecture", 1), ("weights", 2)]


def test_only_the_weights_move_until_the_search_is_warm():
    now = count()
    recorder = Recorder(lambda: next(now) >= 2)
    scalars = [recorder.step((10 + i, 20 + i)) for i in range(4)]
    assert [s["architecture_loss"] for s in scalars] == [0, 0, 12, 13]
    assert [name for name, _ in recorder.calls] == [
        "weights", "weights", "architecture", "weights", "architecture", "weights"
    ]  # fmt: skip


def test_the_names_that_are_logged_are_the_same_before_and_after():
    assert list(Recorder(lambda: False).step((1, 2))) == list(Recorder(lambda: True).step((1, 2)))


def test_steps_that_log_under_one_name_are_refused():
    step = alternating_step(
        lambda batch: {"loss": 1.0, "entropy": 0.0}, lambda batch: {"loss": 2.0}, lambda: True, {}
    )
    with pytest.raises(ValueError, match="both steps log loss"):
        step((1, 2))


def test_batches_are_paired_in_order_and_none_is_drawn_ahead():
    architecture, weights = iter(count(100)), iter(count(200))
    assert list(islice(paired(architecture, weights), 3)) == [(100, 200), (101, 201), (102, 202)]
    assert (next(architecture), next(weights)) == (103, 203)


def test_a_stream_that_ends_before_the_other_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        list(paired(range(3), range(2)))


def test_a_search_with_the_training_loop_learns_both_levels():
    # The weight is fitted to 2 on one part of the data; the other part rewards the candidate that
    # uses the weight as it is. Until iteration 20 the architecture rests.
    choice, weight = Choice(["negated", "as it is"]), torch.nn.Parameter(torch.tensor(0.5))
    for_weight = torch.optim.Adam([weight], lr=0.1)
    for_choice = torch.optim.Adam(choice.parameters(), lr=0.1)
    state = TrainState(log=ScalarLog(), choice=choice, for_weight=for_weight, for_choice=for_choice)
    frozen = []

    def architecture_step(target):
        frozen.append(weight.item())
        for_choice.zero_grad()
        loss = ((choice.probabilities() * torch.stack([-weight, weight])).sum() - target) ** 2
        loss.backward(inputs=list(choice.parameters()))
        for_choice.step()
        return {"architecture_loss": loss.item()}

    def weight_step(target):
        for_weight.zero_grad()
        loss = (weight - target) ** 2
        loss.backward()
        for_weight.step()
        return {"loss": loss.item()}

    step = alternating_step(architecture_step, weight_step, lambda: state.iteration >= 20, IDLE)
    target = torch.tensor(2.0)
    fit(step, paired(iter(lambda: target, None), iter(lambda: target, None)), state, iterations=120,
        log=state.parts["log"])  # fmt: skip
    assert len(frozen) == 100
    assert choice.best() == "as it is"
    assert weight.item() == pytest.approx(2, abs=0.1)
