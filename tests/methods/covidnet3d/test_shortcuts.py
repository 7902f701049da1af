import numpy as np
import pytest
from small_scans import scan, scans

from vismodels.data.medmnist import LabelledVolumes
from vismodels.methods.covidnet3d.shortcuts import (
    density_histogram,
    majority,
    placed_histogram,
    regression,
    shape_table,
    slice_counts,
)


def test_the_largest_class_is_named_every_time():
    logits = majority(np.array([2, 1, 2, 0]), 3, 4)
    assert logits.argmax(1).tolist() == [2, 2, 2]
    assert logits[0].tolist() == [0.25, 0.25, 0.5, 0.0]


def test_a_regression_finds_what_is_separable():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = rng.normal(0, 0.1, (60, 2)) + labels[:, None] * [1.0, -100.0]
    logits = regression(features[:45], labels[:45], features[45:], 3)
    assert logits.argmax(1).tolist() == labels[45:].tolist()


def test_a_class_that_training_lacks_is_never_chosen():
    logits = regression(np.array([[0.0], [1.0]] * 5), np.array([0, 2] * 5), np.array([[0.0]]), 4)
    assert logits.shape == (1, 4)
    assert logits.argmax() == 0
    assert logits[0, 1] == logits[0, 3] < logits[0, 2]


def test_slices_are_counted_before_resampling():
    assert slice_counts([scan(0, "CP", slices=31), scan(1, "CP", slices=64)]).tolist() == [
        [31.0],
        [64.0],
    ]


def test_a_histogram_is_of_the_lung_alone():
    table = density_histogram(scans(2, lesion=False))
    np.testing.assert_allclose(table.sum(1), 1.0)
    assert table.shape == (6, 16)
    bins = [((40 + 1000) // 75)]  # the body's 40 HU
    assert not table[:, bins].any()


def test_halves_tell_where_a_lesion_is():
    low, high = placed_histogram([scan(0, "CP"), scan(0, "NCP")])
    assert low.shape == (7 * 16,)
    lower, upper = slice(16, 32), slice(32, 48)
    dense = slice(8, 16)  # from -400 HU on
    assert low[lower][dense].sum() > 0 == low[upper][dense].sum()
    assert high[upper][dense].sum() > 0 == high[lower][dense].sum()


def test_a_scan_without_a_lung_is_named():
    bare = scan(0, "CP")
    object.__setattr__(bare, "lung", None)
    with pytest.raises(ValueError, match="'CP_0' has no mask of the lungs"):
        density_histogram([bare])


def test_shapes_become_a_table_of_25_features():
    images = np.zeros((2, 28, 28, 28), np.uint8)
    images[0, 8:16, 8:16, 8:16] = 255
    images[1, 4:24, 10:14, 10:14] = 255
    names, rows = shape_table(LabelledVolumes(images, np.array([0, 1])))
    assert rows.shape == (2, len(names)) == (2, 25)
    thick = rows[:, names.index("thickness")]
    assert thick[0] == pytest.approx(512 / (512 - 216))
    assert thick[0] > thick[1]
