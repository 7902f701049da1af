import math
from dataclasses import replace

import numpy as np
import pytest
from small_brains import CASES, row

from vismodels.config import parse_config
from vismodels.data.label_schemes import scheme_by_name
from vismodels.files import FileError
from vismodels.methods.multilevel_activation.config import ScoringSettings
from vismodels.methods.multilevel_activation.files import (
    LABELS,
    MASKS,
    PRODUCT,
    write_regions,
    write_segmentation,
)
from vismodels.methods.multilevel_activation.nesting import violations
from vismodels.methods.multilevel_activation.score import compared, score, segmented_folders
from vismodels.metrics.segmentation import DICE, DICE_ET_PRESENT
from vismodels.results import SCORES, Score, mean_value, write_scores

TRUTH = [row("with", [0, 0, 1, 1, 2, 2, 3, 3]), row("without", [0, 1, 1, 1, 1, 2, 2, 0])]
TRAINING = [row("seen", [0, 0, 1, 1, 2, 2, 3, 3])]
NESTED = {"with": [0, 0, 1, 2, 3, 3, 3, 3], "without": [0, 1, 1, 1, 1, 1, 2, 0]}
OPEN = {  # voxels of WT, TC and ET: 6 and 7 are core outside of the tumor, 1 enhances outside
    "with": ([2, 3, 4, 5], [4, 5, 6, 7], [1, 6, 7]),
    "without": ([1, 2, 3, 4, 5, 6], [5, 6], []),
}


def scoring(**changes):
    section = {"reference": "softmax", "shown": [], "cases": [], "bootstrap": 50} | changes
    return parse_config(ScoringSettings, section, "scoring")


def masks_of(places):
    masks = np.zeros((3, 1, 1, 8), bool)
    for mask, where in zip(masks, places, strict=True):
        mask[..., where] = True
    return masks


def nested(levels):
    return np.stack([np.array(levels)[None, None] >= n for n in (1, 2, 3)])


def write(folder, name, seed, predicted):
    """Write what the stage `segment` would: levels of each case, or places of three masks."""
    folder.mkdir(parents=True)
    write_scores(folder / SCORES, [Score("multilevel_segment", name, [], seed=seed)])
    for case, what in predicted.items():
        is_open = isinstance(what, tuple)
        masks = masks_of(what) if is_open else nested(what)
        painted = np.max([(n + 1) * mask for n, mask in enumerate(masks)], axis=0)
        scheme = scheme_by_name("brats2021")
        write_segmentation(folder / f"{case}{LABELS}", painted, np.eye(4), scheme)
        write_regions(folder / f"{case}{MASKS}", masks, np.eye(4))
        if is_open:
            write_regions(folder / f"{case}{PRODUCT}", masks & False, np.eye(4))
    return folder


@pytest.fixture
def folders(tmp_path):
    """Return the folders of three models: exact, nested with errors, and not nested."""
    exact = {case.name: case.levels.ravel().tolist() for case in TRUTH}
    return segmented_folders(
        [
            write(tmp_path / "a", "softmax", 0, exact),
            write(tmp_path / "b", "multilevel", 0, NESTED),
            write(tmp_path / "c", "sigmoid_regions", 1, OPEN),
        ]
    )


def scored(folders, **changes):
    records = score(CASES, scoring(**changes), folders, TRUTH, TRAINING)
    return {(record.variant, record.seed): record for record in records}


def items(record, metric):
    return dict(record.value(metric).items)


def test_folders_are_found_by_model_and_seed(tmp_path):
    paths = [write(tmp_path / str(n), "m", seed, NESTED) for n, seed in enumerate((3, 5))]
    assert segmented_folders(paths) == {"m": {3: paths[0], 5: paths[1]}}


def test_dice_is_that_counted_by_hand(folders):
    records = scored(folders)
    nested_, open_ = records["multilevel", 0], records["sigmoid_regions", 1]
    assert items(nested_, "dice_wt") == pytest.approx({"with": 1.0, "without": 1.0})
    assert items(nested_, "dice_tc") == pytest.approx({"with": 8 / 9, "without": 2 / 3})
    assert items(nested_, "dice_et") == pytest.approx({"with": 4 / 6, "without": 1.0})
    assert items(nested_, "dice_et_present") == pytest.approx({"with": 4 / 6})
    assert items(open_, "dice_wt") == pytest.approx({"with": 8 / 10, "without": 1.0})
    assert items(open_, "dice_tc") == pytest.approx({"with": 1.0, "without": 1.0})
    assert items(open_, "dice_et") == pytest.approx({"with": 4 / 5, "without": 1.0})
    assert open_.value("empty_et").value == 1
    exact = records["softmax", 0]
    assert {exact.value(f"dice_{region}").value for region in ("wt", "tc", "et")} == {1.0}
    assert {exact.value(f"hd95_{region}").value for region in ("wt", "tc", "et")} == {0.0}


def test_distances_are_in_millimeters(tmp_path):
    """ET reaches two voxels too far; a voxel is 2.5 mm long along the row."""
    case = row("with", [0, 0, 1, 1, 2, 2, 3, 3])
    case.affine[2, 2] = 2.5
    folders = {"softmax": {0: write(tmp_path / "a", "softmax", 0, {"with": NESTED["with"]})}}
    records = score(CASES, scoring(), folders, [case], TRAINING)
    (record,) = [r for r in records if r.variant == "softmax"]
    distances = [5.0, 2.5, 0.0, 0.0]  # from the four predicted voxels
    assert record.value("hd95_et").value == pytest.approx(np.percentile(distances, 95))


def test_specificity_is_of_the_grid_that_the_case_was_cropped_from(tmp_path):
    """Of 6 voxels without ET 1 is predicted; 12 more were cut off."""
    folders = {"softmax": {0: write(tmp_path / "a", "softmax", 0, {"with": [3, *[0] * 7]})}}
    for outside, expected in ((0, 5 / 6), (12, 17 / 18)):
        case = replace(TRUTH[0], outside=outside)
        (record,) = [
            r for r in score(CASES, scoring(), folders, [case], TRAINING) if r.variant == "softmax"
        ]
        assert record.value("specificity_et").value == pytest.approx(expected)


def test_violations_are_counted_in_the_files(folders):
    records = scored(folders)
    open_ = records["sigmoid_regions", 1]
    assert items(open_, "et_outside_tc") == {"with": 1, "without": 0}
    assert items(open_, "tc_outside_wt") == {"with": 2, "without": 0}
    assert open_.value("tc_outside_wt").value == 2
    for name in ("softmax", "multilevel"):
        assert records[name, 0].value("et_outside_tc").value == 0
        assert records[name, 0].value("tc_outside_wt").value == 0


@pytest.mark.parametrize(("predicted", "counts"), [(NESTED, (0, 0)), (OPEN, (2, 1))])
def test_a_bound_holds_if_the_multilevel_head_has_no_violation_and_fails_else(
    predicted, counts, folders, tmp_path
):
    metrics = ("tc_outside_wt", "et_outside_tc")
    bounds = [
        {"set": CASES.card, "variant": "multilevel", "metric": metric, "value": 0,
         "at_least": False}
        for metric in metrics
    ]  # fmt: skip
    folders["multilevel"] = {0: write(tmp_path / "d", "multilevel", 0, predicted)}
    gates = scored(folders, bounds=bounds)["multilevel", 0].gates
    assert [gate.name for gate in gates] == [f"{metric} on {CASES.card}" for metric in metrics]
    assert tuple(gate.value for gate in gates) == counts
    assert [gate.passed for gate in gates] == [not count for count in counts]


def test_repairs_of_open_masks_are_rows_of_their_own(folders):
    records = scored(folders)
    repaired = {
        name.removeprefix("sigmoid_regions_"): records[name, seed]
        for name, seed in records
        if name.startswith("sigmoid_regions_") and "against" not in name
    }
    assert repaired.keys() == {"intersected", "painted", "product"}
    dice = {
        how: [items(record, f"dice_{region}")["with"] for region in ("wt", "tc", "et")]
        for how, record in repaired.items()
    }
    assert dice["intersected"] == pytest.approx([8 / 10, 4 / 6, 0.0])  # WT 2-5, TC 4-5, no ET
    assert dice["painted"] == pytest.approx([12 / 13, 8 / 9, 4 / 5])  # WT 1-7, TC 1 and 4-7
    assert dice["product"] == [0.0, 0.0, 0.0]  # as the file says
    for record in repaired.values():
        assert record.value("et_outside_tc").value == record.value("tc_outside_wt").value == 0
        assert record.seed == 1


def test_the_hand_made_masks_violate_what_they_should():
    assert violations(masks_of(OPEN["with"])) == (1, 2)


def test_the_rim_error_is_that_of_the_labels(folders):
    """Level 2 at voxel 3 lies between 1 and 3 and is 1 in truth; the row without ET has no rim."""
    records = scored(folders)
    assert items(records["multilevel", 0], "rim_error") == {"with": 1.0, "without": 0.0}
    assert records["multilevel", 0].value("rim_error").value == 0.5
    assert records["softmax", 0].value("rim_error").value == 0.0


def test_the_rim_error_of_a_set_is_of_all_its_voxels(tmp_path):
    """One false rim of one core voxel in a case, none of two in the other: 1 of 3, not 1 of 2."""
    predicted = NESTED | {"without": [0, 1, 1, 1, 1, 2, 2, 0]}
    folders = {"softmax": {0: write(tmp_path / "a", "softmax", 0, predicted)}}
    record = scored(folders)["softmax", 0]
    assert items(record, "rim_error") == {"with": 1.0, "without": 0.0}
    assert record.value("rim_error").value == pytest.approx(1 / 3)


def test_the_rule_for_empty_regions_is_that_of_the_settings(folders):
    open_ = scored(folders, empty_rule="nan")["sigmoid_regions", 1]
    assert items(open_, "dice_et") == pytest.approx({"with": 4 / 5})
    assert open_.budget == {"empty_rule": "nan"}


def test_one_threshold_on_one_image_is_a_row(folders):
    """Tumor is bright on flair and enhancing tumor on t1ce here, so a threshold has it all."""
    row_ = scored(folders)["threshold", None]
    assert items(row_, "dice_wt") == {"with": 1.0, "without": 1.0}
    assert items(row_, "dice_et_present") == {"with": 1.0}
    assert {value.metric.name for value in row_.values} == {"dice_wt", "dice_et_present"}


def test_a_region_that_no_training_case_has_gets_no_threshold(folders):
    records = score(CASES, scoring(), folders, TRUTH, [row("seen", [0, 0, 1, 1, 2, 2, 0, 0])])
    assert records[0].variant == "threshold"
    assert {value.metric.name for value in records[0].values} == {"dice_wt"}


def test_bounds_become_gates_of_the_models_they_are_for(folders):
    card = CASES.card
    bounds = [
        {"set": card, "variant": "multilevel", "metric": "dice_wt", "value": 0.9},
        {"set": card, "variant": "multilevel", "metric": "dice_tc", "value": 0.9},
        {"set": card, "variant": "sigmoid_regions", "metric": "tc_outside_wt", "value": 0,
         "at_least": False},
        {"set": "another", "variant": "softmax", "metric": "dice_wt", "value": 0.9},
    ]  # fmt: skip
    records = scored(folders, bounds=bounds)
    assert [gate.passed for gate in records["multilevel", 0].gates] == [True, False]
    assert [gate.passed for gate in records["sigmoid_regions", 1].gates] == [False]
    assert records["softmax", 0].gates == []
    assert records["sigmoid_regions_painted", 1].gates == []


def test_all_records_are_of_the_test_cases_and_say_what_they_are(folders, tmp_path):
    records = scored(folders)
    for record in records.values():
        assert record.dataset == {"card": CASES.card, "split": "test", "items": 2}
        assert record.note.startswith("semi-synthetic")
    write_scores(tmp_path / "all.json", records.values())  # no value is infinite


def test_a_missing_segmentation_is_named(folders):
    path = folders["multilevel"][0] / f"without{MASKS}"
    path.unlink()
    with pytest.raises(FileError, match="without_regions"):
        scored(folders)


def test_a_case_without_levels_is_named(folders):
    unknown = row("with", [0] * 8)
    object.__setattr__(unknown, "levels", None)
    with pytest.raises(ValueError, match="'with' has no levels to score against"):
        score(CASES, scoring(), folders, [unknown], TRAINING)


# --- comparison case by case ---------------------------------------------------------------------


def record(name, seed, wt, et=(), tc=None):
    """Return a record with Dice of cases a, b, ... by region."""

    def named(values):
        return dict(zip("abcdefghij", values, strict=False))

    values = [
        mean_value(DICE["WT"], named(wt)),
        mean_value(DICE["TC"], named(wt if tc is None else tc)),
        mean_value(DICE_ET_PRESENT, named(et or wt)),
        mean_value(DICE["ET"], named([0.0] * len(wt))),  # with empty cases: not what is compared
    ]
    return Score("multilevel_score", name, values, seed, {"card": "c"})


def gains(records, **changes):
    return {each.variant: each for each in compared(CASES, scoring(**changes), records)}


def test_gains_are_means_over_common_seeds_case_by_case():
    records = [
        record("softmax", 0, [0.5, 0.6], et=[0.2]),
        record("softmax", 1, [0.7, 0.8], et=[0.4]),
        record("multilevel", 0, [0.6, 0.6], et=[0.5]),
        record("multilevel", 1, [1.0, 0.8], et=[0.3]),
        record("multilevel", 2, [0.0, 0.0], et=[0.0]),  # softmax has no such seed
    ]
    found = gains(records)
    assert list(found) == ["multilevel_against_softmax"]
    compared_ = found["multilevel_against_softmax"]
    assert items(compared_, "dice_gain_wt") == pytest.approx({"a": 0.2, "b": 0.0})
    assert compared_.value("dice_gain_wt").value == pytest.approx(0.1)
    assert items(compared_, "dice_gain_et") == pytest.approx({"a": 0.1})
    assert compared_.budget == {"seeds": 2}
    assert compared_.seed is None


def test_models_without_a_common_seed_are_not_compared():
    assert gains([record("softmax", 0, [0.5]), record("other", 1, [0.5])]) == {}


def test_another_reference_can_be_named():
    records = [record("softmax", 0, [0.5]), record("other", 0, [0.75])]
    found = gains(records, reference="other")
    assert found.keys() == {"softmax_against_other"}
    assert found["softmax_against_other"].value("dice_gain_tc").value == -0.25


def test_a_case_counts_where_both_models_have_it_on_all_seeds():
    """Without a number (the rule `nan`) on one seed of either side, a case has no gain."""
    records = [
        record("softmax", 0, [0.5] * 3, tc=[0.5, 0.5, math.nan]),
        record("softmax", 1, [0.5] * 3, tc=[0.5, 0.5, 0.5]),
        record("multilevel", 0, [0.5] * 3, tc=[0.6, 0.6, 0.6]),
        record("multilevel", 1, [0.5] * 3, tc=[0.6, math.nan, 0.6]),
    ]
    found = gains(records)["multilevel_against_softmax"]
    assert items(found, "dice_gain_tc") == pytest.approx({"a": 0.1})
    assert found.value("dice_gain_wt").items.keys() == {"a", "b", "c"}


def test_intervals_over_cases_stand_beside_the_gain_from_eight_cases_on():
    better = [0.6, 0.7, 0.5, 0.9, 0.4, 0.6, 0.7, 0.8]
    found = gains([record("softmax", 0, [0.5] * 8), record("multilevel", 0, better)])
    low, mean, high = (
        found["multilevel_against_softmax"].value(f"dice_gain_wt{end}").value
        for end in ("_low", "", "_high")
    )
    assert -0.1 <= low < mean < high <= 0.4
    assert mean == pytest.approx(0.15)
    few = gains([record("softmax", 0, [0.5] * 7), record("multilevel", 0, better[:7])])
    names = {value.metric.name for value in few["multilevel_against_softmax"].values}
    assert names == {"dice_gain_wt", "dice_gain_tc", "dice_gain_et"}


def test_equal_gains_have_an_interval_without_width():
    records = [record("softmax", 0, [0.5] * 8), record("multilevel", 0, [0.75] * 8)]
    found = gains(records)["multilevel_against_softmax"]
    for end in ("_low", "", "_high"):
        assert found.value(f"dice_gain_wt{end}").value == 0.25
