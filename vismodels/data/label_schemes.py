"""The numbers brain tumor files have for tissues, and the nested levels they mean. Torch-free.

Nothing here is guessed: 4 is enhancing tumor in one file and a resection cavity in another, and 2
is edema in one set and core in the next, so whoever reads a file names its scheme. No other module
knows these numbers. Levels are those of `data.brain_cases`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vismodels.config import suggestion
from vismodels.data.brain_cases import LEVELS

_SHOWN = 5  # values that a message lists
_LARGEST = 255  # label that files of one byte a voxel hold
_NON_ENHANCING = re.compile(r"non[-\s]*enhancing")


class LabelError(ValueError):
    """Labels that the named scheme does not have; the message says what they may be."""


@dataclass(frozen=True)
class LabelScheme:
    """Which label each level has in the files of one family of data sets.

    Args:
        name: of the scheme.
        labels: label of level 0, 1, 2 and 3: background, edema, tumor core without enhancement,
            enhancing tumor.
        extra: label -> level, the user's rule for labels outside of the scheme: {4: 0} counts a
            resection cavity as background. These labels are read and never written.

    Raises:
        ValueError: if two levels share a label, a label is not in 0..255, or `extra` redefines a
            label or names no level.
    """

    name: str
    labels: tuple[int, int, int, int]
    extra: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [*self.labels, *self.extra]
        if len(self.labels) != LEVELS or len(set(known)) < len(known):
            raise ValueError(
                f"scheme {self.name!r}: expected {LEVELS} different labels, and others in `extra`; "
                f"got {self.labels} and {dict(self.extra)}"
            )
        if not all(0 <= label <= _LARGEST for label in self.labels):
            raise ValueError(
                f"scheme {self.name!r}: expected labels 0 to {_LARGEST}, which fit a byte, got "
                f"{self.labels}; read others through `extra`, or renumber them"
            )
        if not all(0 <= level < LEVELS for level in self.extra.values()):
            raise ValueError(
                f"scheme {self.name!r}: expected label -> level 0 to {LEVELS - 1} in `extra`, got "
                f"{dict(self.extra)}"
            )

    def to_levels(self, labels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the levels of `labels`, uint8 in 0..3 of the same shape.

        Args:
            labels: any shape; integers, or floats with integral values, as many files store them.

        Raises:
            LabelError: for a label that the scheme does not have, with what it may be and what to
                pass; for values that are no labels.
        """
        known = {label: level for level, label in enumerate(self.labels)} | dict(self.extra)
        self._refuse_unknown(labels, known)
        levels = np.zeros(labels.shape, np.uint8)
        for label, level in known.items():
            levels[labels == label] = level
        return levels

    def to_labels(self, levels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the labels of `levels`, uint8 of the same shape.

        Args:
            levels: any shape, integers in 0..3.

        Raises:
            ValueError: for anything else.
        """
        if levels.dtype.kind not in "iu" or (levels.size and not _within_levels(levels)):
            raise ValueError(
                f"expected integer levels in 0..{LEVELS - 1}, got {levels.dtype}"
                + (f" from {levels.min()} to {levels.max()}" if levels.size else "")
            )
        labels: NDArray[np.uint8] = np.array(self.labels, np.uint8)[levels]
        return labels

    def refuse_other_names(self, names: Mapping[int, str]) -> None:
        """Check the scheme against the names that a data set states itself, where it does.

        Files with the labels 0 to 3 fit two schemes that exchange edema and core; no value tells.

        Args:
            names: label -> name of the tissue; unknown names are skipped.

        Raises:
            LabelError: if a tissue has another label here; names the schemes that agree.
        """
        stated = {label: level for label, name in names.items() if (level := _level_named(name))}
        if all(self.labels[level] == label for label, level in stated.items()):
            return
        fitting = [
            scheme.name
            for scheme in _SCHEMES
            if all(scheme.labels[level] == label for label, level in stated.items())
        ]
        listed = ", ".join(f"{label} {names[label]!r}" for label in sorted(stated))
        raise LabelError(
            f"the data set names its labels {listed}, which is not scheme {self.name!r}"
            + (f"; pass {' or '.join(map(repr, fitting))}" if fitting else "; no scheme has these")
        )

    def _refuse_unknown(self, labels: NDArray[Any], known: Mapping[int, int]) -> None:
        if labels.dtype.kind not in "iuf":
            raise LabelError(f"expected one number for each voxel, got {labels.dtype}")
        values, counts = np.unique(labels[labels != 0], return_counts=True)
        if values.dtype.kind == "f" and not (values == np.rint(values)).all():
            fractions = values[values != np.rint(values)]  # NaN too
            raise LabelError(
                f"{len(fractions)} values are no whole numbers, e.g. {fractions[0]:g}: no labels, "
                "or labels resampled with interpolation; resample them with the nearest neighbor"
            )
        present = {0: 1} if (labels == 0).any() else {}
        present |= dict(zip(values.tolist(), counts.tolist(), strict=True))
        unknown = {value: count for value, count in present.items() if value not in known}
        if not unknown:
            return
        listed = ", ".join(f"{v:g} ({n} voxels)" for v, n in list(unknown.items())[:_SHOWN])
        listed += f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise LabelError(
            f"scheme {self.name!r} has the labels {sorted(known)}, not {listed}; "
            + self._remedy(list(unknown))
        )

    def _remedy(self, unknown: list[Any]) -> str:
        if unknown == [4]:
            return (
                "4 may be a resection cavity (sets after treatment), which is outside of the "
                "levels: pass extra={4: 0} to count it as background; or it is the enhancing tumor "
                "of BraTS 2017 to 2021: pass the scheme 'brats2021'"
            )
        if unknown == [3] and self.name == "brats2021":
            return (
                "3 may be the enhancing tumor of BraTS 2023 on or of the Decathlon: pass the "
                "scheme 'brats2023' or 'msd'; or it is the core without enhancement of BraTS 2012 "
                "to 2016: pass extra={3: 2}"
            )
        return "if these are labels, say their levels in `extra`, e.g. extra={label: 0}"


_SCHEMES = (
    LabelScheme("brats2021", (0, 2, 1, 4)),  # BraTS 2017 to 2021: edema 2, core 1, enhancing 4
    LabelScheme("brats2023", (0, 2, 1, 3)),  # BraTS 2023 on: SNFH 2, NETC 1, ET 3
    LabelScheme("msd", (0, 1, 2, 3)),  # Medical Segmentation Decathlon, Task01, its dataset.json
)
SCHEME_NAMES = tuple(scheme.name for scheme in _SCHEMES)


def scheme_by_name(name: str, extra: Mapping[int, int] | None = None) -> LabelScheme:
    """Return the scheme `name`: `brats2021`, `brats2023` or `msd`.

    `brats2021` is that of BraTS 2017 to 2021. A file of 0, 1, 2 and 4 fits it whether 4 is
    enhancing tumor or, in sets after treatment, a cavity: which one it is, only its source says.

    Args:
        name: of the scheme.
        extra: label -> level for labels outside of it; see `LabelScheme`.

    Raises:
        ValueError: if there is no such scheme, or `extra` does not fit it.
    """
    for scheme in _SCHEMES:
        if scheme.name == name:
            return replace(scheme, extra=dict(extra or {}))
    raise ValueError(f"there is no label scheme {name!r}{suggestion(name, SCHEME_NAMES)}")


def _within_levels(levels: NDArray[Any]) -> bool:
    return bool(levels.min() >= 0 and levels.max() < LEVELS)


def _level_named(name: str) -> int | None:
    """Return the level of a tissue that data sets call by this name; None for all others."""
    words = name.lower()
    if "edema" in words:  # "oedema" too
        return 1
    if _NON_ENHANCING.search(words) or "necro" in words:
        return 2
    return 3 if "enhancing" in words else None
