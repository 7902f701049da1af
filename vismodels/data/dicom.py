"""One DICOM series of axial CT slices as a volume; pydicom is the extra `dicom`. Torch-free.

Slices are ordered by their positions along the normal of the images. Neither the names of files
nor instance numbers decide: both may be in any order.
"""

from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.files import FileError

SAME_PLACE = 0.01  # mm
UNEVEN = 0.05  # of the distance between slices
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM counts to the left and to the back
_NEEDED = (
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
)


@dataclass(frozen=True, eq=False)
class _Slice:
    """An image of a series. position: (3,) mm; plane: (6,), directions of a row, of a column."""

    path: Path
    series: str
    position: NDArray[np.float64]
    plane: NDArray[np.float64]
    spacing: NDArray[np.float64]
    values: NDArray[np.float32]


def read_series(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the series in a folder as (slices, rows, columns), Hounsfield units, and its affine.

    Args:
        folder: holds the files of one series and nothing else; hidden files and a DICOMDIR do not
            count.

    Returns:
        The volume, and (4, 4) from the index along its axes to mm to the right, front and top. A
        tilted gantry makes it a sheared one.

    Raises:
        FileError: if a file is no CT slice, there are several series, or slices differ in plane or
            size, share a position, are missing or unevenly spaced.
        ImportError: if pydicom is not installed.
    """
    pydicom = _pydicom()
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name != "DICOMDIR"
    )
    slices = [_read_slice(pydicom, path) for path in paths]
    if len(slices) < 2:
        raise FileError(f"{folder}: expected a series of slices, got {len(slices)} files")
    _refuse_different(slices, folder)
    slices = _along_normal(slices, folder)
    affine = np.eye(4)
    affine[:3, 0] = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    affine[:3, 1] = slices[0].plane[3:] * slices[0].spacing[0]
    affine[:3, 2] = slices[0].plane[:3] * slices[0].spacing[1]
    affine[:3, 3] = slices[0].position
    return np.stack([image.values for image in slices]), _TO_RAS @ affine


def _pydicom() -> Any:
    try:
        return import_module("pydicom")
    except ImportError as error:
        raise ImportError("DICOM needs pydicom: pip install 'vismodels[dicom]'") from error


def _read_slice(pydicom: Any, path: Path) -> _Slice:
    try:
        data = pydicom.dcmread(path)
    except (OSError, EOFError, pydicom.errors.InvalidDicomError) as error:
        raise FileError(f"{path}: cannot be read as DICOM ({error}); remove it") from error
    missing = [name for name in _NEEDED if data.get(name) is None]
    if data.get("Modality") != "CT" or missing or int(data.get("NumberOfFrames") or 1) > 1:
        raise FileError(
            f"{path}: expected a CT slice in a file of its own; this one is "
            f"{data.get('Modality')} of {data.get('NumberOfFrames') or 1} frames"
            + (f" and lacks {', '.join(missing)}" if missing else "")
        )
    scale, grey = data.get("RescaleType", "HU"), data.get("PhotometricInterpretation")
    if scale != "HU" or grey != "MONOCHROME2":
        raise FileError(f"{path}: expected HU and MONOCHROME2, got {scale} and {grey}")
    try:
        levels = data.pixel_array.astype(np.float32)
    except (AttributeError, RuntimeError, ValueError, NotImplementedError) as error:
        raise FileError(f"{path}: the pixels cannot be decoded ({error})") from error
    return _Slice(
        path,
        str(data.SeriesInstanceUID),
        np.array(data.ImagePositionPatient, np.float64),
        np.array(data.ImageOrientationPatient, np.float64),
        np.array(data.PixelSpacing, np.float64),
        levels * np.float32(data.RescaleSlope) + np.float32(data.RescaleIntercept),
    )


def _refuse_different(slices: list[_Slice], folder: Path) -> None:
    series = Counter(image.series for image in slices)
    if len(series) > 1:
        listed = "; ".join(f"{uid} with {count} files" for uid, count in sorted(series.items()))
        raise FileError(
            f"{folder}: {len(series)} series ({listed}); put each into a folder of its own"
        )
    first = slices[0]
    for image in slices[1:]:
        if (
            image.values.shape != first.values.shape
            or not np.allclose(image.plane, first.plane, atol=1e-3)
            or not np.allclose(image.spacing, first.spacing, rtol=1e-3)
        ):
            raise FileError(
                f"{folder}: {image.path.name} and {first.path.name} differ in size, plane or pixel "
                "spacing; remove what does not belong to the volume, e.g. the localizer"
            )


def _along_normal(slices: list[_Slice], folder: Path) -> list[_Slice]:
    normal = np.cross(slices[0].plane[:3], slices[0].plane[3:])
    slices = sorted(slices, key=lambda image: float(normal @ image.position))
    positions = np.stack([image.position for image in slices])
    gaps = np.diff(positions @ normal)
    if gaps.min() < SAME_PLACE:
        one = int(gaps.argmin())
        raise FileError(
            f"{folder}: {slices[one].path.name} and {slices[one + 1].path.name} show the same "
            f"place ({positions[one] @ normal:.2f} mm); remove one of them"
        )
    usual = float(np.median(gaps))
    worst = int(np.abs(gaps - usual).argmax())
    if abs(gaps[worst] - usual) > UNEVEN * usual:
        raise FileError(
            f"{folder}: slices are missing or unevenly spaced: {usual:.2f} mm is usual, "
            f"{gaps[worst]:.2f} mm lie between {slices[worst].path.name} and "
            f"{slices[worst + 1].path.name}"
        )
    line = np.linspace(positions[0], positions[-1], len(slices))
    if np.linalg.norm(positions - line, axis=1).max() > usual / 2:
        raise FileError(f"{folder}: the slices do not lie on one line; is it one acquisition?")
    return slices
