"""Real brain tumor cases: files of BraTS and of the Decathlon as `BrainCase`s. Torch-free.

Three layouts are recognized by their names: BraTS 2017 to 2021 (`<case>/<case>_t1ce.nii.gz`, of
2018 below `HGG` and `LGG`), BraTS 2023 on (`<case>/<case>-t1c.nii.gz`), and Task01 of the Medical
Segmentation Decathlon (`imagesTr/<case>.nii.gz` with four channels, `labelsTr`, `dataset.json`).
What the labels mean is never guessed from them: see `data.label_schemes`.

Cases come out in RAS orientation: D runs to the patient's right, H to the front and W to the head.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.data.bias_field import bias_corrected
from vismodels.data.brain_cases import MODALITIES, BrainCase
from vismodels.data.brain_preparation import cropped, standardized, with_spacing
from vismodels.data.label_schemes import LabelError, LabelScheme
from vismodels.data.mri import Volume, read_mri, refuse_other_grid
from vismodels.data.nifti import NIFTI_SUFFIXES
from vismodels.files import FileError, read_json
from vismodels.seeding import numpy_generator

NAMINGS = {  # what follows the name of the case, in the order of MODALITIES, and of the labels
    "BraTS 2017 to 2021": (("_t1", "_t1ce", "_t2", "_flair"), "_seg"),
    "BraTS 2023": (("-t1n", "-t1c", "-t2w", "-t2f"), "-seg"),
}
CHANNELS = {"t1w": "t1", "t1gd": "t1ce", "t2w": "t2", "flair": "flair"}  # as dataset.json has them
# 2023 on: BraTS-GLI-<patient>-<examination>; 2017 to 2019: Brats18_<site>_<patient>_<examination>
EXAMINATION = re.compile(r"^(BraTS-.+)-\d+$|^(BraTS1[789]_.+)_\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    Args:
        name: of the case, unique within its set.
        images: a file for each of `MODALITIES`, in this order.
        labels: the file of the labels, None where there is none.
        channels: which channel of its file each modality is; None for files of one volume.
        label_names: label -> name of the tissue, where the set states it.
    """

    name: str
    images: tuple[Path, ...]
    labels: Path | None
    channels: tuple[int, ...] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)

    @property
    def patient(self) -> str:
        """Whose case it is; see `patient_of`."""
        return patient_of(self.name)


def find_cases(root: Path | str, *, labeled: bool = True) -> list[CaseFiles]:
    """Return the cases below a folder, sorted by name.

    Args:
        root: of a set: the case folders lie in it at any depth, or it holds `imagesTr`. Files
            whose names begin with a dot do not count.
        labeled: whether every case must have labels, as in training sets.

    Raises:
        FileError: if a case lacks a modality, mixes two namings or has a file twice; if nothing
            below the folder is a case, or two cases have one name.
    """
    root = Path(root)
    if (root / "imagesTr").is_dir():
        return _decathlon_cases(root, labeled)
    folders: dict[Path, list[Path]] = {}
    for path in sorted(root.rglob("*.nii*")):
        if _is_nifti(path):
            folders.setdefault(path.parent, []).append(path)
    if not folders:
        raise FileError(
            f"{root}: no NIfTI files below it; expected <case>/<case>_t1.nii.gz, "
            "<case>/<case>-t1n.nii.gz or imagesTr/<case>.nii.gz"
        )
    cases: dict[str, CaseFiles] = {}
    for folder, paths in folders.items():
        if folder.name in cases:
            other = cases[folder.name].images[0].parent
            raise FileError(f"two cases are called {folder.name!r}: {other} and {folder}")
        cases[folder.name] = _case_in(folder, paths, labeled)
    return [cases[name] for name in sorted(cases)]


def read_case(
    files: CaseFiles,
    scheme: LabelScheme,
    *,
    spacing: float | None = None,
    crop: bool = False,
    bias_correction: bool = False,
) -> BrainCase:
    """Return a case: in RAS orientation, standardized in the brain, with levels for labels.

    Args:
        files: of the case.
        scheme: what its labels mean; there is no default.
        spacing: millimeters of the cubes that voxels are merged into; None keeps them.
        crop: whether to cut the box of the brain out.
        bias_correction: whether to divide each modality by its N4 bias field first; needs
            SimpleITK.

    Raises:
        FileError: if a file is missing or damaged, lies on another grid than the rest, or has
            labels that `scheme` does not have.
        ValueError: if a modality is empty, or `spacing` does not fit.
        ImportError: if `bias_correction` needs SimpleITK and it is not installed.
    """
    images = _read_images(files)
    levels = None
    if files.labels is not None:
        levels = _read_levels(files.labels, scheme, files, images)
    case = BrainCase(files.name, images.voxels, levels, images.affine, scheme.name)
    if bias_correction:
        case = bias_corrected(case)
    if spacing is not None:
        case = with_spacing(case, spacing)
    if crop:
        case = cropped(case)
    return standardized(case)


def patient_of(name: str) -> str:
    """Return whose case `name` is: the name without the number of the examination, if it has one.

    `BraTS-GLI-00008-000` and `BraTS-GLI-00008-001` are of one patient. Sets without such a number
    have one case for each patient, as far as is known.
    """
    found = EXAMINATION.match(name)
    return (found[1] or found[2]) if found else name


def split_by_case(
    names: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Return split -> its cases, drawn at random; all cases of a patient are in the same.

    Args:
        names: of the cases; their order does not matter.
        shares: split -> its share of the patients; positive, 1 in sum.
        seed: of the drawing.

    Raises:
        ValueError: if a name occurs twice, the shares are none, or a split would be empty.
    """
    if len(set(names)) < len(names):
        raise ValueError("a case is named twice; give each its own name")
    if min(shares.values(), default=0) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"expected positive shares that make 1 in sum, got {dict(shares)}")
    patients: dict[str, list[str]] = {}
    for name in sorted(names):
        patients.setdefault(patient_of(name), []).append(name)
    drawn = numpy_generator(seed, "brats", "split").permutation(sorted(patients)).tolist()
    ends = np.rint(np.cumsum(list(shares.values())) * len(drawn)).astype(int).tolist()
    starts = [0, *ends[:-1]]
    splits = {
        split: sorted(name for patient in drawn[start:end] for name in patients[patient])
        for split, start, end in zip(shares, starts, ends, strict=True)
    }
    if empty := [split for split, members in splits.items() if not members]:
        raise ValueError(
            f"{len(drawn)} patients leave {', '.join(empty)} empty at shares {dict(shares)}; "
            "give it a larger share, or add cases"
        )
    return splits


def _is_nifti(path: Path) -> bool:
    return path.name.endswith(NIFTI_SUFFIXES) and not path.name.startswith(".") and path.is_file()


def _case_in(folder: Path, paths: Sequence[Path], labeled: bool) -> CaseFiles:
    found, others = _by_ending(folder, paths)
    used = [naming for naming, (ends, labels) in NAMINGS.items() if {*ends, labels} & found.keys()]
    if not used:
        raise FileError(
            f"{folder}: no file is called {folder.name}_t1.nii.gz, {folder.name}-t1n.nii.gz or "
            f"alike, but {', '.join(others[:5])}; rename the files, or pass the folder above "
            "imagesTr for the Decathlon"
        )
    if len(used) > 1:
        raise FileError(
            f"{folder}: mixes the names of {' and '.join(used)}: "
            f"{', '.join(path.name for path in found.values())}; keep one set of files"
        )
    image_ends, label_end = NAMINGS[used[0]]
    missing = [
        f"{what} ({folder.name}{end}.nii.gz)"
        for what, end in zip((*MODALITIES, "labels"), (*image_ends, label_end), strict=True)
        if end not in found and (labeled or end != label_end)
    ]
    if missing:
        other = f"; it also holds {', '.join(others[:5])}, which may be misnamed" if others else ""
        hint = "; pass labeled=False for sets without labels" if label_end not in found else ""
        raise FileError(f"{folder}: no {', no '.join(missing)}{other}{hint}")
    return CaseFiles(folder.name, tuple(found[end] for end in image_ends), found.get(label_end))


def _by_ending(folder: Path, paths: Sequence[Path]) -> tuple[dict[str, Path], list[str]]:
    """Return what follows the case's name -> its file, and the names of files of no naming."""
    found, others = dict[str, Path](), list[str]()
    endings = {end for images, labels in NAMINGS.values() for end in (*images, labels)}
    for path in paths:
        end = _stem(path).removeprefix(folder.name)
        if end not in endings:
            others.append(path.name)
        elif end in found:
            raise FileError(f"{folder}: holds {found[end].name} and {path.name}; remove one")
        else:
            found[end] = path
    return found, others


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _decathlon_cases(root: Path, labeled: bool) -> list[CaseFiles]:
    channels, label_names = _decathlon_header(root / "dataset.json")
    cases = []
    for path in sorted((root / "imagesTr").iterdir()):
        if _is_nifti(path):
            labels = root / "labelsTr" / path.name
            if labeled and not labels.is_file():
                raise FileError(
                    f"{root}: no labels labelsTr/{path.name}; pass labeled=False for sets without"
                )
            known = labels if labels.is_file() else None
            images = (path,) * len(channels)
            cases.append(CaseFiles(_stem(path), images, known, channels, label_names))
    if not cases:
        raise FileError(f"{root / 'imagesTr'}: holds no NIfTI files")
    return cases


def _decathlon_header(path: Path) -> tuple[tuple[int, ...], dict[int, str]]:
    """Return the channel of each modality, and label -> name, as a `dataset.json` states them."""
    content: Any = read_json(path)
    try:
        stated = {CHANNELS.get(str(v).lower()): int(k) for k, v in content["modality"].items()}
        names = {int(label): str(name) for label, name in content["labels"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path}: no `modality` and `labels` of a Decathlon task") from error
    missing = [modality for modality in MODALITIES if modality not in stated]
    if missing:
        raise FileError(
            f"{path}: no channel for {', '.join(missing)}; expected the modalities "
            f"{', '.join(CHANNELS)}, got {content['modality']}"
        )
    return tuple(stated[modality] for modality in MODALITIES), names


def _read_images(files: CaseFiles) -> Volume:
    """Return (4, D, H, W) in the units of the files, in the order of `MODALITIES`."""
    if files.channels is not None:
        stored = read_mri(files.images[0], len(files.channels))
        images = stored.voxels[list(files.channels)]
        return Volume(np.ascontiguousarray(images, np.float32), stored.affine)
    read = [read_mri(path) for path in files.images]
    for path, volume in zip(files.images[1:], read[1:], strict=True):
        refuse_other_grid(path, volume, files.images[0], read[0])
    return Volume(np.stack([volume.voxels.astype(np.float32) for volume in read]), read[0].affine)


def _read_levels(
    path: Path, scheme: LabelScheme, files: CaseFiles, images: Volume
) -> NDArray[np.uint8]:
    labels = read_mri(path)
    refuse_other_grid(path, labels, files.images[0], images)
    try:
        scheme.refuse_other_names(files.label_names)
        return scheme.to_levels(labels.voxels)
    except LabelError as error:
        raise FileError(f"{path}: {error}") from error
