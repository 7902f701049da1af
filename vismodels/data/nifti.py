"""NIfTI files: what cannot be read is named, and equal volumes make equal files. Torch-free."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.files import FileError, atomic_path

NIFTI_SUFFIXES = (".nii", ".nii.gz")


def refuse_other_suffix(path: Path) -> None:
    """Check that a file is named as NIfTI files are.

    Raises:
        ValueError: if it is not.
    """
    if not path.name.endswith(NIFTI_SUFFIXES):
        raise ValueError(
            f"{path}: expected a name that ends in {' or '.join(NIFTI_SUFFIXES)}; rename it"
        )


@contextmanager
def reading_nifti(path: Path, remedy: str) -> Iterator[None]:
    """Turn what nibabel raises in the block, voxels read late included, into a FileError.

    Args:
        path: of the file.
        remedy: what to do about it, the end of the message.

    Raises:
        FileError: if the file cannot be read; those of the block pass through.
    """
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        yield
    except FileError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise FileError(f"{path}: cannot be read as NIfTI ({error}); {remedy}") from error


def load_nifti(path: Path) -> Any:
    """Return the image in a file; its voxels are read when they are asked for.

    Call it within `reading_nifti`.

    Raises:
        FileError: if the file is of another format.
    """
    import nibabel

    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise FileError(f"{path}: is {type(image).__name__}, not NIfTI; convert it first")
    return image


def store_nifti(
    path: Path, voxels: NDArray[Any], affine: NDArray[np.float64], label: str | None = None
) -> None:
    """Write voxels in millimeters; the file appears whole or not at all.

    Args:
        path: ends in one of `NIFTI_SUFFIXES`.
        voxels: (D, H, W).
        affine: (4, 4) from voxel indices to millimeters; kept in single precision.
        label: name that the header has beside the intent "label"; None for no intent.
    """
    import nibabel

    image: Any = nibabel.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    if label is not None:
        image.header.set_intent("label", name=label)
    content: bytes = image.to_bytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
