"""Sets of brain tumor cases: real ones prepared from their files, and what any set records.

Torch-free.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from vismodels.config import Config, suggestion
from vismodels.data.brain_cases import LEVELS, BrainCase, write_cases
from vismodels.data.brats import find_cases, read_case, split_by_case
from vismodels.data.label_schemes import SCHEME_NAMES, scheme_by_name
from vismodels.data.manifest import locate, read_acquired, refuse_changed
from vismodels.metrics.segmentation import CASES, CASES_WITHOUT_ET, LEVEL_VOXELS
from vismodels.results import Score, Value, mean_value

SPLITS = ("train", "validation", "test")


class BrainSetConfig(Config):
    """How a set of real cases is prepared.

    Args:
        scheme: what its labels mean; see `label_schemes`. There is no default.
        extra: label -> level of labels outside of the scheme: {4: 0} counts a cavity as background.
        spacing: millimeters of the cubes that voxels are merged into; None keeps them.
        crop: whether the box of the brain is cut out.
        bias_correction: whether N4 runs first; needs SimpleITK.
        shares: of the patients in train, validation and test; 1 in sum.
    """

    scheme: str
    extra: Mapping[NonNegativeInt, NonNegativeInt] = Field(default_factory=dict)
    spacing: PositiveFloat | None = None
    crop: bool = True
    bias_correction: bool = False
    shares: tuple[float, float, float] = Field((0.7, 0.1, 0.2))

    @model_validator(mode="after")
    def _scheme_is_known(self) -> "BrainSetConfig":
        if self.scheme not in SCHEME_NAMES:
            raise ValueError(
                f"scheme is {self.scheme!r}, which is none{suggestion(self.scheme, SCHEME_NAMES)}"
            )
        scheme_by_name(self.scheme, self.extra)  # refuses what contradicts the scheme
        return self


def prepare_brain_set(
    config: BrainSetConfig, name: str, data_root: Path | str, acquired: Path, folder: Path
) -> list[Score]:
    """Write the cases of each split below `folder`; return their records.

    Args:
        config: labels, voxels, shares.
        name: of the set.
        data_root: folder of the user's data sets.
        acquired: folder of the stage `data_acquire`.
        folder: where to write `<split>/`.

    Raises:
        FileError: if the data changed since it was acquired, or a case cannot be read.
        ValueError: if there are too few patients for the shares.
    """
    found = locate(name, data_root)
    _, items = read_acquired(acquired)
    refuse_changed(found, items)
    files = {each.name: each for each in find_cases(_root(found.files))}
    splits = split_by_case(list(files), dict(zip(SPLITS, config.shares, strict=True)), 0)
    scheme, scores = scheme_by_name(config.scheme, config.extra), []
    for split, names in splits.items():
        (folder / split).mkdir(parents=True)
        cases = [
            read_case(
                files[case],
                scheme,
                spacing=config.spacing,
                crop=config.crop,
                bias_correction=config.bias_correction,
            )
            for case in names
        ]
        write_cases(cases, folder / split)
        scores += case_scores("data_brains", name, {split: cases})
    return scores


def _root(files: Mapping[str, Path]) -> Path:
    """Return the folder that the names of files are relative to."""
    item, path = next(iter(files.items()))
    return path.parents[len(PurePosixPath(item).parts) - 1]


def case_scores(
    stage: str,
    card: str,
    sets: Mapping[str, Sequence[BrainCase]],
    *,
    seed: int | None = None,
    note: str = "",
) -> list[Score]:
    """Return one record for each split: how many cases, and how large their tumors are.

    Args:
        stage: that made them.
        card: name of the set.
        sets: split -> its cases, with levels.
        seed: of a generated set.
        note: what a reader must know.
    """
    scores = []
    for split, cases in sets.items():
        counts = {
            level: {
                case.name: float((case.levels == level).sum())
                for case in cases
                if case.levels is not None
            }
            for level in range(1, LEVELS)
        }
        scores.append(
            Score(
                stage=stage,
                variant=split,
                seed=seed,
                dataset={"card": card, "split": split, "items": len(cases)},
                values=[
                    Value(CASES, len(cases)),
                    Value(CASES_WITHOUT_ET, sum(not count for count in counts[3].values())),
                    *(mean_value(LEVEL_VOXELS[level], each) for level, each in counts.items()),
                ],
                note=note,
            )
        )
    return scores
