"""Pairs of large and small photographs, made from an acquired set and stored as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vismodels.data.manifest import (
    WHOLE,
    PhotographsConfig,
    locate,
    read_acquired,
    refuse_changed,
)
from vismodels.data.pairs import Pair, PairSet, is_stored_lr, read_pairs, write_pairs
from vismodels.data.resize import bicubic_resize
from vismodels.metrics.dataset import ITEMS, LR_DIFFERENCE, MEGAPIXELS
from vismodels.results import Gate, Score, Value

JPEG = (".jpg", ".jpeg")


def prepare_photographs(
    config: PhotographsConfig,
    name: str,
    data_root: Path | str,
    acquired: Path,
    folder: Path,
) -> Score:
    """Write the pairs of every split of a set below `folder` and return the record of it.

    Where a set comes with small images of its own, these are used, and our resize is compared with
    them.

    Args:
        config: scale, and the sets whose JPEG files are halved.
        name: of the set.
        data_root: folder of the user's data sets.
        acquired: folder of the stage `data_acquire`.
        folder: where to write `<split>/<name>_SRF_<scale>_{HR,LR}.png`.

    Raises:
        FileError: if the data changed since it was acquired, or an image cannot be read.
    """
    found = locate(name, data_root)
    card, items = read_acquired(acquired)
    refuse_changed(found, items)
    halve = JPEG if name in config.shrink_jpeg else ()
    members: dict[str, Mapping[str, Path]] = {
        split: found.split(split) for split in card["splits"]
    } or {WHOLE: found.files}
    splits = {
        split: read_pairs(list(files.values()), config.scale, halve)
        for split, files in members.items()
    }
    for split, pairs in splits.items():
        write_pairs(pairs, folder / split)
    has_stored_pairs = any(is_stored_lr(item) for item in items)
    return _score(name, splits, has_stored_pairs)


def read_split(prepared: Sequence[Path], split: str, scale: int) -> PairSet:
    """Return the pairs of one split of one or more prepared sets.

    A set without splits of its own is taken whole.

    Raises:
        FileError: if a set has no such split.
        ValueError: if two sets have an image of the same name.
    """
    parts = [folder / (WHOLE if (folder / WHOLE).is_dir() else split) for folder in prepared]
    return PairSet(pair for part in parts for pair in read_pairs(part, scale))


def lr_difference(pair: Pair) -> float:
    """Return the largest difference, in levels, between a pair's LR image and our resize of its HR.

    The distributed pairs were made with the edge pixels repeated outside the image.
    """
    ours = bicubic_resize(pair.hr, scale=1 / pair.scale, border="replicate")
    return float(np.abs(ours.astype(int) - pair.lr).max())


def _score(name: str, splits: Mapping[str, PairSet], has_stored_pairs: bool) -> Score:
    pairs = [pair for pair_set in splits.values() for pair in pair_set]
    pixels = sum(pair.hr.shape[0] * pair.hr.shape[1] for pair in pairs)
    values = [Value(ITEMS, len(pairs)), Value(MEGAPIXELS, pixels / 1e6)]
    gates = []
    if has_stored_pairs:
        differences = {pair.name: lr_difference(pair) for pair in pairs}
        largest = max(differences.values())
        values.append(Value(LR_DIFFERENCE, largest, differences))
        gates.append(
            Gate("our small images equal the distributed ones, levels", largest, 0, at_least=False)
        )
    return Score(
        stage="data_photographs",
        variant=name,
        dataset={"card": name, "items": len(pairs)},
        values=values,
        gates=gates,
        budget={split: len(pair_set) for split, pair_set in splits.items()},
    )
