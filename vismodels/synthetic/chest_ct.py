"""A phantom of chest CT: three classes, several scans of a person, lungs and lesions known.

Classes are NCP (pneumonia of COVID-19), CP (other pneumonia) and Normal. It is made up: numbers on
it say which method learns better, nothing about patients. Torch-free.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from vismodels.config import Config
from vismodels.data.lungs import crop_to_lungs
from vismodels.data.scans import PHANTOM_NOTE, Scan, refuse_shared_patients
from vismodels.metrics.dataset import ITEMS
from vismodels.metrics.scans import LESION_SCANS, LESION_SHARE, PATIENTS, SLICES
from vismodels.results import Gate, Score, Value, mean_value
from vismodels.seeding import numpy_generator
from vismodels.synthetic.chest_anatomy import draw_anatomy
from vismodels.synthetic.chest_lesions import LAWS, draw_findings, grown
from vismodels.synthetic.chest_scanner import FIELD, draw_acquisition, scan

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
CLASSES = tuple(LAWS)
SCAN_COUNTS = (0.6, 0.3, 0.1)  # shares of persons with one, two, three scans


class PhantomConfig(Config):
    """A set of generated scans.

    Args:
        patients: of each class, in each split.
        shape: (D, H, W) of the scans; they are made at twice that and averaged.
        crop: (D, H, W) of the part around the lungs that is stored; None for all.
        label_noise: share of the pneumonias of the training split with the other one's label.
    """

    patients: Mapping[Split, PositiveInt]
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (24, 48, 48)
    crop: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    label_noise: float = Field(0.03, ge=0, lt=0.5)

    @model_validator(mode="after")
    def _splits_are_there(self) -> "PhantomConfig":
        missing = [split for split in SPLITS if split not in self.patients]
        if missing:
            raise ValueError(f"patients says nothing about {', '.join(missing)}")
        return self


def make_scans(config: PhantomConfig, split: Split, seed: int) -> list[Scan]:
    """Return the scans of a split, named `<split>_<class>_<person>_<scan>`.

    A person depends on the seed, the split, the class and their number only.

    Args:
        config: of the whole set.
        split: which persons.
        seed: of the run.
    """
    return [
        made
        for label in CLASSES
        for number in range(config.patients[split])
        for made in _scans_of_person(config, split, label, number, seed)
    ]


def score_scans(card: str, sets: Mapping[Split, Sequence[Scan]], seed: int) -> list[Score]:
    """Return one record for each split: how much there is, and that no person is in two.

    Args:
        card: name of the set.
        sets: the scans of each split.
        seed: of the run.

    Raises:
        ConfigError: if a patient is in two splits.
    """
    refuse_shared_patients(sets)
    trained = {scan.patient for scan in sets.get("train", ())}
    return [
        Score(
            stage="synthetic_chest_ct",
            variant=split,
            values=_values(scans),
            seed=seed,
            dataset={"card": card, "split": split, "items": len(scans)},
            gates=[]
            if split == "train"
            else [
                Gate(
                    "patients who occur in training",
                    len(trained & {scan.patient for scan in scans}),
                    0,
                    at_least=False,
                )
            ],
            note=PHANTOM_NOTE,
        )
        for split, scans in sets.items()
    ]


def _scans_of_person(
    config: PhantomConfig, split: Split, label: str, number: int, seed: int
) -> list[Scan]:
    rng = numpy_generator(seed, "chest_ct", split, label, number)
    anatomy = draw_anatomy(rng)
    findings = draw_findings(label, anatomy, rng)
    count = 1 + int(rng.choice(len(SCAN_COUNTS), p=SCAN_COUNTS))
    told = label
    if split == "train" and label != "Normal" and rng.random() < config.label_noise:
        told = "CP" if label == "NCP" else "NCP"
    fine = tuple(2 * edge for edge in config.shape)
    scans = []
    for index in range(count):
        now = grown(findings, rng) if index else findings
        acquisition = draw_acquisition(rng)
        rendered = scan(anatomy, now, acquisition, (fine[0], fine[1], fine[2]), rng)
        hu = _halved(rendered.hu).round().clip(-1024, 3071)
        spacing = [extent / edge for extent, edge in zip(FIELD, config.shape, strict=True)]
        made = Scan(
            name=f"{split}_{label}_{number:03d}_{index}",
            patient=f"{split}_{label}_{number:03d}",
            label=told,
            voxels=hu.astype(np.int16),
            spacing=(spacing[0], spacing[1], spacing[2]),
            slices=acquisition.slices,
            lung=_halved(rendered.lung.astype(np.float32)) >= 0.5,
            lesion=_halved(rendered.lesion.astype(np.float32)) >= 0.5,
        )
        scans.append(made if config.crop is None else crop_to_lungs(made, config.crop))
    return scans


def _halved(volume: np.ndarray) -> np.ndarray:
    """Return the means over 2x2x2 voxels."""
    depth, height, width = (edge // 2 for edge in volume.shape)
    return np.asarray(volume.reshape(depth, 2, height, 2, width, 2).mean(axis=(1, 3, 5)))


def _values(scans: Sequence[Scan]) -> list[Value]:
    share = {
        s.name: 100 * float(s.lesion.sum() / max(s.lung.sum(), 1))
        for s in scans
        if s.lesion is not None and s.lung is not None
    }
    return [
        Value(ITEMS, len(scans)),
        Value(PATIENTS, len({scan.patient for scan in scans})),
        Value(LESION_SCANS, sum(value > 0 for value in share.values())),
        mean_value(LESION_SHARE, share),
        mean_value(SLICES, {scan.name: float(scan.slices) for scan in scans}),
    ]
