"""A generated chest: body, lungs, heart, bones, airways and vessels, each person's own.

Everything is analytic in millimetres, so that a person can be scanned again in another pose. Axes
are (z, y, x): z from the feet up, y from front to back, x from the person's right to the left;
the origin is the middle of the field of view. Torch-free.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Point = tuple[float, float, float]
RIGHT, LEFT = -1, 1

AIR, WALL, BLOOD, WATER = -1000.0, -100.0, 40.0, 10.0  # HU
TREE_RATIO, VESSEL_RATIO = 0.75, 0.78  # of the radii of two generations


@dataclass(frozen=True)
class Lung:
    """Half of an ellipsoid above a dome.

    Args:
        side: `RIGHT` or `LEFT`.
        center: (z, y, x) of the ellipsoid, mm.
        axes: its half-axes, mm.
        base: z of the rim of the diaphragm.
        dome: by how much its middle is higher.
    """

    side: int
    center: Point
    axes: Point
    base: float
    dome: float

    def radius(self, z: Floats, y: Floats, x: Floats) -> Floats:
        """Return the relative distance from the centre: 1 on the ellipsoid."""
        parts = (
            ((value - middle) / axis) ** 2
            for value, middle, axis in zip((z, y, x), self.center, self.axes, strict=True)
        )
        return np.asarray(np.sqrt(sum(parts)), np.float32)

    def floor(self, y: Floats, x: Floats) -> Floats:
        """Return z of the diaphragm."""
        _, middle_y, middle_x = self.center
        _, axis_y, axis_x = self.axes
        off = ((y - middle_y) / axis_y) ** 2 + ((x - middle_x) / axis_x) ** 2
        return np.asarray(self.base + self.dome * (1 - off), np.float32)


@dataclass(frozen=True)
class Tubes:
    """Segments of a branching tree.

    Args:
        start: (n, 3) mm.
        end: (n, 3) mm.
        radius: (n,) mm.
    """

    start: Floats
    end: Floats
    radius: Floats


@dataclass(frozen=True)
class Anatomy:
    """What is a person's own.

    Args:
        body: half-axes (y, x), mm.
        exponent: of the superellipse.
        fat: thickness of the fat under the skin, mm, and its HU.
        muscle: HU.
        bone: HU.
        lungs: right and left.
        heart: centre and half-axes.
        mediastinum: half-axes (y, x) of what lies between the lungs.
        parenchyma: mean HU of the lungs, and what gravity adds from front to back.
        airways: the trachea and its branches.
        vessels: arteries and veins of the lungs.
    """

    body: tuple[float, float]
    exponent: float
    fat: tuple[float, float]
    muscle: float
    bone: float
    lungs: tuple[Lung, Lung]
    heart: tuple[Point, Point]
    mediastinum: tuple[float, float]
    parenchyma: tuple[float, float]
    airways: Tubes
    vessels: Tubes

    def in_lung(self, lung: Lung, z: Floats, y: Floats, x: Floats) -> NDArray[np.bool_]:
        """Return where a lung is."""
        depth, width = self.mediastinum
        middle = ((y + 5) / depth) ** 2 + (x / width) ** 2 < 1
        center, axes = self.heart
        heart = (
            ((z - center[0]) / axes[0]) ** 2
            + ((y - center[1]) / axes[1]) ** 2
            + ((x - center[2]) / axes[2]) ** 2
        ) < 1
        inside: NDArray[np.bool_] = (
            (lung.radius(z, y, x) < 1) & (z > lung.floor(y, x)) & (lung.side * x > 0)
        )
        return np.asarray(inside & ~middle & ~heart)


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Return a person."""
    body = (rng.uniform(100, 130), rng.uniform(150, 190))
    tall, deep, wide = rng.uniform(0.9, 1.1), body[0] / 115, body[1] / 170
    base = -105 * tall
    lungs = []
    for side, size in ((RIGHT, 1.05), (LEFT, 0.95)):
        lungs.append(
            Lung(
                side=side,
                center=(-15 * tall, rng.uniform(-4, 4), side * 72 * wide),
                axes=(125 * tall * size, 82 * deep, 58 * wide * size),
                base=base + (8 if side == RIGHT else 0),
                dome=rng.uniform(25, 50),
            )
        )
    heart = (
        (-55 * tall + rng.uniform(-8, 8), -28 * deep, 22 * wide),
        (52 * rng.uniform(0.9, 1.15), 40 * deep, 50 * wide * rng.uniform(0.9, 1.15)),
    )
    mean = rng.normal(-850, 30) + rng.uniform(0, 120)  # the latter by a poor inspiration
    right, left = lungs
    return Anatomy(
        body=body,
        exponent=rng.uniform(2.2, 2.6),
        fat=(rng.uniform(5, 25), rng.normal(-100, 15)),
        muscle=rng.normal(45, 10),
        bone=rng.uniform(300, 700),
        lungs=(right, left),
        heart=heart,
        mediastinum=(70 * deep, rng.uniform(24, 32) * wide),
        parenchyma=(mean, rng.uniform(20, 60)),
        airways=_airways(right, left, rng),
        vessels=_vessels(right, left, rng),
    )


def _airways(right: Lung, left: Lung, rng: np.random.Generator) -> Tubes:
    """Return the trachea and five generations of branches."""
    radius = rng.uniform(8, 10)
    carina = np.array([30.0, 5.0, 0.0]) + rng.normal(0, 4, 3)
    top = carina + np.array([130.0, 0.0, 0.0])
    tubes = [(top, carina, radius)]
    for lung in (right, left):
        tubes += _branches(
            carina, np.array([-0.6, 0.1, lung.side * 0.8]), radius * 0.8, 45.0, 4, TREE_RATIO, rng
        )
    return _tubes(tubes)


def _vessels(right: Lung, left: Lung, rng: np.random.Generator) -> Tubes:
    """Return two trees of seven generations in each lung."""
    tubes = []
    for lung in (right, left):
        hilum = np.array([lung.center[0] + 10, 5.0, lung.side * 28.0])
        for lift in (0.7, -0.8):
            direction = np.array([lift, rng.uniform(-0.3, 0.5), lung.side * 0.8])
            start = hilum + rng.normal(0, 5, 3)
            tubes += _branches(start, direction, 6.0, 38.0, 7, VESSEL_RATIO, rng)
    return _tubes(tubes)


def _branches(
    start: NDArray[np.float64],
    direction: NDArray[np.float64],
    radius: float,
    length: float,
    generations: int,
    ratio: float,
    rng: np.random.Generator,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Return a tree: every tube ends in two that are narrower, shorter and turned apart."""
    tubes = []
    growing = [(start, direction / np.linalg.norm(direction), radius, length)]
    for _ in range(generations):
        following = []
        for begin, course, thick, long in growing:
            end = begin + course * long * rng.uniform(0.8, 1.2)
            tubes.append((begin, end, thick))
            aside = np.cross(course, rng.normal(size=3))
            aside /= np.linalg.norm(aside)
            for sign in (-1, 1):
                turned = course + sign * rng.uniform(0.4, 0.8) * aside
                following.append((end, turned / np.linalg.norm(turned), thick * ratio, long * 0.8))
        growing = following
    return tubes


def _tubes(tubes: list[tuple[NDArray[np.float64], NDArray[np.float64], float]]) -> Tubes:
    starts, ends, radii = zip(*tubes, strict=True)
    return Tubes(
        np.array(starts, np.float32), np.array(ends, np.float32), np.array(radii, np.float32)
    )
