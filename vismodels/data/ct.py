"""CT volumes read into one orientation, and maps of them written back in that of their file.

Torch-free. Every reader brings an affine that says where the body is, and one function turns the
axes by it: no format has an axis order that is taken for granted.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vismodels.data.dicom import read_series
from vismodels.data.nifti import (
    NIFTI_SUFFIXES,
    load_nifti,
    reading_nifti,
    refuse_other_suffix,
    store_nifti,
)
from vismodels.data.slice_images import SUFFIXES, SliceGeometry, read_slice_images
from vismodels.files import FileError

AXES = "SPL"  # of `Scan`: slices go to the head (S), rows to the back (P), columns to the left (L)
LARGEST_TILT = 40.0  # degrees between an axis and the body's; at 45 it could be either of two

Affine: TypeAlias = NDArray[np.float64]
Intensity: TypeAlias = Literal["hu", "unit"]


@dataclass(frozen=True, eq=False)
class CTVolume:
    """A CT volume with the axes of `Scan`, and the orientation its file has.

    Args:
        voxels: (D, H, W), slices from the feet up, rows from front to back, columns from the
            patient's right to the left. int16 Hounsfield units, or float32 in [0, 1].
        affine: (4, 4), voxel index (d, h, w) -> millimetres to the right, front and top.
        intensity: `hu`; `unit` where the file does not know Hounsfield units, and the volume is
            divided by its own maximum: levels of two such volumes cannot be compared.
        file_affine: like `affine`, for the axes as they are stored.
        file_orientation: (3, 2), the orientation of these axes, as nibabel writes it.
    """

    voxels: NDArray[Any]
    affine: Affine
    intensity: Intensity
    file_affine: Affine
    file_orientation: NDArray[Any]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres from voxel to voxel along (D, H, W)."""
        depth, height, width = (float(size) for size in _voxel_sizes(self.affine))
        return depth, height, width


def read_ct(path: Path | str, geometry: SliceGeometry | None = None) -> CTVolume:
    """Return the CT volume in a file or a folder.

    - `.nii`, `.nii.gz`: NIfTI in Hounsfield units.
    - `.npz`: `voxels`, three axes of Hounsfield units, and `affine`, (4, 4) from the index along
      these axes to millimetres to the right, front and top.
    - a folder of PNG or TIFF slices: `unit` intensity, in the natural order of the names. Such
      files know neither direction nor distance, so `geometry` has to say it.
    - any other folder: the DICOM files of one series; needs the extra `dicom`.

    Args:
        path: of the file or folder.
        geometry: of a folder of images, and only of that.

    Raises:
        FileError: if it cannot be read as one of these; if axes, distances or units are missing,
            contradictory or ambiguous.
        ValueError: if `geometry` is given where the files state it, or is missing.
    """
    path = Path(path)
    if not path.exists():
        raise FileError(f"{path}: no such file or folder")
    if path.is_dir() and _holds_images(path):
        if geometry is None:
            raise ValueError(
                f"{path}: images do not say which way they go through the body; "
                "give `geometry`, e.g. SliceGeometry('SPL', (5.0, 0.7, 0.7))"
            )
        return _oriented(*read_slice_images(path, geometry), "unit", path)
    if geometry is not None:
        raise ValueError(f"{path}: states its own geometry; give `geometry` for images only")
    if path.is_dir():
        stored, affine = read_series(path)
    elif path.name.lower().endswith(NIFTI_SUFFIXES):
        stored, affine = _read_nifti(path)
    elif path.suffix.lower() == ".npz":
        stored, affine = _read_npz(path)
    else:
        raise FileError(
            f"{path}: expected .nii, .nii.gz, .npz, a folder of images or a DICOM series"
        )
    return _oriented(_hounsfield_units(stored, path), affine, "hu", path)


def write_nifti(values: NDArray[Any], like: CTVolume, path: Path | str) -> None:
    """Write a map of a volume as float32 NIfTI that lies on the input file voxel for voxel.

    Axes are turned back to those of the file, and its affine is kept. The file appears whole or
    not at all, and equal maps make equal files.

    Args:
        values: (D, H, W) as `like.voxels`; finite.
        like: the volume the map belongs to.
        path: ends in `.nii` or `.nii.gz`.

    Raises:
        ValueError: for another shape, values that are not finite, or another suffix.
    """
    path = Path(path)
    if values.shape != like.voxels.shape:
        raise ValueError(
            f"{path}: the map is {values.shape}, the volume {like.voxels.shape}; "
            "enlarge the map to the volume first, e.g. with hounsfield.resize_volume"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: the map holds values that are not finite; mend it first")
    refuse_other_suffix(path)
    stored, _ = _turned(values.astype(np.float32), _orientation(AXES), like.file_orientation)
    store_nifti(path, stored, like.file_affine)


def _orientation(axes: str) -> NDArray[Any]:
    from nibabel import orientations

    result: NDArray[Any] = orientations.axcodes2ornt(tuple(axes))  # type: ignore[no-untyped-call]
    return result


def _turned(
    array: NDArray[Any], before: NDArray[Any], after: NDArray[Any]
) -> tuple[NDArray[Any], Affine]:
    """Return `array` in the orientation `after`, and its index -> index before the turn."""
    from nibabel import orientations

    turn = orientations.ornt_transform(before, after)  # type: ignore[no-untyped-call]
    back: Affine = orientations.inv_ornt_aff(turn, array.shape)  # type: ignore[no-untyped-call]
    turned = orientations.apply_orientation(array, turn)  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(turned), back


def _oriented(stored: NDArray[Any], affine: Affine, intensity: Intensity, path: Path) -> CTVolume:
    from nibabel import orientations

    _refuse_ambiguous_axes(affine, path)
    orientation = orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    voxels, to_stored = _turned(stored, orientation, _orientation(AXES))
    return CTVolume(voxels, affine @ to_stored, intensity, affine, orientation)


def _voxel_sizes(affine: Affine) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0), np.float64)


def _refuse_ambiguous_axes(affine: Affine, path: Path) -> None:
    sizes = _voxel_sizes(affine)
    if not np.isfinite(affine).all() or not (sizes > 0).all():
        raise FileError(f"{path}: the affine is no map from voxels to millimetres: {affine}")
    cosines = np.abs(affine[:3, :3] / sizes)
    tilts = np.degrees(np.arccos(np.minimum(cosines.max(axis=0), 1)))
    if len(set(cosines.argmax(axis=0))) < 3 or tilts.max() > LARGEST_TILT:
        raise FileError(
            f"{path}: the axes are turned by {np.round(tilts, 1).tolist()} degrees against the "
            f"body's, so that which is which is not clear beyond {LARGEST_TILT}; resample the "
            "volume along the body first"
        )


def _hounsfield_units(stored: NDArray[Any], path: Path) -> NDArray[np.int16]:
    if stored.size == 0 or not np.isfinite(stored).all():
        raise FileError(f"{path}: holds no voxels, or values that are not finite")
    low, high = float(stored.min()), float(stored.max())
    limits = np.iinfo(np.int16)
    if low >= 0:
        raise FileError(
            f"{path}: no value below 0 (from {low:g} to {high:g}), where air has -1000 Hounsfield "
            "units; apply the scanner's slope and intercept first"
        )
    if low < limits.min or high > limits.max:
        raise FileError(f"{path}: values from {low:g} to {high:g} are no Hounsfield units")
    voxels: NDArray[np.int16] = np.rint(stored).astype(np.int16)
    return voxels


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _read_nifti(path: Path) -> tuple[NDArray[Any], Affine]:
    with reading_nifti(path, "fetch it again"):
        image = load_nifti(path)
        _check_header(image, path)
        stored = np.asanyarray(image.dataobj)
    if stored.dtype.kind not in "iuf":
        raise FileError(f"{path}: holds {stored.dtype}, expected one number for each voxel")
    if stored.ndim < 3 or any(size > 1 for size in stored.shape[3:]):
        raise FileError(f"{path}: expected one volume of three axes, got {stored.shape}")
    return stored.reshape(stored.shape[:3]), np.array(image.affine, np.float64)


def _check_header(image: Any, path: Path) -> None:
    """Refuse a header that leaves open, or states twice and differently, where the axes go."""
    from nibabel import orientations

    header = image.header
    forms = {"sform": image.get_sform, "qform": image.get_qform}
    named = {
        name: orientations.aff2axcodes(form())  # type: ignore[no-untyped-call]
        for name, form in forms.items()
        if int(header[f"{name}_code"])
    }
    if not named:
        raise FileError(
            f"{path}: states no orientation (sform_code and qform_code are 0); a tool that knows "
            "the scan has to write one"
        )
    if len(set(named.values())) > 1:
        raise FileError(f"{path}: sform and qform contradict each other: {named}; correct one")
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise FileError(f"{path}: distances are in {unit!r}, expected millimetres")


def _read_npz(path: Path) -> tuple[NDArray[Any], Affine]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            missing = [key for key in ("voxels", "affine") if key not in arrays]
            if missing:
                raise FileError(f"{path}: has no {missing}, only {sorted(arrays)}; see read_ct")
            voxels, affine = arrays["voxels"], arrays["affine"].astype(np.float64)
    except (OSError, EOFError, TypeError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise FileError(f"{path}: cannot be read as NPZ ({error}); write it again") from error
    if voxels.ndim != 3 or voxels.dtype.kind not in "iuf":
        raise FileError(
            f"{path}: expected numbers of three axes, got {voxels.shape} {voxels.dtype}"
        )
    if affine.shape != (4, 4):
        raise FileError(f"{path}: expected a (4, 4) affine, got {affine.shape}")
    return voxels, affine
