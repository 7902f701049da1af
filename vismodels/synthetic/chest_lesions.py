"""Lesions of generated lungs: how often, how many, where, of what kind, by class.

Frequencies for COVID-19 pneumonia (NCP) follow published series: a meta-analysis of 28 studies
with 2,655 patients (PMC8119228) and a cohort of 552 (PMC7355135); those for other pneumonia (CP)
are assumptions between them and what radiologists describe. The law of the lesions' volume is the
same for both, so that volume alone tells nothing. Torch-free.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vismodels.synthetic.chest_anatomy import Anatomy, Lung, Point

Kind = Literal["ground_glass", "mixed", "consolidation"]
KINDS: tuple[Kind, ...] = ("ground_glass", "mixed", "consolidation")
GROUND_GLASS_HU, CONSOLIDATION_HU = (-700.0, -300.0), (-100.0, 60.0)
PERIPHERAL, CENTRAL = 0.8, 0.45  # relative distances from a lung's centre: outside, within
TRIES = 400  # points that are drawn for one place


@dataclass(frozen=True)
class Law:
    """How lesions of a class are drawn; shares unless said otherwise.

    Args:
        any: scans that have lesions.
        median_count: of a lognormal number, if `poisson` is None.
        poisson: mean of the number beyond the first.
        bilateral: persons with lesions in both lungs.
        peripheral: lesions near the pleura.
        central: lesions along the bronchi and vessels.
        lower: lesions in the lower third.
        posterior: lesions in the back half.
        kinds: of ground glass, mixed, consolidation.
        effusion: persons with fluid behind a lung.
        lobar: persons with a segment that is filled.
    """

    any: float
    median_count: float | None
    poisson: float | None
    bilateral: float
    peripheral: float
    central: float
    lower: float
    posterior: float
    kinds: tuple[float, float, float]
    effusion: float
    lobar: float


LAWS = {
    "NCP": Law(
        any=0.95, median_count=8, poisson=None, bilateral=0.72, peripheral=0.70, central=0.05,
        lower=0.74, posterior=0.80, kinds=(0.60, 0.30, 0.10), effusion=0.05, lobar=0.05,
    ),
    "CP": Law(
        any=0.97, median_count=None, poisson=1.5, bilateral=0.45, peripheral=0.45, central=0.35,
        lower=0.55, posterior=0.50, kinds=(0.30, 0.25, 0.45), effusion=0.25, lobar=0.35,
    ),
    "Normal": Law(
        any=0.12, median_count=1, poisson=None, bilateral=0.0, peripheral=1.0, central=0.0,
        lower=0.8, posterior=1.0, kinds=(1.0, 0.0, 0.0), effusion=0.02, lobar=0.0,
    ),
}  # fmt: skip
# Shares of the lungs. The mild cases of MosMedData have a median of .015 (log-SD 1.2). With .025 a
# small network that learns from 350 scans of the lungs alone names .66 of the classes, below the
# phantom's third gate; with .10 it names .82. The common case here is a severe one.
VOLUME_MEDIAN, VOLUME_SIGMA, VOLUME_MOST = 0.10, 0.8, 0.40
NORMAL_MOST = 0.005
FILLED = 0.7  # share of the volume that a filled segment has, where there is one


@dataclass(frozen=True)
class Lesion:
    """One opacity.

    Args:
        kind: see `KINDS`.
        center: (z, y, x), mm.
        axes: half-axes, mm.
        hu: of its substance.
        core: HU of the middle of a mixed one.
        bronchogram: whether airways in it stay open.
        texture: seed of its outline.
    """

    kind: Kind
    center: Point
    axes: Point
    hu: float
    core: float
    bronchogram: bool
    texture: int


@dataclass(frozen=True)
class Findings:
    """What is wrong with a person's lungs.

    Args:
        lesions: the opacities.
        effusions: sides whose lung has fluid behind it, with its depth in mm.
        filled: (side, lower z, upper z, y from which on, HU) of a filled segment, if there is one.
    """

    lesions: tuple[Lesion, ...]
    effusions: tuple[tuple[int, float], ...]
    filled: tuple[int, float, float, float, float] | None


def draw_findings(label: str, anatomy: Anatomy, rng: np.random.Generator) -> Findings:
    """Return the findings of a person of a class.

    Args:
        label: a key of `LAWS`.
        anatomy: of the person.
        rng: source of all choices.
    """
    law = LAWS[label]
    if rng.random() >= law.any:
        return Findings((), (), None)
    share = min(VOLUME_MEDIAN * np.exp(rng.normal(0, VOLUME_SIGMA)), VOLUME_MOST)
    if label == "Normal":
        share = rng.uniform(0.0005, NORMAL_MOST)
    volume = share * sum(_volume(lung) for lung in anatomy.lungs)
    if law.poisson is None:
        assert law.median_count is not None
        count = max(1, round(law.median_count * np.exp(rng.normal(0, 0.6 * (label != "Normal")))))
    else:
        count = 1 + int(rng.poisson(law.poisson))
    segment = rng.random() < law.lobar
    home = int(rng.integers(2))
    both = rng.random() < law.bilateral
    parts = rng.dirichlet(np.full(count, 1.5)) * volume * (1 - FILLED * segment)
    lesions = []
    for number, part in enumerate(parts):
        side = home if not both or number % 2 == 0 else 1 - home
        lesions.append(_lesion(law, anatomy, anatomy.lungs[side], float(part), label, rng))
    filled = None
    if segment:
        lung = anatomy.lungs[home]
        behind = rng.uniform(0.3, 1.0)  # share of the section that is filled
        height = 2 * FILLED * share / behind * 2 * lung.axes[0]  # of one lung
        low = lung.base + rng.uniform(0.2, 0.8) * lung.axes[0]
        front = lung.axes[1] * (1 - 2 * behind)
        filled = (lung.side, low, low + height, front, rng.uniform(*CONSOLIDATION_HU))
    effusions = (
        ((anatomy.lungs[home].side, rng.uniform(10, 35)),) if rng.random() < law.effusion else ()
    )
    return Findings(tuple(lesions), effusions, filled)


def _volume(lung: Lung) -> float:
    """Return about the volume of a lung, mm^3: half an ellipsoid and a little more."""
    return float(0.6 * 4 / 3 * np.pi * np.prod(lung.axes))


def _lesion(
    law: Law, anatomy: Anatomy, lung: Lung, volume: float, label: str, rng: np.random.Generator
) -> Lesion:
    stretch = np.exp(rng.normal(0, 0.2, 3))
    radius = (volume * 3 / (4 * np.pi * np.prod(stretch))) ** (1 / 3)
    kind = KINDS[rng.choice(3, p=law.kinds)]
    faint = label == "Normal"
    hu = (
        rng.uniform(*CONSOLIDATION_HU) if kind == "consolidation" else rng.uniform(*GROUND_GLASS_HU)
    )
    z, y, x = _place(law, anatomy, lung, rng)
    axes = np.maximum(radius * stretch, 4.0)
    return Lesion(
        kind=kind,
        center=(z, y, x),
        axes=(float(axes[0]), float(axes[1]), float(axes[2])),
        hu=-700.0 if faint else float(hu),
        core=float(rng.uniform(*CONSOLIDATION_HU)),
        bronchogram=bool(rng.random() < 0.35),
        texture=int(rng.integers(2**31)),
    )


def _place(law: Law, anatomy: Anatomy, lung: Lung, rng: np.random.Generator) -> Point:
    """Return a point in a lung that obeys the laws of place, or as many of them as can be."""
    axes, center = np.array(lung.axes), np.array(lung.center)
    points = (center + axes * rng.uniform(-1, 1, (TRIES, 3))).astype(np.float32)
    z, y, x = points.T
    inside = anatomy.in_lung(lung, z, y, x)
    far = lung.radius(z, y, x)
    where = rng.random()
    if where < law.peripheral:
        near = far > PERIPHERAL
    elif where < law.peripheral + law.central:
        near = far < CENTRAL
    else:
        near = np.ones(TRIES, bool)
    top = lung.center[0] + lung.axes[0]
    third = lung.base + (top - lung.base) / 3
    low = z < third if rng.random() < law.lower else z >= third
    back = y > lung.center[1] if rng.random() < law.posterior else y <= lung.center[1]
    for wanted in (inside & near & low & back, inside & near & back, inside & near, inside):
        if wanted.any():
            chosen = points[int(np.flatnonzero(wanted)[0])]
            return float(chosen[0]), float(chosen[1]), float(chosen[2])
    return lung.center


def grown(findings: Findings, rng: np.random.Generator) -> Findings:
    """Return the findings at another time: every lesion a little larger or smaller."""
    changed = []
    for lesion in findings.lesions:
        factor = float(np.exp(rng.normal(0, 0.1)))
        axes = tuple(axis * factor for axis in lesion.axes)
        changed.append(
            Lesion(
                lesion.kind, lesion.center, (axes[0], axes[1], axes[2]), lesion.hu, lesion.core,
                lesion.bronchogram, lesion.texture,
            )
        )  # fmt: skip
    return Findings(tuple(changed), findings.effusions, findings.filled)
