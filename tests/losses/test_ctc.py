import math
from itertools import product

import pytest
import torch
from torch import nn

from vismodels.data.words import Alphabet
from vismodels.losses.ctc import aligned_loss, ctc_loss

AB = Alphabet("ab")  # blank 0, a 1, b 2


def log_probs(items, frames, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(items, frames, classes, generator=generator).log_softmax(dim=2)


def test_it_sums_over_all_paths_that_spell_the_label():
    scores = log_probs(1, 4, 3)
    for label in ("a", "ab", "aa", "bab"):
        likelihood = sum(
            math.exp(sum(scores[0, t, k].item() for t, k in enumerate(path)))
            for path in product(range(3), repeat=4)
            if AB.decode(path) == label
        )
        expected = -math.log(likelihood) / len(label)
        assert ctc_loss(scores, [label], AB).item() == pytest.approx(expected, rel=1e-5)


def test_it_is_the_loss_of_torch_with_its_mean_over_words():
    scores = log_probs(3, 9, 3)
    labels = ["ab", "bba", "a"]
    oracle = nn.CTCLoss()(
        scores.transpose(0, 1),
        torch.tensor([1, 2, 2, 2, 1, 1]),
        torch.tensor([9, 9, 9]),
        torch.tensor([2, 3, 1]),
    )
    torch.testing.assert_close(ctc_loss(scores, labels, AB), oracle)
    alone = [ctc_loss(scores[i : i + 1], [label], AB) for i, label in enumerate(labels)]
    torch.testing.assert_close(torch.stack(alone).mean(), oracle)


def test_a_label_longer_than_the_frames_has_no_loss_and_no_gradient():
    scores = log_probs(2, 3, 3).requires_grad_()
    loss = ctc_loss(scores, ["abab", "a"], AB)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad[0].count_nonzero() == 0
    assert scores.grad[1].count_nonzero() > 0
    alone = ctc_loss(scores[1:], ["a"], AB)
    torch.testing.assert_close(loss, alone / 2)  # it still counts as a word


def test_equal_neighbors_need_a_frame_between_them():
    scores = log_probs(1, 3, 3)
    assert ctc_loss(scores, ["aab"], AB) == 0  # would need four
    assert ctc_loss(scores, ["aba"], AB) > 0


def test_25_equal_characters_fit_no_canvas_and_stay_finite():
    alphabet = Alphabet()
    scores = log_probs(1, 31, alphabet.classes).requires_grad_()
    loss = ctc_loss(scores, ["l" * 25], alphabet)
    loss.backward()
    assert loss == 0
    assert not scores.grad.any()


def test_the_backtick_is_learned_like_any_other_character():
    """In the published code it is the blank, so its loss would be that of an empty label."""
    alphabet = Alphabet()
    scores = torch.zeros(1, 31, alphabet.classes, requires_grad=True)
    loss = ctc_loss(scores.log_softmax(dim=2), ["`"], alphabet)
    loss.backward()
    (code,) = alphabet.encode("`")
    gradient = scores.grad.sum(dim=(0, 1))
    assert gradient[code] < 0  # descending makes it more likely
    assert gradient[alphabet.encode("a")[0]] > 0


def test_no_item_gives_zero_that_can_be_differentiated():
    scores = torch.zeros(0, 5, 3, requires_grad=True)
    loss = ctc_loss(scores, [], AB)
    loss.backward()
    assert loss == 0


def test_equal_inputs_give_equal_bits():
    scores = log_probs(8, 31, 3)
    labels = ["ab", "a", "bab", "ba", "b", "abab", "aa", "bb"]
    gradients = []
    for _ in range(2):
        leaf = scores.clone().requires_grad_()
        ctc_loss(leaf, labels, AB).backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("shape", "labels"), [((2, 5, 3), ["a"]), ((1, 5, 4), ["a"]), ((1, 5, 2), ["a"])]
)
def test_other_numbers_of_items_or_classes_are_errors(shape, labels):
    with pytest.raises(ValueError, match=r"expected \(1, T, 3\) .* got \("):
        ctc_loss(torch.zeros(shape), labels, AB)


def test_a_foreign_character_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"lacks \['c'\] of 'abc'"):
        ctc_loss(log_probs(1, 5, 3), ["abc"], AB)


def test_the_aligned_loss_is_the_mean_over_frames_by_hand():
    scores = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]]).log()
    loss = aligned_loss(scores, torch.tensor([[0, 2]]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(8)) / 2)
