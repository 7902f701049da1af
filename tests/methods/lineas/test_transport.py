import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from torch.testing import assert_close

from vismodels.methods.lineas.transport import (
    Target,
    quantile_coupling,
    squared_wasserstein,
    transport_loss,
)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def draw(n, d, generator, shift=0.0):
    return torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


def test_two_points_against_three_by_hand():
    # Quantiles (0, 1) and (0, 1, 2) differ by 1 on [1/3, 1/2] and on [2/3, 1].
    distance = squared_wasserstein(column(1, 0), Target.of(column(2, 0, 1)))
    assert distance.item() == pytest.approx(1 / 6 + 1 / 3)


def test_the_coupling_of_two_and_three_points_by_hand():
    ours, theirs, masses = quantile_coupling(2, 3)
    assert (ours.tolist(), theirs.tolist()) == ([0, 0, 1, 1], [0, 1, 1, 2])
    assert_close(masses, torch.tensor([2, 1, 1, 2], dtype=torch.float64) / 6)


@given(st.integers(1, 12), st.integers(1, 12))
def test_the_coupling_has_uniform_margins_and_gives_scipys_distance(n, m):
    ours, theirs, masses = quantile_coupling(n, m)
    assert_close(
        torch.zeros(n).double().index_add(0, ours, masses), torch.full((n,), 1 / n).double()
    )
    assert_close(
        torch.zeros(m).double().index_add(0, theirs, masses), torch.full((m,), 1 / m).double()
    )
    generator = torch.Generator().manual_seed(13 * n + m)
    u, v = draw(n, 1, generator)[:, 0], draw(m, 1, generator)[:, 0]
    cost = (masses * (u.sort().values[ours] - v.sort().values[theirs]).abs()).sum()
    assert cost.item() == pytest.approx(wasserstein_distance(u.numpy(), v.numpy()))


def test_equal_counts_are_plain_sorting(generator):
    u, v = draw(7, 5, generator), draw(7, 5, generator)
    gaps = u.sort(0).values - v.sort(0).values
    assert_close(squared_wasserstein(u, Target.of(v)), gaps.square().mean(0))


def test_unequal_counts_are_those_of_repeated_points(generator):
    u, v = draw(4, 3, generator), draw(6, 3, generator)
    repeated = squared_wasserstein(u.repeat(6, 1), Target.of(v.repeat(4, 1)))
    assert_close(squared_wasserstein(u, Target.of(v)), repeated)


def test_the_order_of_prompts_does_not_matter_and_units_are_apart(generator):
    u, v = draw(5, 2, generator), draw(6, 2, generator)
    mixed = torch.stack([u[:, 0], u[:, 1].flip(0)], 1)  # other pairs of units
    assert_close(squared_wasserstein(mixed, Target.of(v)), squared_wasserstein(u, Target.of(v)))


def test_the_gradient_pulls_every_sorted_value_to_its_partner():
    u = column(3, 0).requires_grad_()
    squared_wasserstein(u, Target.of(column(1, 7))).sum().backward()
    assert u.grad[:, 0].tolist() == [3 - 7, 0 - 1]  # 2 (u - v) / n


def test_target_std_makes_units_of_any_range_alike(generator):
    u, v = draw(5, 2, generator), draw(6, 2, generator)
    width = torch.tensor([1.0, 100.0], dtype=torch.float64)
    plain = squared_wasserstein(u, Target.of(v, "target_std"))
    assert_close(squared_wasserstein(u * width, Target.of(v * width, "target_std")), plain)
    assert_close(plain, squared_wasserstein(u, Target.of(v)) / v.var(0))


def test_a_unit_that_never_varies_is_not_divided_by_zero():
    target = Target.of(column(1, 1), "target_std")
    assert squared_wasserstein(column(1, 3), target).item() == 2
    with pytest.raises(ValueError, match="two target rows"):
        Target.of(column(1), "target_std")


def test_reductions_are_the_codes_mean_and_the_papers_sum():
    sources = {"a": column(0.0).repeat(1, 3), "b": column(0.0)}
    targets = {"a": Target.of(column(1.0).repeat(1, 3)), "b": Target.of(column(2.0))}
    assert transport_loss(sources, targets, "mean") == (1 + 4) / 2
    assert transport_loss(sources, targets, "sum") == 3 * 1 + 4


def test_what_does_not_match_is_refused():
    target = Target.of(column(1.0))
    with pytest.raises(ValueError, match=r"same layers.*'b'"):
        transport_loss({"a": column(1.0)}, {"a": target, "b": target})
    with pytest.raises(ValueError, match="same layers"):
        transport_loss({}, {})
    with pytest.raises(ValueError, match="same units"):
        squared_wasserstein(torch.zeros(2, 3), target)
    with pytest.raises(ValueError, match="both sides"):
        quantile_coupling(0, 2)
