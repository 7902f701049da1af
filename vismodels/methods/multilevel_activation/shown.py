"""Slices of test cases for the report: images, truth, predictions, violations. Torch-free."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.data.array_files import write_arrays
from vismodels.data.brain_cases import MODALITIES, BrainCase
from vismodels.files import FileError
from vismodels.methods.multilevel_activation.config import ScoringSettings
from vismodels.methods.multilevel_activation.files import (
    LABELS,
    MASKS,
    read_regions,
    read_segmentation,
)

SHOWN = "shown.npz"
Arrays = dict[str, NDArray[Any]]


def store_shown(
    settings: ScoringSettings,
    folders: Mapping[str, Mapping[int, Path]],
    cases: Sequence[BrainCase],
    path: Path,
) -> None:
    """Write the slices that the pictures show: images, truth, predictions, violations.

    Args:
        settings: which models and cases.
        folders: model -> seed -> folder of its segmentations; the first seed is shown.
        cases: test cases.
        path: an NPZ file.
    """
    by_name = {case.name: case for case in cases}
    arrays: Arrays = {}
    for name in settings.cases:
        if name not in by_name:
            raise FileError(
                f"no test case {name!r}; scoring.cases names it, there are {len(cases)}"
            )
        case = by_name[name]
        assert case.levels is not None  # scored before
        depth = _fullest(case.levels)
        arrays[f"{name}/t1ce"] = _picture(case, "t1ce", depth)
        arrays[f"{name}/flair"] = _picture(case, "flair", depth)
        arrays[f"{name}/truth"] = case.levels[:, :, depth]
        for model in settings.shown:
            folder = folders[model][min(folders[model])]
            levels = read_segmentation(folder / f"{name}{LABELS}").levels
            arrays[f"{name}/{model}"] = levels[:, :, depth]
    arrays |= _worst_violation(folders, cases)
    write_arrays(path, arrays)


def _fullest(levels: NDArray[np.uint8]) -> int:
    """Return the axial slice with most core; where there is none, with most tumor."""
    core = (levels >= 2).sum(axis=(0, 1))
    return int((core if core.any() else (levels >= 1).sum(axis=(0, 1))).argmax())


def _picture(case: BrainCase, modality: str, depth: int) -> NDArray[np.float16]:
    return case.images[MODALITIES.index(modality), :, :, depth].astype(np.float16)


def _worst_violation(
    folders: Mapping[str, Mapping[int, Path]], cases: Sequence[BrainCase]
) -> Arrays:
    """Return the slice of the first seeds in which most voxels violate the nesting, if any does."""
    worst: tuple[int, str, BrainCase, int, NDArray[np.bool_]] | None = None
    for model, seeds in folders.items():
        for case in cases:
            masks = read_regions(seeds[min(seeds)] / f"{case.name}{MASKS}")
            wrong = masks[1:] & ~masks[:-1]  # TC outside WT, ET outside TC
            counts = wrong.sum(axis=(0, 1, 2))
            if counts.any() and (worst is None or counts.max() > worst[0]):
                depth = int(counts.argmax())
                worst = (int(counts.max()), model, case, depth, wrong[..., depth])
    if worst is None:
        return {}
    _, model, case, depth, wrong = worst
    key = f"violation/{model}/{case.name}"
    return {f"{key}/image": _picture(case, "t1ce", depth), f"{key}/wrong": wrong}
