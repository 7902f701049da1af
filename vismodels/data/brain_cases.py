"""Brain tumor cases, and the files they are kept in between stages. Torch-free.

Axes are (depth, height, width) everywhere. Levels are nested: 0 healthy or background, 1 edema, 2
tumor core without enhancement, 3 enhancing tumor; a region is every voxel from its level up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.data.array_files import read_entries
from vismodels.files import atomic_path, write_json
from vismodels.metrics.segmentation import REGIONS

RECORDS = "cases.json"
MODALITIES = ("t1", "t1ce", "t2", "flair")  # the order of the channels
LEVELS = len(REGIONS) + 1  # regions are those of levels from 1, 2, 3 up
SEMI_SYNTHETIC_NOTE = "semi-synthetic: real anatomy of a template, generated tumors"
LARGEST = 32.0  # of an image in standard deviations


@dataclass(frozen=True)
class BrainCase:
    """One examination of one patient.

    Args:
        name: of the case, unique within its set.
        images: (4, D, H, W) float32 in the order of `MODALITIES`, 0 outside of the brain.
        levels: (D, H, W) uint8 in 0..3, None where they are not known.
        affine: (4, 4) float64 from voxel indices to millimeters, as NIfTI files have it.
        scheme: name of the label scheme in which the case's labels are written to files; empty
            where it is not known.
        outside: voxels of the whole grid that were cut off around these; background, all of them.
    """

    name: str
    images: NDArray[np.float32]
    levels: NDArray[np.uint8] | None
    affine: NDArray[np.float64]
    scheme: str = ""
    outside: int = 0

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or len(self.images) != len(MODALITIES):
            raise ValueError(
                f"case {self.name!r}: expected images (4, D, H, W) in the order {MODALITIES}, got "
                f"{self.images.shape}"
            )
        if self.images.dtype != np.float32:
            raise ValueError(f"case {self.name!r}: images are {self.images.dtype}, not float32")
        if self.affine.shape != (4, 4):
            raise ValueError(
                f"case {self.name!r}: expected a (4, 4) affine, got {self.affine.shape}"
            )
        levels = self.levels
        if levels is not None:
            if levels.shape != self.images.shape[1:] or levels.dtype != np.uint8:
                raise ValueError(
                    f"case {self.name!r}: levels are {levels.shape} {levels.dtype}, expected uint8 "
                    f"of the images' shape {self.images.shape[1:]}"
                )
            if levels.size and levels.max() >= LEVELS:
                raise ValueError(
                    f"case {self.name!r}: levels reach {levels.max()}, expected 0 to {LEVELS - 1}; "
                    "convert labels with a named scheme first"
                )

    @property
    def brain(self) -> NDArray[np.bool_]:
        """Where any modality is not 0, (D, H, W)."""
        mask: NDArray[np.bool_] = (self.images != 0).any(axis=0)
        return mask

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimeters from voxel to voxel along each axis."""
        depth, height, width = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return depth, height, width


def write_cases(cases: Iterable[BrainCase], folder: Path) -> None:
    """Write every case as `<name>.npz`, and what is known of them as `cases.json`.

    Images are kept in half precision, which is a thousandth of a standard deviation.

    Args:
        cases: standardized.
        folder: written into.

    Raises:
        ValueError: for images that are not: half precision would spoil them.
    """
    records = []
    for case in cases:
        largest = float(np.abs(case.images).max(initial=0))
        if largest > LARGEST:
            raise ValueError(
                f"case {case.name!r}: images reach {largest:.0f}; standardize them first"
            )
        arrays: dict[str, NDArray[Any]] = {"images": case.images.astype(np.float16)}
        if case.levels is not None:
            arrays["levels"] = case.levels
        with atomic_path(folder / f"{case.name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        known = {"name": case.name, "scheme": case.scheme, "outside": case.outside}
        records.append({**known, "affine": case.affine.tolist()})
    write_json(folder / RECORDS, records)


def read_cases(folder: Path) -> list[BrainCase]:
    """Return the cases that `write_cases` wrote to a folder, in their order.

    Raises:
        FileError: if a file is missing or damaged.
    """
    return read_entries(folder, RECORDS, "cases", _case)


def _case(record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> BrainCase:
    return BrainCase(
        name=record["name"],
        images=arrays["images"].astype(np.float32),
        levels=arrays.get("levels"),
        affine=np.array(record["affine"], dtype=np.float64),
        scheme=record["scheme"],
        outside=record["outside"],
    )
