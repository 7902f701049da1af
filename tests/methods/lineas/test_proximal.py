import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from vismodels.methods.lineas.config import SparsityConfig
from vismodels.methods.lineas.proximal import (
    group_soft_threshold,
    proximal_step_,
    soft_threshold,
    sparse_group_prox,
    thresholds,
)


def test_soft_threshold_by_hand():
    values = torch.tensor([-3.0, -0.5, 0.0, 0.5, 2.0])
    assert soft_threshold(values, 1.0).tolist() == [-2, 0, 0, 0, 1]


def test_group_soft_threshold_shortens_the_vector():
    assert_close(group_soft_threshold(torch.tensor([3.0, 4.0]), 1.0), torch.tensor([2.4, 3.2]))
    for short in ([0.3, 0.4], [0.0, 0.0]):
        assert group_soft_threshold(torch.tensor(short), 1.0).tolist() == [0, 0]


@pytest.mark.parametrize("point", [(1.7, -0.6), (0.9, 0.2), (0.3, -0.2), (-2.0, 1.9)])
@pytest.mark.parametrize(("l1", "group"), [(0.4, 0.3), (0.0, 0.8), (0.5, 0.0)])
def test_the_operator_minimizes_what_it_should(point, l1, group):
    """Against the best point of a fine grid."""
    axis = np.linspace(-2.5, 2.5, 1001)
    x, y = np.meshgrid(axis, axis, indexing="ij")

    def objective(x, y):
        distance = ((x - point[0]) ** 2 + (y - point[1]) ** 2) / 2
        return distance + l1 * (abs(x) + abs(y)) + group * np.hypot(x, y)

    values = objective(x, y)
    best = np.unravel_index(values.argmin(), values.shape)
    found = sparse_group_prox(torch.tensor(point, dtype=torch.float64), l1, group).tolist()
    assert found == pytest.approx([axis[best[0]], axis[best[1]]], abs=6e-3)
    assert objective(*found) <= values.min() + 1e-12


def test_no_threshold_changes_nothing():
    values = torch.randn(9, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sparse_group_prox(values, 0.0, 0.0), values)


def test_thresholds_of_code_and_paper():
    code = SparsityConfig(gamma=0.5, l1=2.0, group=3.0)
    assert thresholds(code, 0.5, 0.1, 16) == pytest.approx((0.1 * 0.5 * 2, 0.1 * 0.5 * 3 * 4))
    paper = code.model_copy(update={"thresholds": "paper"})
    assert thresholds(paper, 0.5, 0.1, 16) == pytest.approx((0.5 * 2, 0.5 * 3))


def test_a_step_treats_scales_and_shifts_of_a_layer_as_two_groups():
    deviations, shifts = [torch.tensor([1.0, 0.05])], [torch.tensor([0.1, 0.1])]
    proximal_step_(deviations, shifts, SparsityConfig(gamma=1.0, group=0.5), 0.1)
    assert_close(deviations[0], torch.tensor([0.9 - 0.05 * math.sqrt(2), 0.0]))
    assert shifts[0].tolist() == [0, 0]


def test_shifts_may_have_a_gamma_of_their_own():
    deviations, shifts = [torch.tensor([1.0])], [torch.tensor([1.0])]
    proximal_step_(deviations, shifts, SparsityConfig(gamma=0.0, shift_gamma=1.0, group=0.0), 0.1)
    assert (deviations[0].item(), shifts[0].item()) == (1, pytest.approx(0.9))
