import math
import subprocess
import sys
import warnings
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_hausdorff_distance,
    get_confusion_matrix,
)
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from vismodels.metrics.regions import (
    PENALTY,
    RegionScore,
    hausdorff_95,
    region_scores,
    region_values,
)
from vismodels.metrics.segmentation import (
    DICE_ET,
    DICE_ET_PRESENT,
    DICE_WT,
    EMPTY_ET,
    EMPTY_KEPT,
    EMPTY_WT,
    HD95_ET,
    HD95_ET_PRESENT,
    HD95_WT,
    REGIONS,
    SENSITIVITY_ET,
    SPECIFICITY_WT,
    EmptyRule,
)
from vismodels.results import Score, read_scores, write_scores

SEEDS = st.integers(0, 2**32 - 1)
SPACING = (3.0, 0.5, 1.25)
NAN = math.nan
RULES = get_args(EmptyRule)


def row(*voxels):
    """Return a mask of one row of voxels, (1, 1, W)."""
    return np.array([[voxels]], bool)


def blob(rng, shape=(5, 9, 8)):
    """Return a mask of a few boxes, not empty; some touch the border of the grid."""
    mask = np.zeros(shape, bool)
    for _ in range(3):
        low = [rng.integers(0, size) for size in shape]
        mask[tuple(slice(at, at + rng.integers(1, 5)) for at in low)] = True
    return mask


def case(seed):
    """Return predicted and true regions, (3, D, H, W), none empty."""
    rng = np.random.default_rng(seed)
    masks = np.stack([blob(rng) for _ in range(6)])
    return masks[:3], masks[3:]


def every(mask):
    """Return three regions that are all this mask."""
    return np.stack([mask] * 3)


def hd95_of_all_pairs(predicted, truth, spacing):
    """Return HD95 by its definition, from all distances between surface voxels."""
    found, true = (
        np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in (predicted, truth)
    )
    distances = cdist(found, true)
    return max(np.percentile(distances.min(axis), 95) for axis in (0, 1))


def test_scores_of_a_case_counted_by_hand():
    predicted = np.stack([row(1, 1, 1, 1, 0, 0), row(0, 1, 1, 0, 0, 0), row(0, 0, 1, 0, 0, 0)])
    truth = np.stack([row(0, 0, 1, 1, 1, 0), row(0, 1, 1, 0, 0, 0), row(0, 0, 0, 0, 1, 0)])
    scores = region_scores(predicted, truth, (1, 1, 2), "brats2018")
    assert tuple(scores) == REGIONS
    # Predicted to truth: 2, 1, 0, 0 voxels, 95th percentile 1.85; truth to predicted: 0, 0, 1.
    whole = scores["WT"]
    assert whole.dice == pytest.approx(2 * 2 / (4 + 3))
    assert whole.hd95 == pytest.approx(2 * 1.85)
    assert whole.sensitivity == pytest.approx(2 / 3)
    assert whole.specificity == pytest.approx(1 / 3)
    assert (whole.predicted, whole.true, whole.by_rule) == (4, 3, False)
    assert scores["TC"] == RegionScore(1, 0, 1, 1, predicted=2, true=2)
    assert scores["ET"] == RegionScore(0, 4, 0, 0.8, predicted=1, true=1)


def test_distances_are_in_millimeters_along_every_axis():
    predicted, truth = np.zeros((2, 4, 5, 6), bool)
    predicted[0, 0, 0] = truth[1, 2, 4] = True
    assert hausdorff_95(predicted, truth, (2, 1, 0.5)) == pytest.approx(math.sqrt(12))
    assert hausdorff_95(predicted, truth, (1, 1, 1)) == pytest.approx(math.sqrt(21))


def test_the_percentile_is_of_each_direction_and_interpolates():
    """Both directions pooled (0, 0, 10) would give 9, the next larger distance 10."""
    predicted, truth = row(1, *[0] * 9, 1), row(1, *[0] * 10)
    assert hausdorff_95(predicted, truth, (1, 1, 1)) == pytest.approx(9.5)
    assert hausdorff_95(truth, predicted, (1, 1, 1)) == pytest.approx(9.5)


def test_the_wall_of_a_hole_is_surface():
    """6 of 104 surface voxels lie 1 mm inside; the rank 0.95 x 103 = 97.85 is next to them."""
    truth = np.ones((5, 5, 5), bool)
    predicted = truth.copy()
    predicted[2, 2, 2] = False
    # MONAI computes the rank in float32.
    assert hausdorff_95(predicted, truth, (1, 1, 1)) == pytest.approx(0.85, abs=1e-5)


@given(SEEDS)
def test_hd95_is_that_of_all_pairs_of_surface_voxels(seed):
    predicted, truth = case(seed)
    scores = region_scores(predicted, truth, SPACING, "brats2018")
    for found, true, score in zip(predicted, truth, scores.values(), strict=True):
        # MONAI computes ranks and distances in float32.
        assert score.hd95 == pytest.approx(hd95_of_all_pairs(found, true, SPACING), abs=1e-4)


@given(SEEDS)
def test_cutting_to_the_box_of_both_masks_changes_nothing(seed):
    predicted, truth = case(seed)
    inside = [np.pad(masks, ((0, 0), (3, 1), (0, 7), (2, 2))) for masks in (predicted, truth)]
    small = region_scores(predicted, truth, SPACING, "brats2018")
    large = region_scores(*inside, SPACING, "brats2018")
    for region in REGIONS:
        assert large[region].dice == small[region].dice
        assert large[region].hd95 == small[region].hd95
        assert large[region].sensitivity == small[region].sensitivity
        assert large[region].specificity >= small[region].specificity
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        whole = compute_hausdorff_distance(
            *(torch.from_numpy(masks)[None] for masks in inside),
            include_background=True,
            percentile=95,
            spacing=SPACING,
        )
    assert [score.hd95 for score in small.values()] == whole[0].tolist()


@given(SEEDS)
def test_what_was_cut_off_counts_for_the_specificity_alone(seed):
    predicted, truth = case(seed)
    inside = [np.pad(masks, ((0, 0), (1, 2), (0, 3), (2, 0))) for masks in (predicted, truth)]
    cut_off = inside[0][0].size - predicted[0].size
    whole = region_scores(*inside, SPACING, "nan")
    for region, score in region_scores(predicted, truth, SPACING, "nan", cut_off=cut_off).items():
        assert vars(score) == pytest.approx(vars(whole[region]), nan_ok=True)


@given(SEEDS)
def test_overlap_agrees_with_counts_and_with_monai(seed):
    predicted, truth = case(seed)
    scores = region_scores(predicted, truth, SPACING, "nan").values()
    matrix = get_confusion_matrix(*(torch.from_numpy(m[None]).byte() for m in (predicted, truth)))
    for name, measure in {
        "f1 score": "dice",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
    }.items():
        expected = compute_confusion_matrix_metric(name, matrix)[0].tolist()
        assert [getattr(score, measure) for score in scores] == pytest.approx(expected, nan_ok=True)


@given(SEEDS)
def test_prediction_and_truth_exchanged_keep_dice_and_hd95(seed):
    predicted, truth = case(seed)
    forth = region_scores(predicted, truth, SPACING, "nan")
    back = region_scores(truth, predicted, SPACING, "nan")
    for region in REGIONS:
        assert back[region].dice == pytest.approx(forth[region].dice)
        assert back[region].hd95 == forth[region].hd95


@given(SEEDS)
def test_mirrored_views_score_the_same(seed):
    predicted, truth = case(seed)
    mirrored = region_scores(predicted[:, ::-1, :, ::-1], truth[:, ::-1, :, ::-1], SPACING, "nan")
    for region, score in region_scores(predicted, truth, SPACING, "nan").items():
        assert vars(mirrored[region]) == pytest.approx(vars(score), nan_ok=True)


@pytest.mark.parametrize(
    ("rule", "both", "one"),
    [
        ("brats2018", (1, 0), (0, 373.1287)),
        ("nan", (NAN, NAN), (0, NAN)),
        ("panoptica", (NAN, NAN), (0, math.inf)),
    ],
)
def test_empty_regions_follow_the_rule(rule, both, one):
    some, none = row(1, 1, 0, 0), row(0, 0, 0, 0)
    predicted, truth = np.stack([none, some, none]), np.stack([none, none, some])
    scores = region_scores(predicted, truth, (1, 1, 1), rule)
    for region, expected in {"WT": both, "TC": one, "ET": one}.items():
        score = scores[region]
        assert (score.dice, score.hd95) == pytest.approx(expected, abs=5e-5, nan_ok=True)
        assert score.by_rule
    assert math.isnan(scores["WT"].sensitivity)
    assert math.isnan(scores["TC"].sensitivity)
    assert scores["ET"].sensitivity == 0
    assert [score.specificity for score in scores.values()] == [1, 0.5, 1]


@pytest.mark.parametrize("rule", RULES)
def test_rules_leave_regions_that_are_not_empty_alone(rule):
    predicted, truth = case(0)
    expected = region_scores(predicted, truth, SPACING, "brats2018")
    assert region_scores(predicted, truth, SPACING, rule) == expected
    assert not any(score.by_rule for score in expected.values())


def test_the_penalty_is_the_diagonal_of_the_grid_of_brats():
    assert round(PENALTY, 4) == 373.1287


def test_a_region_that_fills_the_grid_has_no_specificity():
    full = every(row(1, 1, 1))
    score = region_scores(full, full, (1, 1, 1), "nan")["WT"]
    assert math.isnan(score.specificity)
    assert (score.dice, score.hd95, score.sensitivity) == (1, 0, 1)


def cases(rule):
    """Return scores of four cases, of which two have no ET; one of these gets a false one."""
    some, half, none = row(1, 1, 0, 0), row(1, 0, 0, 0), row(0, 0, 0, 0)
    whole = row(1, 1, 1, 0)
    pairs = {
        "found": (half, some),
        "missed": (none, some),
        "clean": (none, none),
        "false": (half, none),
    }
    return {
        name: region_scores(
            np.stack([whole, some, found]), np.stack([whole, some, true]), (1, 1, 1), rule
        )
        for name, (found, true) in pairs.items()
    }


def values(rule):
    return {value.metric: value for value in region_values(cases(rule))}


def test_a_set_is_scored_with_the_cases_that_the_rule_decided():
    scored = values("brats2018")
    dice = {"found": pytest.approx(2 / 3), "missed": 0, "clean": 1, "false": 0}
    assert scored[DICE_ET].items == dice
    assert scored[DICE_ET].value == pytest.approx((2 / 3 + 1) / 4)
    # Truth to prediction 0 and 1 mm: 95th percentile 0.95.
    assert scored[HD95_ET].value == pytest.approx((0.95 + 2 * PENALTY) / 4)
    assert scored[EMPTY_ET].items == {"found": 0, "missed": 1, "clean": 1, "false": 1}
    assert (scored[EMPTY_ET].value, scored[EMPTY_WT].value) == (3, 0)
    assert scored[SENSITIVITY_ET].items == {"found": 0.5, "missed": 0}
    assert (scored[DICE_WT].value, scored[HD95_WT].value, scored[SPECIFICITY_WT].value) == (1, 0, 1)


def test_cases_with_and_without_enhancing_tumor_are_scored_apart():
    scored = values("brats2018")
    assert scored[DICE_ET_PRESENT].items == {"found": pytest.approx(2 / 3), "missed": 0}
    assert scored[DICE_ET_PRESENT].value == pytest.approx(1 / 3)
    assert scored[HD95_ET_PRESENT].value == pytest.approx((0.95 + PENALTY) / 2)
    assert scored[EMPTY_KEPT].items == {"clean": 100, "false": 0}
    assert scored[EMPTY_KEPT].value == 50


def test_what_the_rule_does_not_define_is_left_out_of_the_mean():
    scored = values("nan")
    assert scored[DICE_ET].items == {"found": pytest.approx(2 / 3), "missed": 0, "false": 0}
    assert scored[HD95_ET].items == {"found": pytest.approx(0.95)}
    assert scored[HD95_ET].value == pytest.approx(0.95)


def test_an_infinite_distance_leaves_no_mean():
    scored = values("panoptica")
    assert scored[HD95_ET].value is None
    assert scored[HD95_ET].items == {"found": pytest.approx(0.95)}
    assert scored[HD95_WT].value == 0
    assert scored[DICE_ET].value == pytest.approx(2 / 9)


@pytest.mark.parametrize("rule", RULES)
def test_values_are_written_to_score_files(rule, tmp_path):
    score = Score("segmentation_score", "scalar", region_values(cases(rule)))
    write_scores(tmp_path / "scores.json", [score])
    assert read_scores(tmp_path / "scores.json") == [score]


def test_a_set_without_enhancing_tumor_has_no_value_for_it():
    clean = {"clean": cases("brats2018")["clean"]}
    scored = {value.metric: value.value for value in region_values(clean)}
    assert scored[DICE_ET_PRESENT] is None
    assert scored[HD95_ET_PRESENT] is None
    assert (scored[DICE_ET], scored[EMPTY_KEPT]) == (1, 100)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"predicted": np.zeros((3, 1, 1, 4))}, TypeError, "boolean prediction, got float64"),
        ({"truth": np.zeros((3, 1, 1, 4), np.uint8)}, TypeError, "boolean truth, got uint8"),
        ({"truth": row(1, 0, 0, 0)}, ValueError, r"truth \(3, D, H, W\) .* got \(1, 1, 4\)"),
        ({"truth": every(row(1, 0))[:2]}, ValueError, r"got \(2, 1, 1, 2\)"),
        ({"truth": every(row())}, ValueError, r"got \(3, 1, 1, 0\)"),
        ({"truth": every(row(1, 0))}, ValueError, r"\(3, 1, 1, 4\) and truth \(3, 1, 1, 2\)"),
        ({"spacing": (1, 1)}, ValueError, r"positive spacing .* got \(1, 1\)"),
        ({"spacing": (1, 0, 1)}, ValueError, r"got \(1, 0, 1\)"),
        ({"spacing": (1, NAN, 1)}, ValueError, r"got \(1, nan, 1\)"),
        ({"rule": "brats"}, ValueError, "of brats2018, nan, panoptica, got 'brats'"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, error, message):
    masks = every(row(1, 1, 0, 0))
    arguments = {"predicted": masks, "truth": masks, "spacing": (1, 1, 1), "rule": "nan"}
    with pytest.raises(error, match=message):
        region_scores(**{**arguments, **change})


def test_importing_it_loads_no_library_that_computes():
    code = (
        "import sys, vismodels.metrics.regions; "
        "print(*(name for name in ('torch', 'scipy', 'monai') if name in sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (output.returncode, output.stdout.split()) == (0, []), output.stderr
