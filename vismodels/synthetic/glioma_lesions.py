"""Tumors of generated glioma cases: where they start, how they grow, what they push aside.

Edema is where a front that starts in the middle of a tumor arrives first: it runs along white
matter, slowly through gray matter, hardly through fluid, not out of the brain. The core lies in it,
necrosis deep in the core, and what enhances is a rim between the two, with gaps. Every level is
chosen by rank among the voxels of the level below, so levels are nested and their volumes are
the ones that were drawn. Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vismodels.synthetic.glioma_anatomy import Anatomy, Floats
from vismodels.synthetic.random_fields import smooth_noise

RADIUS = (18.5, 28.5)  # mm, of a ball of the volume of the whole tumor
CORE, NECROSIS = (0.52, 0.75), (0.35, 0.75)  # radii, of the whole tumor's and of the core's
SATELLITE = (0.4, 0.6)  # radius of a further focus, of the first one's
SATELLITE_DISTANCE = (1.2, 2.5)  # from the first focus, in radii of it
MANTLE = 3.0  # mm of edema that the core rather leaves around itself
AXES = (0.8, 1.25)  # of the core's ellipsoid
GAPS = (0.05, 0.2)  # share of the rim that does not enhance
PUSH = (0.2, 0.55)  # how far tissue in the middle of a tumor is spread
MIN_WHITE = 0.6  # share of white matter where a tumor starts
SLOWNESS_GRAY, SLOWNESS_FLUID = 2.5, 8.0  # of the front, added to 1
ROUGHNESS, ROUGHNESS_SIGMA = 0.3, 6.0  # of borders: log-scale, mm
BOX = 2.2  # half the edge of the box in which a focus grows, in radii of it
SKULL = 12.0  # mm below the surface from which on tissue moves freely


@dataclass(frozen=True)
class Tumor:
    """One focus.

    Args:
        center: (3,) voxel indices.
        radius: of a ball of its volume, mm.
        core: radius of its core, relative to `radius`.
        necrosis: radius of its necrosis, relative to the core's.
        gaps: share of the rim that does not enhance.
    """

    center: tuple[int, int, int]
    radius: float
    core: float
    necrosis: float
    gaps: float


def draw_tumors(
    white: Floats, spacing: float, multifocal: float, rng: np.random.Generator
) -> list[Tumor]:
    """Return the foci of one patient, the largest first.

    Args:
        white: (D, H, W) share of white matter where gliomas arise.
        spacing: mm.
        multifocal: share of patients with one or two further foci.
        rng: source of all choices.
    """
    hosts = np.argwhere(white > MIN_WHITE)
    first = _tumor(hosts, float(rng.uniform(*RADIUS)), rng)
    tumors = [first]
    if rng.random() < multifocal:
        distance = np.linalg.norm(hosts - first.center, axis=1) * spacing / first.radius
        near = hosts[(distance > SATELLITE_DISTANCE[0]) & (distance < SATELLITE_DISTANCE[1])]
        for _ in range(int(rng.integers(1, 3)) if len(near) else 0):
            tumors.append(_tumor(near, first.radius * float(rng.uniform(*SATELLITE)), rng))
    return tumors


def pushed(
    places: Floats, tumor: Tumor, depth: Floats, spacing: float, rng: np.random.Generator
) -> Floats:
    """Return the places of the template after a tumor made room for itself.

    Tissue moves away from the tumor's middle, less the farther it is, and not at the skull.

    Args:
        places: (3, D, H, W) voxel indices of the template.
        tumor: the largest focus.
        depth: (D, H, W) mm to the surface of the brain.
        spacing: mm.
        rng: source of the strength.
    """
    offsets = np.indices(depth.shape, dtype=np.float32)
    offsets -= np.array(tumor.center, np.float32).reshape(3, 1, 1, 1)
    reach = tumor.radius / spacing
    fall = np.exp(-(offsets**2).sum(axis=0) / np.float32(reach**2))
    fall *= (depth / SKULL).clip(0, 1) * np.float32(rng.uniform(*PUSH))
    return np.asarray(places - offsets * fall, np.float32)


def grow(
    tumors: Sequence[Tumor],
    anatomy: Anatomy,
    enhancing: bool,
    spacing: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return (D, H, W) levels: 1 edema, 2 core, 3 enhancing; foci that meet grow together.

    Args:
        tumors: foci of one patient.
        anatomy: of the patient.
        enhancing: whether there is any level 3.
        spacing: mm.
        rng: source of all outlines.
    """
    slowness = 1 + SLOWNESS_GRAY * anatomy.gray + SLOWNESS_FLUID * anatomy.fluid
    slowness[~anatomy.brain] = np.inf
    levels = np.zeros(slowness.shape, np.uint8)
    for tumor in tumors:
        half = int(np.ceil(BOX * tumor.radius / spacing))
        box = tuple(slice(max(c - half, 0), c + half + 1) for c in tumor.center)
        start = tuple(c - part.start for c, part in zip(tumor.center, box, strict=True))
        focus = _focus(tumor, start, slowness[box], enhancing, spacing, rng)
        np.maximum(levels[box], focus, out=levels[box])
    return levels


def _tumor(hosts: NDArray[np.int64], radius: float, rng: np.random.Generator) -> Tumor:
    depth, height, width = hosts[rng.integers(len(hosts))].tolist()
    core = float(rng.uniform(*CORE))
    smallest, largest = RADIUS[0] * CORE[0], RADIUS[1] * CORE[1]
    size = np.clip((radius * core - smallest) / (largest - smallest), 0, 1)
    low, high = NECROSIS
    return Tumor(
        center=(depth, height, width),
        radius=radius,
        core=core,
        necrosis=float(low + (high - low) * (size + rng.uniform()) / 2),  # large cores die inside
        gaps=float(rng.uniform(*GAPS)),
    )


def _focus(
    tumor: Tumor,
    start: tuple[int, ...],
    slowness: Floats,
    enhancing: bool,
    spacing: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return the levels of one focus in a box of the brain that has its middle at `start`."""
    from scipy.ndimage import distance_transform_edt

    def rough() -> Floats:
        noise = smooth_noise(slowness.shape, ROUGHNESS_SIGMA / spacing, rng)
        return np.asarray(np.exp(ROUGHNESS * noise), np.float32)

    radius = tumor.radius / spacing
    whole = _first(_arrival(slowness * rough(), start), radius)
    border = distance_transform_edt(whole) * (spacing / MANTLE)
    distance = _ellipsoid(slowness.shape, start, rng) * rough() * (1 + np.exp(-border))
    core = _first(np.where(whole, distance, np.inf), radius * tumor.core)
    levels = whole.astype(np.uint8) + core
    if enhancing:
        inward = distance_transform_edt(core) * rough()
        necrosis = _first(np.where(core, -inward, np.inf), radius * tumor.core * tumor.necrosis)
        rim = core & ~necrosis
        patches = smooth_noise(slowness.shape, ROUGHNESS_SIGMA / spacing, rng)
        levels += rim & (patches <= np.quantile(patches[rim], 1 - tumor.gaps))
    return np.asarray(levels, np.uint8)


def _arrival(slowness: Floats, start: tuple[int, ...]) -> NDArray[np.float64]:
    """Return when a front from `start` arrives at every voxel, infinity where it never does."""
    from skimage.graph import MCP_Geometric

    passable = np.where(np.isfinite(slowness), slowness, -1)  # negative costs are walls
    times, _ = MCP_Geometric(passable).find_costs([start])
    return np.asarray(times, np.float64)


def _ellipsoid(shape: tuple[int, ...], center: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return the distance from a point in a space that is stretched along three random axes."""
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    offsets = np.indices(shape, dtype=np.float32) - np.array(center, np.float32).reshape(3, 1, 1, 1)
    along = np.tensordot((axes / rng.uniform(*AXES, 3)).T.astype(np.float32), offsets, 1)
    return np.asarray(np.sqrt((along**2).sum(axis=0)), np.float32)


def _first(order: NDArray[np.floating], radius: float) -> NDArray[np.bool_]:
    """Return the voxels that come first, as many as a ball of `radius` voxels has; none at inf."""
    count = round(4 / 3 * np.pi * radius**3)
    possible = np.flatnonzero(np.isfinite(order))
    chosen = possible[np.argsort(order.ravel()[possible], kind="stable")[:count]]
    mask = np.zeros(order.size, np.bool_)
    mask[chosen] = True
    return mask.reshape(order.shape)
