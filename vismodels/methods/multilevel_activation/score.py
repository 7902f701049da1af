"""Score the written segmentations of all models against the truth, and compare them case by case.

Hu et al. (2018), arXiv 1810.09488: Dice and distances by region; violations of the nesting and the
rim error are ours. Everything is read back from the files that a user would get.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vismodels.data.brain_cases import LEVELS, BrainCase
from vismodels.methods.multilevel_activation.config import CasesConfig, ScoringSettings
from vismodels.methods.multilevel_activation.files import (
    LABELS,
    MASKS,
    PRODUCT,
    read_regions,
    read_segmentation,
)
from vismodels.methods.multilevel_activation.nesting import (
    RimError,
    intersect,
    paint,
    region_masks,
    rim_error,
    violations,
)
from vismodels.methods.multilevel_activation.thresholds import threshold_dice
from vismodels.metrics.bounds import with_bounds
from vismodels.metrics.regions import region_scores, region_values
from vismodels.metrics.segmentation import (
    DICE,
    DICE_ET_PRESENT,
    DICE_GAIN,
    DICE_GAIN_HIGH,
    DICE_GAIN_LOW,
    ET_OUTSIDE_TC,
    REGIONS,
    RIM_ERROR,
    TC_OUTSIDE_WT,
)
from vismodels.results import SCORES, Score, Value, mean_value, read_scores
from vismodels.statistics import bootstrap_interval

STAGE = "multilevel_score"
THRESHOLDED = {"WT": "flair", "ET": "t1ce"}  # region -> the image on which it is bright
Folders = Mapping[str, Mapping[int, Path]]


def segmented_folders(folders: Sequence[Path]) -> dict[str, dict[int, Path]]:
    """Return model -> seed -> folder of what the stage `segment` wrote."""
    found: dict[str, dict[int, Path]] = {}
    for folder in folders:
        (record,) = read_scores(folder / SCORES)
        found.setdefault(record.variant, {})[record.seed or 0] = folder
    return found


def score(
    config: CasesConfig,
    settings: ScoringSettings,
    folders: Folders,
    cases: Sequence[BrainCase],
    training: Sequence[BrainCase],
) -> list[Score]:
    """Return the records of all models, of repaired masks, of thresholds, and of the comparison.

    Args:
        config: which cases they are.
        settings: rule for empty regions, reference of the comparison, bounds.
        folders: model -> seed -> folder of its segmentations.
        cases: test cases with their truth.
        training: cases on which the thresholds are chosen.

    Raises:
        FileError: if a segmentation is missing or damaged.
    """
    scores = [_thresholds(config, cases, training)]
    for name, seeds in folders.items():
        for seed, folder in seeds.items():
            masks = {case.name: read_regions(folder / f"{case.name}{MASKS}") for case in cases}
            record = _record(config, settings, name, seed, cases, masks)
            scores.append(_with_rims(record, folder, cases))
            if not (folder / f"{cases[0].name}{PRODUCT}").is_file():
                continue  # nested as it is: nothing to repair
            repaired = {
                "intersected": {case: _of(intersect, mask) for case, mask in masks.items()},
                "painted": {case: _of(paint, mask) for case, mask in masks.items()},
                "product": {
                    case.name: read_regions(folder / f"{case.name}{PRODUCT}") for case in cases
                },
            }
            scores += [
                _record(config, settings, f"{name}_{how}", seed, cases, mended)
                for how, mended in repaired.items()
            ]
    models = [record for record in scores if record.variant in folders]
    return [*with_bounds(settings.bounds, scores), *compared(config, settings, models)]


def compared(
    config: CasesConfig, settings: ScoringSettings, models: Sequence[Score]
) -> list[Score]:
    """Return, for every model but the reference, by how much its Dice is above that, per region.

    Differences are taken case by case, each side averaged over the seeds that both have; the
    bootstrap resamples cases. It stands beside the interval over seeds, which decides.

    Args:
        config: which cases they are.
        settings: name of the reference, draws.
        models: records of `score`, one for each model and seed.
    """
    by_model: dict[str, dict[int, Score]] = {}
    for record in models:
        by_model.setdefault(record.variant, {})[record.seed or 0] = record
    reference = by_model[settings.reference]
    records = []
    for name, seeds in by_model.items():
        common = sorted(set(seeds) & set(reference))
        if name == settings.reference or not common:
            continue
        values = []
        for region in REGIONS:
            metric = DICE_ET_PRESENT.name if region == "ET" else DICE[region].name
            ours, theirs = (
                _case_means([of[seed] for seed in common], metric) for of in (seeds, reference)
            )
            gains = {case: ours[case] - theirs[case] for case in ours if case in theirs}
            values.append(mean_value(DICE_GAIN[region], gains))
            interval = bootstrap_interval(list(gains.values()), 0, settings.bootstrap)
            if interval is not None:
                values += [
                    Value(DICE_GAIN_LOW[region], interval.low),
                    Value(DICE_GAIN_HIGH[region], interval.high),
                ]
        records.append(
            Score(
                stage=STAGE,
                variant=f"{name}_against_{settings.reference}",
                dataset=models[0].dataset,
                values=values,
                budget={"seeds": len(common)},
                note=config.note,
            )
        )
    return records


def _record(
    config: CasesConfig,
    settings: ScoringSettings,
    name: str,
    seed: int,
    cases: Sequence[BrainCase],
    masks: Mapping[str, NDArray[np.bool_]],
) -> Score:
    scored = {
        case.name: region_scores(
            masks[case.name],
            _truth(case),
            case.spacing,
            settings.empty_rule,
            cut_off=case.outside,
        )
        for case in cases
    }
    counted = {case.name: violations(masks[case.name]) for case in cases}
    enhancing = {case: float(each.et_outside_tc) for case, each in counted.items()}
    core = {case: float(each.tc_outside_wt) for case, each in counted.items()}
    return Score(
        stage=STAGE,
        variant=name,
        seed=seed,
        dataset={"card": config.card, "split": "test", "items": len(cases)},
        values=[
            *region_values(scored),
            Value(ET_OUTSIDE_TC, math.fsum(enhancing.values()), enhancing),
            Value(TC_OUTSIDE_WT, math.fsum(core.values()), core),
        ],
        budget={"empty_rule": settings.empty_rule},
        note=config.note,
    )


def _with_rims(record: Score, folder: Path, cases: Sequence[BrainCase]) -> Score:
    """Return the record with the rim error of the labels: of all voxels, and of each case."""
    rims = {
        case.name: rim_error(
            read_segmentation(folder / f"{case.name}{LABELS}").levels, _levels(case)
        )
        for case in cases
    }
    pooled = RimError(*map(sum, zip(*rims.values(), strict=True)))
    if not pooled.predicted:  # no case has a core that was predicted
        return record
    shares = {case: rim.share for case, rim in rims.items() if rim.predicted}
    return replace(record, values=[*record.values, Value(RIM_ERROR, pooled.share, shares)])


def _thresholds(
    config: CasesConfig, cases: Sequence[BrainCase], training: Sequence[BrainCase]
) -> Score:
    """Return what one threshold on one image reaches, of the regions that are bright on one."""
    values = []
    for region, modality in THRESHOLDED.items():
        if not any((_levels(case) >= 1 + REGIONS.index(region)).any() for case in training):
            continue
        dice = threshold_dice(training, cases, modality, region)
        metric = DICE_ET_PRESENT if region == "ET" else DICE[region]
        values.append(mean_value(metric, dict(dice)))
    return Score(
        stage=STAGE,
        variant="threshold",
        dataset={"card": config.card, "split": "test", "items": len(cases)},
        values=values,
        note=config.note,
    )


def _case_means(records: Sequence[Score], metric: str) -> dict[str, float]:
    items = [record.value(metric).items or {} for record in records]
    everywhere = [case for case in items[0] if all(case in each for each in items)]
    return {case: fmean(each[case] for each in items) for case in everywhere}


def _levels(case: BrainCase) -> NDArray[np.uint8]:
    if case.levels is None:
        raise ValueError(
            f"case {case.name!r} has no levels to score against; leave it out of the test, or read "
            "it with its labels"
        )
    return case.levels


def _truth(case: BrainCase) -> NDArray[np.bool_]:
    levels = torch.from_numpy(_levels(case))[None]
    return np.asarray(region_masks(levels, LEVELS)[0].numpy(), np.bool_)


def _of(repair: Callable[[Tensor], Tensor], masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(repair(torch.from_numpy(masks)).numpy(), np.bool_)
