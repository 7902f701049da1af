import numpy as np
import pytest

from vismodels.data.brain_cases import BrainCase
from vismodels.methods.multilevel_activation.thresholds import threshold_dice


def case(name, t1ce, levels):
    values = np.array(t1ce, np.float32).reshape(1, 1, 1, -1)
    images = np.concatenate([np.ones_like(values), values, np.ones_like(values), values])
    shaped = np.array(levels, np.uint8).reshape(1, 1, -1)
    return BrainCase(name, images, shaped, np.eye(4))


TRAIN = case("train", [1, 1, 1, 1, 1, 1, 8, 9], [0, 0, 0, 0, 1, 1, 3, 3])


def test_a_threshold_solves_cases_that_are_separate():
    assert threshold_dice([TRAIN], [TRAIN], "t1ce", "ET") == {"train": 1.0}


def test_a_bright_voxel_of_healthy_tissue_costs_dice():
    """Three voxels are above the threshold, two of them right: 2 * 2 / (3 + 2)."""
    test = case("test", [1, 1, 1, 1, 1, 9, 9, 9], [0, 0, 0, 0, 0, 0, 3, 3])
    assert threshold_dice([TRAIN], [test], "t1ce", "ET")["test"] == pytest.approx(0.8)


def test_cases_without_the_region_are_left_out():
    without = case("without", [1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 2, 2, 0, 0, 0, 0])
    assert threshold_dice([TRAIN, without], [without], "t1ce", "ET") == {}
    assert set(threshold_dice([without], [without, TRAIN], "t1ce", "TC")) == {"without", "train"}


def test_training_cases_without_the_region_are_an_error():
    without = case("without", [1, 2], [1, 2])
    with pytest.raises(ValueError, match="none of 1 training cases has ET"):
        threshold_dice([without], [TRAIN], "t1ce", "ET")
