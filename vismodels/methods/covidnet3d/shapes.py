"""Prepare a set of MedMNIST3D: what networks see, and hand-made features of binary shapes."""

from pathlib import Path

import numpy as np

from vismodels.data.manifest import locate, read_acquired, refuse_changed
from vismodels.data.medmnist import read_medmnist3d
from vismodels.data.volume_files import write_volumes
from vismodels.files import FileError, write_json
from vismodels.methods.covidnet3d.config import GreyInput, MaskInput, ShapesConfig
from vismodels.methods.covidnet3d.data import volumes_of_medmnist
from vismodels.methods.covidnet3d.shortcuts import shape_table
from vismodels.metrics.dataset import ITEMS
from vismodels.results import Score, Value

FEATURES = "features.json"


def prepare_shapes(
    config: ShapesConfig, data_root: Path | str, acquired: Path, folder: Path
) -> list[Score]:
    """Write the volumes, and features of masks, of every split below `folder`; return the records.

    Args:
        config: the set, the form of its input, its classes.
        data_root: folder of the user's data sets.
        acquired: folder of the stage `data_acquire`.
        folder: where to write `<split>/`.

    Raises:
        FileError: if the data changed since it was acquired, or has no file of the size.
        ConfigError: if the volumes are to be masks and are grey.
    """
    data = config.data
    assert isinstance(data.input, MaskInput | GreyInput)
    found = locate(data.card, data_root)
    _, items = read_acquired(acquired)
    refuse_changed(found, items)
    wanted = f"{data.card}.npz" if data.input.size == 28 else f"{data.card}_{data.input.size}.npz"
    if wanted not in found.files:
        raise FileError(
            f"{data.card}: no file {wanted} among {', '.join(sorted(found.files))}; fetch it, or "
            "choose the other size"
        )
    scores = []
    for split, volumes in read_medmnist3d(found.files[wanted]).items():
        prepared = volumes_of_medmnist(data, split, volumes)
        write_volumes(prepared, folder / split)
        if isinstance(data.input, MaskInput):
            names, rows = shape_table(volumes)
            table = {"names": names, "rows": np.round(rows, 6).tolist()}
            write_json(folder / split / FEATURES, table)
        scores.append(
            Score(
                stage="covidnet3d_shapes",
                variant=split,
                dataset={"card": data.card, "split": split, "items": len(prepared)},
                values=[Value(ITEMS, len(prepared))],
            )
        )
    return scores
