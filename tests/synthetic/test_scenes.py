import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from vismodels.synthetic.scene_captions import CONCEPTS, VALUES, Attributes
from vismodels.synthetic.scene_config import SceneConfig
from vismodels.synthetic.scenes import (
    BACKGROUNDS,
    COLORS,
    OUTLINES,
    RADII,
    Geometry,
    Scene,
    draw_attributes,
    draw_geometry,
    make_scenes,
    render,
    render_all,
)

MIDDLE = Geometry(center=(15.0, 18.0), scale=1.0, star=(25.0, 7.0))
CONFIG = SceneConfig()
HARD = SceneConfig(jitter=2, corners=("left", "right"))


def picture(size="large", color="red", shape="square", background="gray", geometry=MIDDLE, **more):
    return render(Scene(Attributes(size, color, shape, background, **more), geometry))


def drawn(image, color):
    """Return where an image has exactly this colour."""
    return (image == np.array(color)).all(axis=2)


# --- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", VALUES["shape"])
@pytest.mark.parametrize("color", VALUES["color"])
def test_objects_and_backgrounds_have_their_colors(shape, color):
    image = picture(color=color, shape=shape, background="brown")
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert tuple(image[18, 15]) == COLORS[color]
    assert tuple(image[0, 0]) == tuple(image[31, 31]) == BACKGROUNDS["brown"]


@pytest.mark.parametrize("size", RADII)
@pytest.mark.parametrize("shape", VALUES["shape"])
def test_an_object_covers_the_area_of_its_outline(size, shape):
    """The shoelace formula is the oracle; OpenCV paints the pixels on the outline too."""
    x, y = np.array(OUTLINES[shape]).T * RADII[size]
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    edge = np.hypot(x - np.roll(x, 1), y - np.roll(y, 1)).sum()
    image = picture(size=size, color="white", shape=shape, background="black").astype(float)
    covered = ((image - image[0, 0]) / (245 - 15))[:, :, 0].sum()
    assert area - 1 < covered < area + edge / 2


def test_an_object_lies_where_its_geometry_says():
    for center in ((14.0, 17.0), (16.0, 19.0), (14.5, 18.25)):
        image = picture(color="white", background="black", geometry=Geometry(center, 1, (25, 7)))
        weights = (image - image[0, 0]).astype(float)[:, :, 0]
        rows, columns = np.indices(weights.shape) + 0.5
        found = ((columns * weights).sum(), (rows * weights).sum()) / weights.sum()
        assert found == pytest.approx(center, abs=0.26)  # half a drawn pixel


def test_shapes_differ_and_are_of_similar_size():
    images = {shape: picture(shape=shape) for shape in VALUES["shape"]}
    assert len({image.tobytes() for image in images.values()}) == 4
    sizes = {shape: drawn(image, COLORS["red"]).sum() for shape, image in images.items()}
    assert max(sizes.values()) < 2 * min(sizes.values())


def test_stripes_darken_every_other_pair_of_rows_of_the_background_only():
    plain, striped = picture(background="cyan"), picture(background="cyan", style="striped")
    dark = np.rint(np.array(BACKGROUNDS["cyan"]) * 0.45)
    rows = striped[:, 0]
    assert (rows[[0, 1, 4, 5]] == dark).all()
    assert (rows[[2, 3, 6, 7]] == BACKGROUNDS["cyan"]).all()
    inside = drawn(plain, COLORS["red"])
    assert inside.sum() > 100
    assert (striped[inside] == COLORS["red"]).all()


def test_night_darkens_everything_and_tints_it_blue():
    plain, night = picture(star=True), picture(star=True, style="night")
    expected = plain * 0.5 + np.array([0, 0, 50])
    assert np.abs(night - expected).max() <= 1  # rounded at another place


def test_a_star_is_in_its_corner_and_changes_nothing_else():
    without, with_star = picture(star=False), picture(star=True)
    changed = (without != with_star).any(axis=2)
    assert tuple(with_star[7, 25]) == COLORS["orange"]
    assert changed[:15, 17:].sum() == changed.sum() > 40
    left = picture(star=True, geometry=Geometry(MIDDLE.center, 1, (7.0, 7.0)))
    assert tuple(left[7, 7]) == COLORS["orange"]


@pytest.mark.parametrize("config", [CONFIG, HARD], ids=["default", "hard"])
def test_nothing_is_cut_off_and_small_objects_hide_no_star(config):
    for scene in make_scenes(config, "train", 60, 0):
        large = Attributes("large", "white", scene.attributes.shape, "black")
        lit = render(scene.showing(large)).astype(int).sum(axis=2) > 3 * 15
        assert not (lit[0].any() or lit[-1].any() or lit[:, 0].any() or lit[:, -1].any())
        star = render(scene.showing(Attributes("small", "white", "circle", "black", star=True)))
        assert drawn(star, COLORS["orange"]).sum() > 40


# --- sets --------------------------------------------------------------------------------------


def digest(scenes):
    return hashlib.sha256(
        repr(scenes).encode() + b"".join(render(scene).tobytes() for scene in scenes)
    ).hexdigest()


def test_a_scene_depends_on_seed_split_and_number_only():
    few, many = make_scenes(CONFIG, "train", 3, 0), make_scenes(CONFIG, "train", 6, 0)
    assert many[:3] == few
    others = [make_scenes(CONFIG, "test", 1, 0), make_scenes(CONFIG, "train", 1, 1)]
    assert all(other[0] != few[0] for other in others)


def test_scenes_are_the_same_in_every_process():
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; "
        "from synthetic.test_scenes import CONFIG, digest, make_scenes; "
        "print(digest(make_scenes(CONFIG, 'validation', 9, 4)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, *(path for path in sys.path if path)],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
    )
    assert output.stdout.split() == [digest(make_scenes(CONFIG, "validation", 9, 4))], output.stderr


def test_values_occur_as_often_as_they_should():
    rng = np.random.default_rng(0)
    contents = [draw_attributes(CONFIG, rng) for _ in range(4000)]

    def share(name, value):
        return sum(getattr(a, name) == value for a in contents) / len(contents)

    wanted = [("size", "small", 0.5), ("star", True, 0.4), ("style", "night", 0.3)]
    wanted += [("color", value, 1 / 6) for value in VALUES["color"]]
    wanted += [("shape", value, 1 / 4) for value in VALUES["shape"]]
    # Of a quarter of black backgrounds three tenths would be striped: they become another one.
    wanted += [("background", "black", 0.25 * 0.7), ("background", "cyan", 0.25 + 0.25 * 0.3 / 3)]
    for name, value, expected in wanted:
        error = 4 * (expected * (1 - expected) / len(contents)) ** 0.5
        assert share(name, value) == pytest.approx(expected, abs=error), (name, value)


def test_geometry_stays_within_its_limits():
    rng = np.random.default_rng(0)
    default = [draw_geometry(CONFIG, rng) for _ in range(300)]
    hard = [draw_geometry(HARD, rng) for _ in range(300)]
    for drawn_here, jitter in ((default, 1), (hard, 2)):
        x, y = np.array([g.center for g in drawn_here]).T
        assert 1.8 * jitter < np.ptp(x) <= 2 * jitter
        assert 1.8 * jitter < np.ptp(y) <= 2 * jitter
        assert all(0.95 <= g.scale <= 1.05 for g in drawn_here)
        assert all(abs(g.star[1] - 7) <= jitter / 2 for g in drawn_here)
    assert all(g.star[0] > 24 for g in default)
    left = sum(g.star[0] < 16 for g in hard)
    assert 110 < left < 190


def test_the_counterfactual_of_a_scene_has_its_geometry():
    star = CONCEPTS["star"]
    scene = next(s for s in make_scenes(CONFIG, "test", 50, 0) if star.is_in(s.attributes))
    without = scene.showing(star.removed(scene.attributes))
    assert without.geometry == scene.geometry
    with_star, bare = render_all([scene, without])
    changed = (with_star != bare).any(axis=2)
    assert 0 < changed.sum() == changed[:16, 16:].sum()
