import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.metrics.localization import (
    ENERGY_IN_LESION,
    ENERGY_IN_LUNG,
    LESION_IOU,
    POINTING_GAME,
    energy_inside,
    lesion_iou,
    measure_localization,
    pointing_hit,
    shuffled,
)
from vismodels.results import mean_value

MEASURES = [pointing_hit, energy_inside, lesion_iou]
SEEDS = st.integers(0, 2**32 - 1)


def case(seed, shape=(4, 5, 6)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), rng.random(shape) < 0.3


def row(*values, kind=float):
    return np.array([values], kind)


def test_measures_of_a_map_computed_by_hand():
    cam = row(4, 1, -5, 3, 2)
    lesion = row(0, 1, 1, 1, 0, kind=bool)
    assert pointing_hit(cam, lesion) == 0
    assert energy_inside(cam, lesion) == pytest.approx(40)  # (1 + 0 + 3) / 10
    assert lesion_iou(cam, lesion) == pytest.approx(1 / 5)  # hottest three: 4, 3, 2
    assert pointing_hit(-cam, lesion) == 100
    assert energy_inside(-cam, lesion) == 100


def test_a_map_equal_to_the_lesion_has_the_best_value_of_every_measure():
    lesion = case(0)[1]
    assert [measure(lesion.astype(float), lesion) for measure in MEASURES] == [100, 100, 1]


def test_a_map_beside_the_lesion_has_zero():
    lesion = case(0)[1]
    assert [measure((~lesion).astype(float), lesion) for measure in MEASURES] == [0, 0, 0]


def test_ties_count_by_their_share_whatever_their_order():
    lesion = row(1, 1, 0, 0, 0, 0, kind=bool)
    flat = np.ones((1, 6))
    assert pointing_hit(flat, lesion) == pytest.approx(100 / 3)
    assert energy_inside(flat, lesion) == pytest.approx(100 / 3)
    assert lesion_iou(flat, lesion) == pytest.approx((2 / 3) / (4 - 2 / 3))  # 2 of 6 drawn
    # One voxel above the ties: the other is drawn from five, one of which is lesion.
    cam = row(9, 1, 1, 1, 1, 1)
    assert lesion_iou(cam, lesion) == pytest.approx(1.2 / 2.8)
    assert lesion_iou(cam[:, ::-1], lesion[:, ::-1]) == pytest.approx(1.2 / 2.8)
    assert lesion_iou(row(9, 1, 1, 1, 0, 0), lesion) == pytest.approx((4 / 3) / (8 / 3))


def test_a_map_without_positive_values_has_no_energy_anywhere():
    lesion = case(0)[1]
    assert energy_inside(np.zeros(lesion.shape), lesion) == 0
    assert energy_inside(-lesion.astype(float), lesion) == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_a_scan_without_lesion_has_no_value(measure):
    cam, lesion = case(0)
    assert math.isnan(measure(cam, np.zeros_like(lesion)))


def test_scans_without_lesion_are_left_out_of_the_mean():
    cam, lesion = case(0)
    items = {"sick": pointing_hit(lesion * 1.0, lesion), "well": pointing_hit(cam, lesion & False)}
    value = mean_value(POINTING_GAME, items)
    assert (value.value, value.items) == (100, {"sick": 100})


@given(SEEDS, st.floats(0.01, 100))
def test_measures_do_not_depend_on_the_unit_or_the_orientation(seed, scale):
    cam, lesion = case(seed)
    lesion[0, 0, 0] = True
    for measure in MEASURES:
        expected = pytest.approx(measure(cam, lesion))
        assert measure(cam * scale, lesion) == expected
        assert measure(cam[::-1, :, ::-1], lesion[::-1, :, ::-1]) == expected
        assert measure(cam.transpose(2, 0, 1), lesion.transpose(2, 0, 1)) == expected


@given(SEEDS)
def test_energy_inside_and_outside_add_up(seed):
    cam, lesion = case(seed)
    lesion.flat[:2] = True, False
    assert energy_inside(cam, lesion) + energy_inside(cam, ~lesion) == pytest.approx(100)


@given(SEEDS)
def test_the_iou_follows_its_definition_where_no_values_are_tied(seed):
    cam, lesion = case(seed)
    lesion[0, 0, 0] = True
    hottest = np.zeros(cam.size, bool)
    hottest[np.argsort(cam, axis=None)[-lesion.sum() :]] = True
    hottest = hottest.reshape(cam.shape)
    expected = (hottest & lesion).sum() / (hottest | lesion).sum()
    assert lesion_iou(cam, lesion) == pytest.approx(expected)


def test_all_measures_of_a_scan_by_their_names():
    cam, lesion = case(1)
    lung = lesion.copy()
    lung[2:] = True
    assert measure_localization(cam, lesion, lung) == {
        POINTING_GAME.name: pointing_hit(cam, lesion),
        ENERGY_IN_LESION.name: energy_inside(cam, lesion),
        ENERGY_IN_LUNG.name: energy_inside(cam, lung),
        LESION_IOU.name: lesion_iou(cam, lesion),
    }
    well = measure_localization(cam, np.zeros_like(lesion), lung)
    assert [name for name, value in well.items() if not math.isnan(value)] == ["energy_in_lung"]


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_not_a_map_and_a_mask_is_refused(measure):
    cam, lesion = case(0)
    with pytest.raises(TypeError, match="boolean mask, got uint8"):
        measure(cam, lesion.astype(np.uint8))
    with pytest.raises(ValueError, match=r"map \(4, 5, 6\) and mask \(3, 5, 6\) differ"):
        measure(cam, lesion[:3])
    cam[1, 2, 3] = math.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        measure(cam, lesion)


def test_shuffling_keeps_the_values_and_repeats_itself():
    cam = case(0)[0]
    moved = shuffled(cam, np.random.default_rng(1))
    assert moved.shape == cam.shape
    assert not np.array_equal(moved, cam)
    assert np.array_equal(np.sort(moved, None), np.sort(cam, None))
    assert np.array_equal(moved, shuffled(cam, np.random.default_rng(1)))
    assert np.array_equal(cam, case(0)[0])


def test_every_cell_comes_to_every_place_equally_often():
    rng = np.random.default_rng(0)
    cam = np.arange(6).reshape(1, 2, 3)
    places = np.array([shuffled(cam, rng).argmax() for _ in range(3000)])
    counts = np.bincount(places, minlength=6)
    assert np.abs(counts - 500).max() < 5 * math.sqrt(500)


def test_blocks_are_moved_whole():
    cam = np.arange(4 * 6 * 2).reshape(4, 6, 2)
    block = (2, 3, 1)
    moved = shuffled(cam, np.random.default_rng(0), block)

    def blocks(volume):
        return {
            volume[z : z + 2, y : y + 3, x : x + 1].tobytes()
            for z in range(0, 4, 2)
            for y in range(0, 6, 3)
            for x in range(2)
        }

    assert blocks(moved) == blocks(cam)
    assert not np.array_equal(moved, cam)
    assert np.array_equal(shuffled(cam, np.random.default_rng(0), cam.shape), cam)


@pytest.mark.parametrize("block", [(3, 5, 6), (2, 5), (2, 5, 6, 1)])
def test_blocks_must_divide_the_map(block):
    with pytest.raises(ValueError, match=r"divide the map \(4, 5, 6\), got "):
        shuffled(case(0)[0], np.random.default_rng(0), block)


def test_a_shuffled_map_scores_what_chance_does():
    """Mean share of energy in a mask of a fifth of the volume: a fifth."""
    rng = np.random.default_rng(0)
    cam = np.zeros((5, 4, 4))
    cam[0, :2, :2] = 1
    mask = np.zeros(cam.shape, bool)
    mask[0] = True
    shares = [energy_inside(shuffled(cam, rng), mask) for _ in range(400)]
    assert energy_inside(cam, mask) == 100
    assert np.mean(shares) == pytest.approx(20, abs=4)  # standard error 1
