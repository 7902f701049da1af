import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from vismodels.metrics.document import f_measure, precision, recall
from vismodels.metrics.pseudo_f import (
    WeightMaps,
    pfm_skeleton,
    pfm_weighted,
    thinned,
    weight_maps,
)

MIDDLE = 30  # a row far from the ends of the strokes


def strokes(*columns, width=60):
    """Return a page with vertical strokes, each given by its first column and the next free one."""
    page = np.zeros((60, width), bool)
    for first, end in columns:
        page[10:50, first:end] = True
    return page


def maps(page):
    return weight_maps(page, thinned(page))


def random_text(seed):
    noise = np.random.default_rng(seed).random((48, 40))
    return ndimage.gaussian_filter(noise, 2) > 0.52


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1, [1]),
        (3, [0, 1, 0]),
        (4, [0, 1 / 2, 1 / 2, 0]),
        (5, [0, 1 / 4, 1 / 2, 1 / 4, 0]),
        (6, [0, 1 / 6, 2 / 6, 2 / 6, 1 / 6, 0]),
        (7, [0, 1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9, 0]),
        (9, [0, 1 / 16, 2 / 16, 3 / 16, 4 / 16, 3 / 16, 2 / 16, 1 / 16, 0]),
    ],
)
def test_recall_weights_across_a_stroke(width, expected):
    page = strokes((20, 20 + width))
    for weights in (maps(page).recall[MIDDLE], maps(page.T).recall[:, MIDDLE]):
        np.testing.assert_allclose(weights[20 : 20 + width], expected, atol=1e-12)
        assert weights.sum() == pytest.approx(1)


def test_a_stroke_of_two_pixels_has_its_weight_on_the_skeleton():
    page = strokes((20, 22))
    assert sorted(maps(page).recall[MIDDLE, 20:22]) == [0, 1]


def test_text_at_the_border_of_the_page_has_its_contour_there():
    page = np.zeros((60, 5), bool)
    page[10:50] = True
    np.testing.assert_allclose(maps(page).recall[MIDDLE], [0, 1 / 4, 1 / 2, 1 / 4, 0])


def test_precision_weights_grow_up_to_the_width_of_the_stroke():
    # Width 7 has depths up to 3: the stroke width of the paper's program is 2 * 3.
    weights = maps(strokes((20, 27))).precision[MIDDLE]
    ramp = np.arange(1, 7) / 6
    np.testing.assert_allclose(weights[27:33], ramp)
    np.testing.assert_allclose(weights[14:20], ramp[::-1])
    assert weights.sum() == pytest.approx(2 * ramp.sum())  # 0 elsewhere


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (1, [1]),
        (4, [1 / 2, 1, 1, 1 / 2]),
        (5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
        (14, [*np.arange(1, 7) / 6, 0, 0, *np.arange(6, 0, -1) / 6]),
    ],
)
def test_precision_weights_between_two_strokes_are_full_in_the_middle(gap, expected):
    page = strokes((10, 17), (17 + gap, 24 + gap))
    np.testing.assert_allclose(maps(page).precision[MIDDLE, 17 : 17 + gap], expected)
    np.testing.assert_allclose(maps(page.T).precision[17 : 17 + gap, MIDDLE], expected)


def test_the_inside_of_a_letter_is_no_gap_between_components():
    page = strokes((10, 17), (21, 28))
    page[43:50, 10:28] = True  # joined at the foot, as in a U
    alone = np.array([1, 2, 2, 1])
    weights = maps(page).precision[MIDDLE, 17:21]
    np.testing.assert_allclose(weights, alone * weights[0])
    assert weights.max() < 1


@given(st.integers(0, 2**32 - 1))
def test_weights_stay_on_their_side_and_in_their_range(seed):
    page = random_text(seed)
    weights = maps(page)
    assert not weights.recall[~page].any()
    assert not weights.precision[page].any()
    assert 0 <= weights.recall.min() <= weights.recall.max() <= 1
    assert 0 <= weights.precision.min() <= weights.precision.max() <= 2
    assert weights.recall[thinned(page)].min(initial=1) > 0


@given(st.integers(0, 2**32 - 1))
def test_thinning_keeps_every_component_in_one_piece(seed):
    page = random_text(seed)
    skeleton = thinned(page)
    connected = np.ones((3, 3))
    assert not (skeleton & ~page).any()
    assert ndimage.label(skeleton, connected)[1] == ndimage.label(page, connected)[1]


def test_thinning_leaves_one_pixel_across_a_stroke():
    skeleton = thinned(strokes((20, 27), (40, 44)))
    assert skeleton[MIDDLE, 20:27].sum() == skeleton[MIDDLE, 40:44].sum() == 1


def test_the_worked_example_of_the_contests_tool():
    """DIBCO 2018 hands out one page with the tool's output; these are its counts and sums."""
    counts = {"hit": 61573, "missed": 6493, "false": 1929}
    recall_sums = {"hit": 11562.182811, "missed": 64.369443, "false": 0}
    precision_sums = {"hit": 0, "missed": 0, "false": 644.866641}
    # One row; pixels of a kind share its sum equally.
    row = np.repeat(list(counts), list(counts.values()))
    spread = [
        np.array([[sums[kind] / counts[kind] for kind in counts]]).repeat(
            list(counts.values()), axis=1
        )
        for sums in (recall_sums, precision_sums)
    ]
    target, prediction = (row != "false")[None], (row != "missed")[None]
    value = pfm_weighted(prediction, target, WeightMaps(*spread))
    assert value == pytest.approx(97.6863, abs=1e-4)
    assert f_measure(prediction, target) == pytest.approx(93.5987, abs=1e-4)


def test_weights_of_one_give_recall_and_the_weighted_precision_by_hand():
    # 2 hits, 1 missed, 1 false pixel of weight 1 + 2: P = 2/5, R = 2/3, F = 1/2.
    target = np.array([[1, 1, 1, 0, 0]], bool)
    prediction = np.array([[1, 1, 0, 1, 0]], bool)
    weights = WeightMaps(target.astype(float), 2.0 * ~target)
    assert pfm_weighted(prediction, target, weights) == pytest.approx(50)


def test_pseudo_f_on_the_skeleton_by_hand():
    # 3 of 4 skeleton pixels found; precision 6/8: both 75 %.
    target = np.zeros((3, 10), bool)
    target[:, :4] = True
    skeleton = np.zeros_like(target)
    skeleton[1, :4] = True
    prediction = np.zeros_like(target)
    prediction[1, :3] = prediction[0, :3] = prediction[0, 8:] = True
    assert pfm_skeleton(prediction, target, skeleton) == pytest.approx(75)


def test_strokes_without_their_contour_are_perfect_for_both_measures():
    target = strokes((10, 15), (30, 37))
    thin = ndimage.binary_erosion(target)
    assert f_measure(thin, target) < 80
    assert pfm_weighted(thin, target, maps(target)) == pytest.approx(100)
    skeleton = thinned(target) & thin  # without the ends of the lines
    assert pfm_skeleton(thin, target, skeleton) == pytest.approx(100)


def test_a_broken_stroke_costs_more_than_a_thinner_one():
    target = strokes((10, 17))
    broken, thinner = target.copy(), target.copy()
    broken[26:36] = False
    thinner[10:45, [10, 16]] = False  # the same number of pixels
    assert broken.sum() == thinner.sum()
    assert pfm_weighted(broken, target, maps(target)) < pfm_weighted(thinner, target, maps(target))


def test_filling_a_gap_costs_more_than_noise_far_away():
    target = strokes((10, 17), (21, 28))
    filled, noisy = target.copy(), target.copy()
    filled[20:40, 17:21] = True
    noisy[20:40, 50:54] = True
    assert precision(filled, target) == precision(noisy, target)
    assert pfm_weighted(filled, target, maps(target)) < pfm_weighted(noisy, target, maps(target))
    skeleton = thinned(target)
    assert pfm_skeleton(filled, target, skeleton) == pfm_skeleton(noisy, target, skeleton)


def test_a_page_without_text_has_no_value():
    blank, text = np.zeros((60, 60), bool), strokes((20, 27))
    for prediction in (blank, text):
        assert math.isnan(pfm_weighted(prediction, blank, maps(blank)))
        assert math.isnan(pfm_skeleton(prediction, blank, thinned(blank)))


def test_a_page_whose_text_is_not_found_has_zero():
    text = strokes((20, 27))
    for prediction in (np.zeros_like(text), ~text):
        assert pfm_weighted(prediction, text, maps(text)) == 0
        assert pfm_skeleton(prediction, text, thinned(text)) == 0


def test_a_perfect_page_has_one_hundred():
    page = random_text(3)
    assert recall(page, page) == 100
    assert pfm_weighted(page, page, maps(page)) == pytest.approx(100)
    assert pfm_skeleton(page, page, thinned(page)) == pytest.approx(100)


def test_a_page_of_nothing_but_text_is_measured():
    page = np.ones((20, 20), bool)
    assert not maps(page).precision.any()
    assert pfm_weighted(page, page, maps(page)) == pytest.approx(100)


def test_maps_and_masks_of_another_page_are_refused():
    page = strokes((20, 27))
    weights = maps(page)
    with pytest.raises(ValueError, match=r"recall weights .*\(60, 60\), got \(59, 60\)"):
        pfm_weighted(page, page, WeightMaps(weights.recall[1:], weights.precision))
    with pytest.raises(ValueError, match=r"precision weights .*\(60, 60\), got \(3600,\)"):
        pfm_weighted(page, page, WeightMaps(weights.recall, weights.precision.ravel()))
    with pytest.raises(ValueError, match="differ in shape"):
        pfm_skeleton(page, page, thinned(page)[1:])
    with pytest.raises(TypeError, match="boolean"):
        weight_maps(page.astype(np.uint8), page)
