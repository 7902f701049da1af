import itertools
import math

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from vismodels.methods.multilevel_activation.activation import (
    MultiLevelActivation,
    levels_above,
)
from vismodels.methods.multilevel_activation.nesting import (
    RimError,
    intersect,
    multiply,
    paint,
    painted_levels,
    region_masks,
    rim_error,
    violations,
)

# Every voxel is one of the eight combinations of WT, TC and ET.
COMBINATIONS = torch.tensor(list(itertools.product([False, True], repeat=3))).T
NESTED = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_region_masks_by_hand():
    masks = region_masks(torch.tensor([[0, 1, 2, 3]]), 4)
    assert masks.int().tolist() == [[[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]]


@pytest.mark.parametrize("as_given", [lambda masks: masks, lambda masks: masks.numpy()])
def test_half_of_the_combinations_violate_the_nesting(as_given):
    found = violations(as_given(COMBINATIONS))
    # 001 and 101 have ET outside TC; 010 and 011 have TC outside WT
    assert (found.et_outside_tc, found.tc_outside_wt, found.total) == (2, 2, 4)


def test_read_only_masks_are_counted_as_well():
    masks = COMBINATIONS.numpy().copy()
    masks.setflags(write=False)
    assert violations(masks).total == 4


def test_levels_never_violate_the_nesting(generator):
    levels = torch.randint(4, (1, 6, 6, 6), generator=generator)
    assert violations(region_masks(levels, 4)[0]) == (0, 0)


@pytest.mark.parametrize(
    "regions",
    [torch.zeros(2, 4, dtype=torch.bool), torch.zeros(3, 4), np.zeros((1, 3, 4, 4, 4), bool)],
)
def test_only_three_bool_masks_are_counted(regions):
    with pytest.raises(ValueError, match=r"expected bool masks \(3, ...\) in the order WT, TC, ET"):
        violations(regions)


def test_intersection_drops_what_is_outside():
    cut = intersect(COMBINATIONS).int().T.tolist()
    assert cut == [[0, 0, 0]] * 4 + [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_painting_keeps_the_innermost_region():
    painted = paint(COMBINATIONS).int().T.tolist()
    assert painted == [
        [0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1],
    ]  # fmt: skip


def test_painting_is_writing_one_level_after_the_other():
    levels = np.zeros(8, int)
    for level, mask in enumerate(COMBINATIONS.numpy(), start=1):
        levels[mask] = level
    assert painted_levels(COMBINATIONS).tolist() == levels.tolist()


def test_multiplication_asks_for_all_regions_around():
    probabilities = torch.tensor([[0.9, 0.7, 0.4], [0.8, 0.7, 1.0], [0.9, 1.0, 1.0]])
    # 0.9, 0.72, 0.648 | 0.7, 0.49, 0.49 | 0.4, 0.4, 0.4
    assert multiply(probabilities).int().T.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_repairs_give_nested_regions(generator, dtype):
    probabilities = torch.rand(2, 3, 6, 7, 8, generator=generator).to(dtype)
    masks = probabilities > 0.5
    assert violations(masks[0]).total > 0
    repairs = [intersect(masks, 1), paint(masks, 1), multiply(probabilities, 1)]
    for repaired in repairs:
        assert repaired.shape == masks.shape
        assert sum(violations(case).total for case in repaired) == 0
    assert (repairs[0] & ~masks).sum() == 0  # cuts only
    assert (masks & ~repairs[1]).sum() == 0  # grows only


def test_repairs_change_nothing_that_is_nested():
    masks = torch.tensor(NESTED, dtype=torch.bool).T
    for repaired in (intersect(masks), paint(masks), multiply(masks.float())):
        assert torch.equal(repaired, masks)


def test_the_rim_error_by_hand():
    predicted = torch.tensor([[[1, 2, 3, 2, 2, 1, 2]]])
    true = torch.tensor([[[1, 1, 3, 3, 2, 1, 1]]])
    # only the first touches both 1 and 3; the others touch one of them
    found = rim_error(predicted, true)
    assert found == RimError(rim=1, predicted=4)
    assert found.share == 0.25


def test_a_true_core_between_edema_and_enhancement_is_no_error():
    levels = np.array([[[1, 2, 3]]], np.uint8)
    assert rim_error(levels, levels) == (0, 1)


def test_corners_touch_and_borders_do_not_wrap():
    predicted = np.zeros((3, 3, 3), np.uint8)
    predicted[1, 1, 1], predicted[0, 0, 0], predicted[2, 2, 2] = 2, 1, 3
    assert rim_error(predicted, np.zeros_like(predicted)).rim == 1
    row = np.array([[[2, 1, 0, 3]]], np.uint8)
    assert rim_error(row, np.zeros_like(row)).rim == 0


def test_the_rim_error_agrees_with_looking_at_every_neighbor():
    rng = np.random.default_rng(0)
    predicted, true = rng.integers(0, 4, (2, 5, 6, 4)).astype(np.uint8)
    predicted[rng.random(predicted.shape) < 0.7] = 0
    count = 0
    for place in np.argwhere((predicted == 2) & (true != 2)):
        around = predicted[tuple(slice(max(i - 1, 0), i + 2) for i in place)]
        count += bool((around == 1).any() and (around == 3).any())
    assert rim_error(predicted, true) == (count, (predicted == 2).sum())
    assert 0 < count < (predicted == 2).sum()


def test_without_a_predicted_core_the_share_is_not_a_number():
    nothing = np.zeros((2, 2, 2), np.uint8)
    assert math.isnan(rim_error(nothing, nothing).share)


def test_levels_of_different_grids_are_refused():
    with pytest.raises(ValueError, match="both must be of one grid"):
        rim_error(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))


def test_averaging_activations_instead_of_logits_makes_a_false_core():
    """Windows that miss the enhancement at their ends disagree with those that see it whole."""
    layer = MultiLevelActivation()
    true = torch.ones(1, 1, 16, 8, 8)
    true[..., :4] = 3  # enhancing tumor beside edema, no core in between

    def logits(windows):
        z = torch.where(windows == 3, 3.0, -0.3)
        z[:, :, :2] = z[:, :, -2:] = -0.3
        return z

    def averaged(predictor):
        return sliding_window_inference(true, (8, 8, 8), 1, predictor, overlap=(0.5, 0, 0))

    from_logits = layer.levels(averaged(logits))[0, 0]
    from_activation = levels_above(averaged(lambda w: layer(logits(w))), (0.5, 1.5, 2.5))[0, 0]
    levels = true[0, 0].long()
    seen = slice(2, -2)  # by the inner part of a window
    assert torch.equal(from_logits[seen], levels[seen])
    assert rim_error(from_logits, levels) == (0, 0)
    false = rim_error(from_activation, levels)
    assert false.predicted == 8 * 8 * 4  # all of the enhancement that two windows share
    assert false.rim > 0
