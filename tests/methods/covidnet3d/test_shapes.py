import json

import numpy as np
import pytest
from found_sets import acquired_set, found_set

from vismodels.config import parse_config
from vismodels.data.volume_files import read_volumes
from vismodels.files import FileError
from vismodels.methods.covidnet3d import shapes as module
from vismodels.methods.covidnet3d.config import ShapesConfig
from vismodels.methods.covidnet3d.scoring_stage import shape_shortcuts
from vismodels.methods.covidnet3d.shapes import FEATURES, prepare_shapes


def shapes(count, rng):
    """Return balls of radius 3 and 6; the thick ones are of class 1."""
    grid = np.indices((28, 28, 28)) - 13.5
    radius = np.sqrt((grid**2).sum(0))
    labels = np.arange(count) % 2
    sizes = 3 + 3 * labels + rng.uniform(0, 0.5, count)
    images = np.stack([255 * (radius < size) for size in sizes]).astype(np.uint8)
    return images, labels[:, None].astype(np.uint8)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with a set of balls that has no card."""
    folder = tmp_path / "balls"
    folder.mkdir()
    rng = np.random.default_rng(0)
    parts = {}
    for split, count in (("train", 12), ("val", 4), ("test", 6)):
        parts[f"{split}_images"], parts[f"{split}_labels"] = shapes(count, rng)
    np.savez(folder / "balls.npz", **parts)
    found = found_set("balls", folder)
    acquired_set(found, tmp_path / "acquired")
    monkeypatch.setattr(module, "locate", lambda *_: found)
    return tmp_path


def config(**source):
    section = {
        "data": {
            "card": "balls",
            "input": {"kind": "mask"} | source,
            "classes": ["thin", "thick"],
            "positive": "thick",
        }
    }
    return parse_config(ShapesConfig, section, "shapes")


def test_every_split_is_prepared(root):
    scores = prepare_shapes(config(), root, root / "acquired", root / "out")
    assert [(s.variant, s.value("items").value) for s in scores] == [
        ("train", 12),
        ("validation", 4),
        ("test", 6),
    ]
    assert read_volumes(root / "out" / "train").images.shape == (12, 1, 28, 28, 28)
    features = json.loads((root / "out" / "test" / FEATURES).read_text())
    assert len(features["names"]) == 25
    assert len(features["rows"]) == 6


def test_thickness_tells_thin_from_thick_without_a_network(root):
    prepare_shapes(config(), root, root / "acquired", root / "out")
    train, test = (read_volumes(root / "out" / split) for split in ("train", "test"))
    found = shape_shortcuts(train, test, root / "out")
    assert found.keys() == {"majority", "thickness", "shape_features"}
    assert found["thickness"].argmax(1).tolist() == test.labels.tolist()


def test_grey_volumes_have_no_shapes(root):
    about = config(kind="grey")
    prepare_shapes(about, root, root / "acquired", root / "out")
    train, test = (read_volumes(root / "out" / split) for split in ("train", "test"))
    assert float(train.images.min()) == -1
    assert shape_shortcuts(train, test, root / "out").keys() == {"majority"}


def test_a_size_that_is_not_there_is_named(root):
    with pytest.raises(FileError, match=r"no file balls_64\.npz among balls\.npz"):
        prepare_shapes(config(size=64), root, root / "acquired", root / "out")


def test_data_that_changed_is_refused(root):
    path = root / "balls" / "balls.npz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(FileError, match="not what was acquired"):
        prepare_shapes(config(), root, root / "acquired", root / "out")
