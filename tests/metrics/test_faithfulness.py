import math

import numpy as np
import pytest

from vismodels.metrics.faithfulness import (
    DELETION_AREA,
    INSERTION_AREA,
    blurred,
    deletion_insertion,
)


def mean_of(voxel):
    """Return a "network" that looks at one voxel."""
    return lambda volume: float(volume.flat[voxel])


def test_curves_and_areas_computed_by_hand():
    volume = np.array([[0.1, 0.4, 0.2, 0.1]])
    cam = np.array([[1.0, 9.0, 5.0, -2.0]])  # order: 1, 2, 0, 3
    curves = deletion_insertion(lambda v: float(v.sum()), volume, cam, steps=4, baseline=0.0)
    assert curves.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curves.deletion == pytest.approx([0.8, 0.4, 0.2, 0.1, 0])
    assert curves.insertion == pytest.approx([0, 0.4, 0.6, 0.7, 0.8])
    assert curves.areas[DELETION_AREA.name] == pytest.approx((0.4 + 0.4 + 0.2 + 0.1) / 4)
    assert curves.areas[INSERTION_AREA.name] == pytest.approx((0 + 0.4 + 0.6 + 0.7 + 0.4) / 4)


def test_a_map_that_finds_what_the_network_uses_is_deleted_at_once_and_inserted_at_once():
    volume = np.ones((2, 3, 4))
    right, wrong = np.zeros((2, 2, 3, 4))
    right.flat[7], wrong.flat[7] = 1, -1
    best = deletion_insertion(mean_of(7), volume, right, 24, 0.0).areas
    worst = deletion_insertion(mean_of(7), volume, wrong, 24, 0.0).areas
    assert best == pytest.approx({DELETION_AREA.name: 0.5 / 24, INSERTION_AREA.name: 1 - 0.5 / 24})
    assert worst == pytest.approx({DELETION_AREA.name: 1 - 0.5 / 24, INSERTION_AREA.name: 0.5 / 24})


def test_portions_are_equal_when_steps_do_not_divide_the_voxels():
    counts = []

    def count(volume):
        counts.append(int(volume.sum()))
        return 0.5

    volume = np.ones((2, 5))
    curves = deletion_insertion(count, volume, np.arange(10.0).reshape(2, 5), 4, 0.0)
    assert counts == [10, 0, 8, 5, 2, 2, 5, 8]
    assert curves.shares.tolist() == [0, 0.2, 0.5, 0.8, 1]
    assert curves.areas == pytest.approx({DELETION_AREA.name: 0.5, INSERTION_AREA.name: 0.5})


def test_the_baseline_is_a_number_or_a_volume():
    rng = np.random.default_rng(0)
    volume, cam = rng.random((2, 3, 4, 5))
    smooth = blurred(volume, 1.0)
    seen = []
    deletion_insertion(lambda v: seen.append(v) or 0.0, volume, cam, 3, smooth)
    deletion_insertion(lambda v: seen.append(v) or 0.0, volume, cam, 3, -1.0)
    assert np.array_equal(seen[1], smooth)
    assert np.array_equal(seen[7], np.full_like(volume, -1))
    hot = cam >= np.sort(cam, None)[-20]
    assert np.array_equal(seen[2], np.where(hot, smooth, volume))
    assert np.array_equal(seen[4], np.where(hot, volume, smooth))


def test_voxels_of_one_value_are_taken_in_the_order_of_the_array():
    seen = []
    deletion_insertion(lambda v: seen.append(v) or 0.0, np.ones((2, 2)), np.zeros((2, 2)), 2, 0.0)
    assert seen[2].tolist() == [[0, 0], [1, 1]]


def test_inputs_are_left_as_they_were_even_by_a_callable_that_writes():
    rng = np.random.default_rng(0)
    volume, cam = rng.random((2, 3, 4))
    before = volume.copy(), cam.copy()

    def rude(v):
        value = float(v.sum())
        v[:] = 99
        return value

    polite = deletion_insertion(lambda v: float(v.sum()), volume, cam, 4, 0.0)
    assert np.array_equal(deletion_insertion(rude, volume, cam, 4, 0.0).deletion, polite.deletion)
    assert np.array_equal(volume, before[0])
    assert np.array_equal(cam, before[1])


def test_blurring_keeps_a_constant_and_the_type_and_takes_detail_away():
    assert blurred(np.full((3, 4, 5), 2, np.float32), 2.0) == pytest.approx(2)
    volume = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    assert blurred(volume, 2.0).std() < volume.std() / 4
    assert blurred(volume, 2.0).dtype == np.float32


def test_what_does_not_fit_is_refused():
    volume = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"volume's shape \(2, 3\), got \(3, 2\)"):
        deletion_insertion(float, volume, np.ones((3, 2)), 2, 0.0)
    with pytest.raises(ValueError, match="finite map"):
        deletion_insertion(float, volume, np.full((2, 3), math.nan), 2, 0.0)
    for steps in (0, 7):
        with pytest.raises(ValueError, match=f"1 to 6 steps, one voxel each at most, got {steps}"):
            deletion_insertion(float, volume, volume, steps, 0.0)
