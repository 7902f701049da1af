"""CT scans with what is known of them, and the files they are kept in between stages. Torch-free.

Axes are (depth, height, width) everywhere: slices from the feet up, rows from front to back,
columns from the patient's right to the left, as an axial slice is looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vismodels.config import ConfigError
from vismodels.data.array_files import read_entries
from vismodels.files import atomic_path, write_json

RECORDS = "scans.json"
PHANTOM_NOTE = "phantom: generated scans"  # of every record on generated ones
Voxels = NDArray[np.int16]
Mask = NDArray[np.bool_]
Split = TypeVar("Split", bound=str)


@dataclass(frozen=True)
class Scan:
    """One CT scan of one patient.

    Args:
        name: of the scan, unique within its set.
        patient: whose scan it is; several scans may be of one patient.
        label: name of the class.
        voxels: (D, H, W) int16, Hounsfield units.
        spacing: millimetres from voxel to voxel along each axis.
        slices: their number before any resampling: a shortcut that a report has to rule out.
        lung: (D, H, W) bool, None where it is not known.
        lesion: like `lung`.
    """

    name: str
    patient: str
    label: str
    voxels: Voxels
    spacing: tuple[float, float, float]
    slices: int
    lung: Mask | None = None
    lesion: Mask | None = None

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.dtype != np.int16:
            raise ValueError(
                f"scan {self.name!r}: expected (D, H, W) int16 Hounsfield units, got "
                f"{self.voxels.shape} {self.voxels.dtype}"
            )
        for what, mask in (("lung", self.lung), ("lesion", self.lesion)):
            if mask is not None and (mask.shape != self.voxels.shape or mask.dtype != np.bool_):
                raise ValueError(
                    f"scan {self.name!r}: the {what} mask is {mask.shape} {mask.dtype}, expected "
                    f"bool of the voxels' shape {self.voxels.shape}"
                )


def refuse_shared_patients(splits: Mapping[Split, Sequence[Scan]]) -> None:
    """Check that no patient has scans in two splits, and that no name occurs twice.

    Args:
        splits: name of the split -> its scans.

    Raises:
        ConfigError: with the patients who do: what is learned of them would be tested on them.
    """
    home: dict[str, str] = {}
    names: set[str] = set()
    shared: dict[str, set[str]] = {}
    for split, scans in splits.items():
        for scan in scans:
            if home.setdefault(scan.patient, split) != split:
                shared.setdefault(scan.patient, {home[scan.patient]}).add(split)
            if scan.name in names:
                raise ConfigError(f"two scans are called {scan.name!r}; give each its own name")
            names.add(scan.name)
    if shared:
        listed = "; ".join(
            f"{patient} in {' and '.join(sorted(where))}"
            for patient, where in sorted(shared.items())[:5]
        )
        raise ConfigError(
            f"{len(shared)} patients have scans in more than one split ({listed}); "
            "divide by patient, not by scan"
        )


def write_scans(scans: Iterable[Scan], folder: Path) -> None:
    """Write every scan as `<name>.npz`, and what is known of them as `scans.json`."""
    records = []
    for scan in scans:
        arrays: dict[str, NDArray[Any]] = {"voxels": scan.voxels}
        for what, mask in (("lung", scan.lung), ("lesion", scan.lesion)):
            if mask is not None:
                arrays[what] = np.packbits(mask)
        with atomic_path(folder / f"{scan.name}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        records.append(
            {
                "name": scan.name,
                "patient": scan.patient,
                "label": scan.label,
                "spacing": list(scan.spacing),
                "slices": scan.slices,
            }
        )
    write_json(folder / RECORDS, records)


def read_scans(folder: Path) -> list[Scan]:
    """Return the scans that `write_scans` wrote to a folder, in their order.

    Raises:
        FileError: if a file is missing or damaged.
    """
    return read_entries(folder, RECORDS, "scans", _scan)


def _scan(record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Scan:
    voxels = arrays["voxels"]

    def mask(what: str) -> Mask | None:
        if what not in arrays:
            return None
        bits = np.unpackbits(arrays[what], count=voxels.size)
        return bits.reshape(voxels.shape).astype(bool)

    return Scan(
        name=record["name"],
        patient=record["patient"],
        label=record["label"],
        voxels=voxels,
        spacing=tuple(record["spacing"]),
        slices=record["slices"],
        lung=mask("lung"),
        lesion=mask("lesion"),
    )
