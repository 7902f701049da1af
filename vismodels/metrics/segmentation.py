"""What is scored of nested tumor regions: overlap, distance, nesting, and what the data holds.

Measures per region as on the BraTS 2018 server, which the paper (Hu et al. 2018, arXiv 1810.09488)
reports; `regions.py` computes them. Levels are nested: 0 healthy or background, 1 edema, 2 tumor
core without enhancement, 3 enhancing tumor; region n is every voxel of level n or higher.
"""

from typing import Literal

from vismodels.results import Metric

REGIONS = ("WT", "TC", "ET")  # whole tumor, tumor core, enhancing tumor; each inside the one before

EmptyRule = Literal["brats2018", "nan", "panoptica"]
"""What Dice and HD95 are where a region is empty in the prediction, in the truth or in both."""

_RULE = "empty regions by the rule that the record names; mean over cases"
_DICE = f"2 |P and T| / (|P| + |T|) in voxels; {_RULE}, without those that it gives NaN"
_HD95 = (
    "the larger of both directed 95th percentiles of distances between surfaces, in mm; surfaces "
    "are voxels with a face to the outside, percentiles interpolate linearly; "
    f"{_RULE}, without those that it gives NaN; none if it gives an infinite one"
)


def _by_region(
    name: str, title: str, protocol: str, higher: bool | None, unit: str = "", digits: int = 3
) -> dict[str, Metric]:
    """Return one metric for each region, by the region's name."""
    return {
        region: Metric(
            f"{name}_{region.lower()}", f"{title} {region}", unit, higher, protocol, digits
        )
        for region in REGIONS
    }


DICE = _by_region("dice", "Dice", _DICE, higher=True)
HD95 = _by_region("hd95", "HD95", _HD95, higher=False, unit="mm", digits=2)
REGION_SENSITIVITY = _by_region(
    "sensitivity",
    "Sensitivity",
    "share of the region's voxels that are predicted; mean over cases that have the region",
    higher=True,
)
REGION_SPECIFICITY = _by_region(
    "specificity",
    "Specificity",
    "share of the voxels outside the region, of the whole grid, that are not predicted; mean over "
    "cases",
    higher=True,
    digits=4,
)
EMPTY_REGION = _by_region(
    "empty",
    "Empty",
    "cases whose Dice and HD95 come from the rule for empty regions, as the predicted or the true "
    "region is empty; the aggregate is their number",
    higher=None,
    digits=0,
)

DICE_WT, DICE_TC, DICE_ET = DICE.values()
HD95_WT, HD95_TC, HD95_ET = HD95.values()
SENSITIVITY_WT, SENSITIVITY_TC, SENSITIVITY_ET = REGION_SENSITIVITY.values()
SPECIFICITY_WT, SPECIFICITY_TC, SPECIFICITY_ET = REGION_SPECIFICITY.values()
EMPTY_WT, EMPTY_TC, EMPTY_ET = EMPTY_REGION.values()

DICE_ET_PRESENT = Metric(
    "dice_et_present",
    "Dice ET, cases with ET",
    higher_is_better=True,
    protocol=f"only cases whose truth has enhancing tumor; {_DICE}",
)
HD95_ET_PRESENT = Metric(
    "hd95_et_present",
    "HD95 ET, cases with ET",
    unit="mm",
    higher_is_better=False,
    protocol=f"only cases whose truth has enhancing tumor; {_HD95}",
    digits=2,
)
EMPTY_KEPT = Metric(
    "empty_kept",
    "ET-free cases kept free",
    unit="%",
    higher_is_better=True,
    protocol="share of the cases without enhancing tumor in which not one voxel of it is predicted",
    digits=1,
)

PATCH_DICE = Metric(
    "patch_dice",
    "Dice of patches",
    higher_is_better=True,
    protocol="Dice over all voxels of fixed validation patches together, mean of WT, TC and ET",
)
DICE_GAIN = {
    region: Metric(
        f"dice_gain_{region.lower()}",
        f"Dice {region} gain",
        higher_is_better=True,
        protocol="Dice minus that of the reference model, case by case, both averaged over "
        "their common seeds; ET over cases that have it; mean over cases",
    )
    for region in REGIONS
}
DICE_GAIN_LOW = {
    region: Metric(
        f"dice_gain_{region.lower()}_low",
        f"Dice {region} gain, low",
        protocol="lower end of the 95 % bootstrap interval over cases of the gain in Dice",
    )
    for region in REGIONS
}
DICE_GAIN_HIGH = {
    region: Metric(
        f"dice_gain_{region.lower()}_high",
        f"Dice {region} gain, high",
        protocol="upper end of the 95 % bootstrap interval over cases of the gain in Dice",
    )
    for region in REGIONS
}
DICE_GAIN_WT, DICE_GAIN_TC, DICE_GAIN_ET = DICE_GAIN.values()
DICE_GAIN_WT_LOW, DICE_GAIN_TC_LOW, DICE_GAIN_ET_LOW = DICE_GAIN_LOW.values()
DICE_GAIN_WT_HIGH, DICE_GAIN_TC_HIGH, DICE_GAIN_ET_HIGH = DICE_GAIN_HIGH.values()
_NESTING = "of the masks as they are handed out; the aggregate is the sum over cases"

ET_OUTSIDE_TC = Metric(
    "et_outside_tc",
    "ET outside TC",
    unit="voxels",
    higher_is_better=False,
    protocol=f"voxels predicted as enhancing tumor but not as tumor core, {_NESTING}",
    digits=0,
)
TC_OUTSIDE_WT = Metric(
    "tc_outside_wt",
    "TC outside WT",
    unit="voxels",
    higher_is_better=False,
    protocol=f"voxels predicted as tumor core but not as whole tumor, {_NESTING}",
    digits=0,
)
RIM_ERROR = Metric(
    "rim_error",
    "Rim error",
    higher_is_better=False,
    protocol="share of the voxels predicted as level 2 that touch, among their 26 neighbors, "
    "a predicted level 1 and a predicted level 3 while the truth is not level 2; voxels of all "
    "cases together",
)

CASES = Metric("cases", "Cases", protocol="cases of the set that are handed out", digits=0)
CASES_WITHOUT_ET = Metric(
    "cases_without_et",
    "Cases without ET",
    protocol="cases of the set whose truth has no enhancing tumor",
    digits=0,
)
LEVEL_VOXELS = {
    level: Metric(
        f"voxels_level_{level}",
        f"Voxels, {name}",
        unit="voxels",
        protocol=f"voxels of level {level} in the truth; mean over cases, empty ones included",
        digits=0,
    )
    for level, name in {1: "edema", 2: "core", 3: "enhancing"}.items()
}
LEVEL_WEIGHTS = {
    level: Metric(
        f"level_weight_{level}",
        f"Weight of level {level}",
        protocol=f"weight of voxels of true level {level} in the loss; all weights have mean 1",
    )
    for level in range(len(REGIONS) + 1)
}

VOXELS_LEVEL_1, VOXELS_LEVEL_2, VOXELS_LEVEL_3 = LEVEL_VOXELS.values()
LEVEL_WEIGHT_0, LEVEL_WEIGHT_1, LEVEL_WEIGHT_2, LEVEL_WEIGHT_3 = LEVEL_WEIGHTS.values()
