from typing import get_args

import pytest

from vismodels.data import brain_cases
from vismodels.metrics import segmentation
from vismodels.metrics.segmentation import (
    DICE,
    EMPTY_REGION,
    HD95,
    LEVEL_VOXELS,
    LEVEL_WEIGHTS,
    REGION_SENSITIVITY,
    REGION_SPECIFICITY,
    REGIONS,
    EmptyRule,
)


def test_regions_and_levels_are_those_of_the_cases():
    assert REGIONS == brain_cases.REGIONS
    assert list(LEVEL_WEIGHTS) == list(range(brain_cases.LEVELS))
    assert list(LEVEL_VOXELS) == list(range(1, brain_cases.LEVELS))


@pytest.mark.parametrize(
    ("metrics", "constant", "higher"),
    [
        (DICE, "DICE", True),
        (HD95, "HD95", False),
        (REGION_SENSITIVITY, "SENSITIVITY", True),
        (REGION_SPECIFICITY, "SPECIFICITY", True),
        (EMPTY_REGION, "EMPTY", None),
    ],
)
def test_every_measure_has_one_metric_for_each_region(metrics, constant, higher):
    assert tuple(metrics) == REGIONS
    for region, metric in metrics.items():
        assert getattr(segmentation, f"{constant}_{region}") is metric
        assert metric.name == f"{constant}_{region}".lower()
        assert metric.title.endswith(f" {region}")
        assert metric.higher_is_better is higher


def test_metrics_of_levels_are_named_by_their_level():
    for level, metric in LEVEL_VOXELS.items():
        assert getattr(segmentation, f"VOXELS_LEVEL_{level}") is metric
        assert metric.name == f"voxels_level_{level}"
    for level, metric in LEVEL_WEIGHTS.items():
        assert getattr(segmentation, f"LEVEL_WEIGHT_{level}") is metric
        assert metric.name == f"level_weight_{level}"


def test_the_rules_for_empty_regions_are_three():
    assert get_args(EmptyRule) == ("brats2018", "nan", "panoptica")
