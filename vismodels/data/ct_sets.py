"""Sets of real CT scans: files sorted by split and class, made into `Scan`s of one shape.

A set is a folder `<split>/<class>/...`: NIfTI or NPZ files, or a folder of slices or of a DICOM
series for each scan; with one folder more, that of the patient. Torch-free.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt

from vismodels.config import Config, ConfigError
from vismodels.data.ct import read_ct
from vismodels.data.hounsfield import resize_volume
from vismodels.data.lungs import lung_box
from vismodels.data.manifest import locate, read_acquired, refuse_changed
from vismodels.data.nifti import NIFTI_SUFFIXES
from vismodels.data.scans import Scan, refuse_shared_patients, write_scans
from vismodels.data.slice_images import SUFFIXES, SliceGeometry
from vismodels.data.slices import resample_slices
from vismodels.files import FileError
from vismodels.metrics.dataset import ITEMS
from vismodels.metrics.scans import PATIENTS
from vismodels.results import Score, Value
from vismodels.seeding import derive_seed

VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, ".npz")  # of files that are a whole scan
WINDOW = (-1000.0, 400.0)  # what images without Hounsfield units are spread over


class CTSetConfig(Config):
    """How a set of real scans is prepared.

    Args:
        shape: slices, rows and columns of the stored scans.
        classes: folder -> class.
        axes: of image slices, which do not tell where they lie; see `data.slice_images`.
        spacing: of image slices, millimetres.
        lung_margin: millimetres around the lungs that are kept, the rest is cut off before the
            scan is brought to `shape`; None keeps all. Only for scans in Hounsfield units.
        validation: share of the training patients that is held out.
        patients_by_class: whether each class numbers its patients from the start, so that equal
            names in two classes are two patients. Otherwise a name is one patient in all classes.
    """

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    classes: Mapping[str, str]
    axes: str | None = None
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    lung_margin: PositiveFloat | None = None
    validation: float = Field(0.15, gt=0, lt=1)
    patients_by_class: bool = False

    @property
    def geometry(self) -> SliceGeometry | None:
        """Where image slices lie, if that was said."""
        if self.axes is None or self.spacing is None:
            return None
        return SliceGeometry(self.axes, self.spacing)


def prepare_ct_set(
    config: CTSetConfig, name: str, data_root: Path | str, acquired: Path, folder: Path
) -> list[Score]:
    """Write the scans of `train`, `validation` and `test` below `folder`; return their records.

    Args:
        config: sizes and classes.
        name: of the set.
        data_root: folder of the user's data sets.
        acquired: folder of the stage `data_acquire`.
        folder: where to write `<split>/`.

    Raises:
        FileError: if the data changed since it was acquired, or a scan cannot be read.
        ConfigError: if a patient is in two splits.
    """
    found = locate(name, data_root)
    _, items = read_acquired(acquired)
    refuse_changed(found, items)
    scans = scan_places(list(found.files), config)
    scores = []
    for split in ("train", "validation", "test"):
        chosen = [place for place in scans if place.split == split]
        (folder / split).mkdir(parents=True)
        kept: list[Scan] = []
        write_scans(_noted(chosen, found.files, config, kept), folder / split)
        scores.append(
            Score(
                stage="data_scans",
                variant=split,
                dataset={"card": name, "split": split, "items": len(kept)},
                values=[
                    Value(ITEMS, len(kept)),
                    Value(PATIENTS, len({scan.patient for scan in kept})),
                ],
            )
        )
    return scores


class ScanPlace(Config):
    """Where a scan is, whose it is, and which split and class its folders name."""

    split: str
    label: str
    patient: str
    name: str
    item: str  # of its file, or of one of its slices
    is_folder: bool


def scan_places(items: Sequence[str], config: CTSetConfig) -> list[ScanPlace]:
    """Return the scans of a set, sorted by name; some patients of `train` become `validation`.

    Args:
        items: paths below the set's folder, with `/`.
        config: classes, and the share of the patients for validation.

    Raises:
        FileError: for a path that has no split or class, or two scans of one name.
        ConfigError: if a patient is in two splits.
    """
    places: dict[str, ScanPlace] = {}
    sources: dict[str, str] = {}
    for item in sorted(items):
        parts = PurePosixPath(item).parts
        if len(parts) < 3 or parts[0] not in ("train", "test") or parts[1] not in config.classes:
            raise FileError(
                f"{item}: expected <train or test>/<{', '.join(config.classes)}>/...; sort the "
                "files as the data card says"
            )
        is_file = parts[-1].lower().endswith(VOLUME_SUFFIXES)
        own = [*parts[2:-1], _stem(parts[-1])] if is_file else parts[2:-1]
        if not own:
            raise FileError(f"{item}: slices lie in a folder of their scan; make one for each")
        patient = f"{parts[1]}_{own[0]}" if config.patients_by_class else own[0]
        name = "_".join([parts[0], parts[1], *own])
        source = item if is_file else str(PurePosixPath(item).parent)
        if sources.setdefault(name, source) != source:
            raise FileError(
                f"{source} and {sources[name]} would both be the scan {name!r}; rename one"
            )
        split = parts[0]
        if split == "train" and _is_held_out(patient, config.validation):
            split = "validation"
        places.setdefault(
            name,
            ScanPlace(
                split=split, label=config.classes[parts[1]], patient=patient, name=name, item=item,
                is_folder=not is_file,
            ),
        )  # fmt: skip
    by_split: dict[str, list[Scan]] = {}
    blank = np.zeros((1, 1, 1), np.int16)
    for place in places.values():
        stub = Scan(place.name, place.patient, place.label, blank, (1.0, 1.0, 1.0), 1)
        by_split.setdefault(place.split, []).append(stub)
    try:
        refuse_shared_patients(by_split)
    except ConfigError as error:
        if config.patients_by_class:
            raise
        raise ConfigError(
            f"{error}; where each class numbers its patients from the start, set patients_by_class"
        ) from error
    return list(places.values())


def _stem(file: str) -> str:
    """Return the name of a file without its suffix, which is not all from the first dot on."""
    suffix = max((s for s in VOLUME_SUFFIXES if file.lower().endswith(s)), key=len)
    return file[: -len(suffix)]


def spread(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return levels of [0, 1], which have no Hounsfield units, spread over the window of a lung."""
    return np.asarray(WINDOW[0] + (WINDOW[1] - WINDOW[0]) * levels, np.float32)


def _is_held_out(patient: str, share: float) -> bool:
    return derive_seed(0, "ct_sets", "validation", patient) < share * 2**63


def _noted(
    places: Sequence[ScanPlace], files: Mapping[str, Path], config: CTSetConfig, kept: list[Scan]
) -> Iterator[Scan]:
    """Yield the scans one by one, and keep what is known of each without its voxels."""
    for place in places:
        scan = _read(place, files[place.item], config)
        blank = np.zeros((1, 1, 1), np.int16)
        kept.append(Scan(scan.name, scan.patient, scan.label, blank, scan.spacing, scan.slices))
        yield scan


def _read(place: ScanPlace, path: Path, config: CTSetConfig) -> Scan:
    source = path.parent if place.is_folder else path
    images = place.is_folder and path.suffix.lower() in SUFFIXES
    volume = read_ct(source, config.geometry if images else None)
    count = volume.voxels.shape[0]
    voxels = volume.voxels
    if config.lung_margin is not None:
        if volume.intensity == "unit":
            raise ConfigError(
                f"{path}: lung_margin needs Hounsfield units, these slices have none; leave it out"
            )
        voxels = voxels[lung_box(voxels, volume.spacing, config.lung_margin)]
    resampled = resample_slices(voxels, config.shape[0])
    resized = resize_volume(resampled, config.shape)
    if volume.intensity == "unit":
        resized = spread(resized)
    spacing = [
        step * before / after
        for step, before, after in zip(volume.spacing, voxels.shape, config.shape, strict=True)
    ]
    return Scan(
        name=place.name,
        patient=place.patient,
        label=place.label,
        voxels=resized.round().clip(-1024, 3071).astype(np.int16),
        spacing=(spacing[0], spacing[1], spacing[2]),
        slices=count,
    )
