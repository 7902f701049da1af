import numpy as np
import pytest
import torch
from torch.testing import assert_close

from vismodels.methods.lineas.config import ActConfig
from vismodels.methods.lineas.estimators import (
    estimate,
    gaussian_map,
    iti_map,
    linear_map,
    mean_map,
)


def draw(n, d, generator, width=1.0, shift=0.0):
    return width * torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


def test_the_mean_map_shifts_the_means(generator):
    source, target = draw(5, 3, generator), draw(8, 3, generator, shift=2.0)
    each = mean_map(source, target)
    assert each.scale.tolist() == [1] * 3
    assert_close(each.moved(source).mean(0), target.mean(0))


def test_caa_is_the_mean_map_of_the_two_halves_of_pairs(generator):
    source, target = draw(6, 3, generator), draw(6, 3, generator)
    assert_close(mean_map(source, target).shift, (target - source).mean(0))


def test_the_gaussian_map_gives_the_targets_mean_and_unbiased_deviation(generator):
    source, target = draw(5, 3, generator), draw(8, 3, generator, width=3.0, shift=2.0)
    moved = gaussian_map(source, target).moved(source)
    assert_close(moved.mean(0), target.mean(0))
    assert_close(moved.std(0), target.std(0))


def test_units_that_hardly_vary_are_left_alone_by_the_gaussian_map(generator):
    source, target = draw(5, 2, generator), draw(5, 2, generator)
    source[:, 0] = 3.0
    each = gaussian_map(source, target)
    assert (each.scale[0], each.shift[0]) == (1, 0)
    with pytest.raises(ValueError, match="two prompts"):
        gaussian_map(source[:1], target)


def test_the_linear_map_is_the_line_through_the_sorted_pairs(generator):
    source, target = draw(9, 4, generator), draw(9, 4, generator, width=2.0, shift=1.0)
    each = linear_map(source, target)
    for unit in range(4):
        slope, intercept = np.polyfit(
            np.sort(source[:, unit].numpy()), np.sort(target[:, unit].numpy()), 1
        )
        assert each.scale[unit].item() == pytest.approx(slope)
        assert each.shift[unit].item() == pytest.approx(intercept)


def test_the_linear_map_of_unequal_counts_is_that_of_repeated_prompts(generator):
    source, target = draw(4, 3, generator), draw(6, 3, generator)
    uneven, even = linear_map(source, target), linear_map(source.repeat(3, 1), target.repeat(2, 1))
    assert_close(uneven.scale, even.scale)
    assert_close(uneven.shift, even.shift)


def test_a_line_is_found_again(generator):
    source = draw(7, 2, generator)
    each = linear_map(source, 3 * source - 1)
    assert_close(each.scale, torch.full((2,), 3.0).double())
    assert_close(each.shift, torch.full((2,), -1.0).double())


def test_a_constant_source_is_shifted_only(generator):
    source, target = torch.full((5, 1), 2.0).double(), draw(5, 1, generator, shift=4.0)
    each = linear_map(source, target)
    assert each.scale.item() == 1
    assert_close(each.moved(source).mean(), target.mean())


def test_iti_shifts_along_the_axis_that_separates(generator):
    source, target = draw(40, 3, generator), draw(40, 3, generator)
    target[:, 1] += 30
    each = iti_map(source, target, 2.0)
    spread = torch.cat([source, target])[:, 1].std()
    assert each.scale.tolist() == [1] * 3
    assert each.shift[1].item() == pytest.approx(2 * spread.item(), rel=1e-2)
    assert each.shift[[0, 2]].abs().max() < 0.1 * each.shift[1]
    assert_close(iti_map(source, target, 4.0).shift, 2 * each.shift)
    assert iti_map(target, source, 2.0).shift[1] < 0


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_iti_leaves_a_layer_alone_whose_sides_do_not_differ(noise, generator):
    """The normal had no length, and a map of NaN came out; or the length of rounding alone."""
    source = draw(6, 3, generator)
    target = source.flip(0) + noise * draw(6, 3, generator)
    for sides in ((source, target), (torch.full((4, 3), 2.0).double(), torch.full((6, 3), 2.0))):
        each = estimate(*sides, ActConfig(estimator="iti"))
        assert torch.equal(each.scale, torch.ones(3))
        assert torch.equal(each.shift, torch.zeros(3))


def test_iti_leaves_units_alone_that_never_vary(generator):
    source, target = draw(8, 3, generator), draw(5, 3, generator, shift=3.0)
    for side in (source, target):
        side[:, 1] = 1e3 + 1e-5 * draw(len(side), 1, generator)[:, 0]
    shift = iti_map(source, target, 1.0).shift
    assert shift[1] == 0
    others = [0, 2]
    alone = iti_map(source[:, others], target[:, others], 1.0).shift
    assert_close(shift[others], alone, rtol=0.05, atol=0)


@pytest.mark.parametrize("estimator", ["mean", "gaussian", "linear", "iti"])
@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_activations_that_are_not_finite_are_refused(estimator, bad, generator):
    source, target = draw(5, 3, generator), draw(6, 3, generator)
    target[2, 1] = bad
    with pytest.raises(ValueError, match=r"activations of 1 of 3 units are not finite; .* float32"):
        estimate(source, target, ActConfig(estimator=estimator))


def test_a_map_that_float32_cannot_hold_is_refused(generator):
    source, target = draw(5, 3, generator), draw(6, 3, generator, shift=1e200)
    with pytest.raises(ValueError, match="maps of 3 of 3 units are not finite"):
        estimate(source, target, ActConfig(estimator="mean"))


@pytest.mark.parametrize("estimator", ["mean", "gaussian", "linear", "iti"])
def test_estimates_are_float32_maps(estimator, generator):
    source, target = draw(5, 3, generator).float(), draw(6, 3, generator).float()
    each = estimate(source, target, ActConfig(estimator=estimator))
    assert {tensor.dtype for tensor in each.tensors().values()} == {torch.float32}
    assert each.units == 3
    with pytest.raises(ValueError, match="3 and 2"):
        estimate(source, target[:, :2], ActConfig(estimator=estimator))
