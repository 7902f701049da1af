"""Generated scenes of 32x32 pixels with exact labels: an object, perhaps a star, and a style.

A scene is its content and its geometry; the same geometry with other content is its exact
counterfactual. A scene depends on the seed, its split and its number only. Torch-free.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vismodels.data.cv import opencv
from vismodels.data.images import box_shrink
from vismodels.seeding import numpy_generator
from vismodels.synthetic.scene_captions import VALUES, Attributes, can_be
from vismodels.synthetic.scene_config import SceneConfig

SceneSplit = Literal["train", "judge", "validation", "test"]
Point = tuple[float, float]  # x, y in pixels from the upper left corner of the image
EDGE = 32
FINE = 2  # pixels are means over FINE x FINE drawn ones
OBJECT: Point = (15.0, 18.0)
STAR: Point = (25.0, 7.0)  # in the right corner
STAR_RADIUS = 7.0
RADII = {"small": 6.0, "large": 10.0}
SCALES = (0.95, 1.05)  # of the object
COLORS: Mapping[str, tuple[int, int, int]] = {  # RGB
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (50, 80, 225),
    "yellow": (245, 225, 50),
    "pink": (245, 130, 190),
    "white": (245, 245, 245),
    "orange": (255, 150, 20),  # the star
}
BACKGROUNDS: Mapping[str, tuple[int, int, int]] = {
    "black": (15, 15, 15),
    "gray": (128, 128, 128),
    "brown": (120, 75, 40),
    "cyan": (90, 190, 200),
}
STRIPE_ROWS, STRIPE_LIGHT = 4, 0.45  # height in drawn pixels, and the light left in each other one
NIGHT_LIGHT, NIGHT_TINT = 0.5, (0, 0, 50)
_FRACTION_BITS = 8  # OpenCV takes points in fractions of a pixel as integers


def _star(points: int, inner: float) -> list[Point]:
    turns = [math.pi * number / points for number in range(2 * points)]
    radii = [inner if number % 2 else 1.0 for number in range(2 * points)]
    return [(r * math.sin(t), -r * math.cos(t)) for r, t in zip(radii, turns, strict=True)]


OUTLINES: Mapping[str, Sequence[Point]] = {  # in radii, around the center
    "circle": _star(24, 1.0),
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0.0, -1.1), (1.05, 0.8), (-1.05, 0.8)],
    "cross": [
        *((-0.34, -1.0), (0.34, -1.0), (0.34, -0.34), (1.0, -0.34), (1.0, 0.34), (0.34, 0.34)),
        *((0.34, 1.0), (-0.34, 1.0), (-0.34, 0.34), (-1.0, 0.34), (-1.0, -0.34), (-0.34, -0.34)),
    ],
    "star": _star(5, 0.45),
}


@dataclass(frozen=True)
class Geometry:
    """Where things lie, whether or not they are there.

    Args:
        center: of the object.
        scale: of the object's radius.
        star: center of the star.
    """

    center: Point
    scale: float
    star: Point


@dataclass(frozen=True)
class Scene:
    """A scene before it is drawn."""

    attributes: Attributes
    geometry: Geometry

    def showing(self, attributes: Attributes) -> "Scene":
        """Return a scene of other content with the same geometry."""
        return replace(self, attributes=attributes)


def draw_geometry(config: SceneConfig, rng: np.random.Generator) -> Geometry:
    """Return a random geometry; the star moves half as far as the object."""

    def near(place: Point, reach: float) -> Point:
        return (
            float(rng.uniform(place[0] - reach, place[0] + reach)),
            float(rng.uniform(place[1] - reach, place[1] + reach)),
        )

    center = near(OBJECT, config.jitter)
    scale = float(rng.uniform(*SCALES))
    x, y = near(STAR, config.jitter / 2)
    corner = config.corners[int(rng.integers(len(config.corners)))]
    return Geometry(center, scale, (x if corner == "right" else EDGE - x, y))


def draw_attributes(config: SceneConfig, rng: np.random.Generator) -> Attributes:
    """Return random content, as often with a star and in each style as the configuration says."""

    def one_of(name: str) -> str:
        return str(VALUES[name][int(rng.integers(len(VALUES[name])))])

    size, color, shape, background = map(one_of, ("size", "color", "shape", "background"))
    star = bool(rng.random() < config.star_share)
    style = str(VALUES["style"][int(rng.choice(len(VALUES["style"]), p=config.style_shares))])
    if not can_be(background, style):
        visible = [str(name) for name in VALUES["background"] if can_be(name, style)]
        background = visible[int(rng.integers(len(visible)))]
    return Attributes(size, color, shape, background, star, style)


def make_scenes(config: SceneConfig, split: SceneSplit, count: int, seed: int) -> list[Scene]:
    """Return the first scenes of a split.

    Args:
        config: where things lie, how often they occur.
        split: which scenes.
        count: how many; more of them are the same ones and further ones.
        seed: of the run.
    """
    return [_make_scene(config, numpy_generator(seed, "scenes", split, i)) for i in range(count)]


def render(scene: Scene) -> NDArray[np.uint8]:
    """Return the picture of a scene, (32, 32, 3) uint8 RGB.

    Stripes darken the background only, night everything. The object lies over the star.
    """
    attributes, geometry = scene.attributes, scene.geometry
    canvas = np.empty((FINE * EDGE, FINE * EDGE, 3), np.float32)
    canvas[:] = BACKGROUNDS[attributes.background]
    if attributes.style == "striped":
        canvas[(np.arange(FINE * EDGE) // STRIPE_ROWS) % 2 == 0] *= STRIPE_LIGHT
    if attributes.star:
        _fill(canvas, "star", geometry.star, STAR_RADIUS, "orange")
    radius = geometry.scale * RADII[attributes.size]
    _fill(canvas, attributes.shape, geometry.center, radius, attributes.color)
    if attributes.style == "night":
        canvas = NIGHT_LIGHT * canvas + np.array(NIGHT_TINT, np.float32)
    return box_shrink(np.rint(canvas).clip(0, 255).astype(np.uint8), FINE)


def render_all(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Return the pictures of scenes, (N, 32, 32, 3) uint8 RGB."""
    return np.stack([render(scene) for scene in scenes])


def _make_scene(config: SceneConfig, rng: np.random.Generator) -> Scene:
    attributes = draw_attributes(config, rng)
    return Scene(attributes, draw_geometry(config, rng))


def _fill(
    canvas: NDArray[np.float32], outline: str, center: Point, radius: float, color: str
) -> None:
    """Paint an outline; `center` and `radius` are in pixels of the image."""
    points = np.array(OUTLINES[outline]) * radius + np.array(center)
    drawn = FINE * points - 0.5  # OpenCV counts from the middle of the first pixel
    fixed = np.rint(drawn * 2**_FRACTION_BITS).astype(np.int32)
    opencv().fillPoly(canvas, [fixed], COLORS[color], shift=_FRACTION_BITS)
