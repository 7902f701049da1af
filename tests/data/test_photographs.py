import numpy as np
import pytest
from PIL import Image

from vismodels.config import parse_config
from vismodels.data.images import box_shrink, crop_to_multiple, read_image, write_png
from vismodels.data.manifest import PhotographsConfig, acquire, locate, write_acquired
from vismodels.data.pairs import Pair
from vismodels.data.photographs import lr_difference, prepare_photographs, read_split
from vismodels.data.resize import bicubic_resize
from vismodels.files import FileError

PACKAGED = "wheel_photographs"


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "Daten mit ü"


def prepare(name, root, tmp_path, scale=4, shrink_jpeg=()):
    """Acquire and prepare a set; return the folder of pairs and the record."""
    write_acquired(acquire(name, root), tmp_path / "acquired")
    section = {"scale": scale, "shrink_jpeg": list(shrink_jpeg)}
    config = parse_config(PhotographsConfig, section, "photographs")
    folder = tmp_path / "prepared" / name
    return folder, prepare_photographs(config, name, root, tmp_path / "acquired", folder)


def put(root, **images):
    """Write images to the set `Own`, which has no card."""
    for name, image in images.items():
        write_png(root / "sr" / "Own" / f"{name}.png", image)


# --- sets without a card -----------------------------------------------------------------------


def test_pairs_are_the_cropped_image_and_its_bicubic_reduction(root, tmp_path):
    images = {"a": random_image(22, 17), "b ü": random_image(16, 18, 1)}
    put(root, **images)
    folder, score = prepare("Own", root, tmp_path)
    pairs = read_split([folder], "test", 4)
    assert pairs.names == ("a", "b ü")
    for pair in pairs:
        assert np.array_equal(pair.hr, crop_to_multiple(images[pair.name], 4))
        assert np.array_equal(pair.lr, bicubic_resize(pair.hr, scale=1 / 4))
    assert (score.stage, score.variant) == ("data_photographs", "Own")
    assert score.value("items").value == 2
    assert score.value("megapixels").value == (20 * 16 + 16 * 16) / 1e6
    assert score.dataset == {"card": "Own", "items": 2}
    assert score.gates == []


def test_a_set_without_splits_serves_every_split_whole(root, tmp_path):
    put(root, a=random_image(16, 16))
    folder, _ = prepare("Own", root, tmp_path)
    assert read_split([folder], "train", 4).names == read_split([folder], "test", 4).names


def test_jpeg_files_of_named_sets_are_halved_first(root, tmp_path):
    path = root / "sr" / "Own" / "a.jpg"
    path.parent.mkdir(parents=True)
    Image.fromarray(random_image(40, 48)).save(path)
    put(root, b=random_image(16, 16))
    folder, _ = prepare("Own", root, tmp_path, shrink_jpeg=["Own"])
    halved, kept = read_split([folder], "test", 4)
    assert np.array_equal(halved.hr, box_shrink(read_image(path), 2))
    assert kept.hr.shape == (16, 16, 3)
    other, _ = prepare("Own", root, tmp_path / "other", shrink_jpeg=["Another"])
    assert read_split([other], "test", 4).pairs[0].hr.shape == (40, 48, 3)


def test_stored_pairs_are_kept_and_our_reduction_is_compared_with_them(root, tmp_path):
    hr = random_image(32, 24)
    theirs = bicubic_resize(hr, scale=1 / 4, border="replicate")
    put(root, img_001_SRF_4_HR=hr, img_001_SRF_4_LR=theirs)
    folder, score = prepare("Own", root, tmp_path)
    (pair,) = read_split([folder], "test", 4)
    assert pair.name == "img_001"
    assert np.array_equal(pair.lr, theirs)
    assert score.value("lr_difference").items == {"img_001": 0.0}
    (gate,) = score.gates
    assert (gate.value, gate.bound, gate.at_least, gate.passed) == (0.0, 0, False, True)


def test_stored_pairs_made_otherwise_fail_the_gate_and_are_kept(root, tmp_path):
    hr = random_image(32, 24)
    theirs = bicubic_resize(hr, scale=1 / 4, border="replicate")
    theirs[0, 0, 0] ^= 4
    put(root, img_001_SRF_4_HR=hr, img_001_SRF_4_LR=theirs)
    folder, score = prepare("Own", root, tmp_path)
    assert np.array_equal(read_split([folder], "test", 4).pairs[0].lr, theirs)
    assert (score.gates[0].value, score.gates[0].passed) == (4.0, False)


def test_difference_is_the_largest_in_levels_and_never_wraps_around():
    hr = np.zeros((8, 8, 3), dtype=np.uint8)
    assert lr_difference(Pair("a", hr, np.full((2, 2, 3), 255, dtype=np.uint8))) == 255.0


# --- sets with a card --------------------------------------------------------------------------


def test_packaged_photographs_are_divided_as_their_card_says(root, tmp_path):
    folder, score = prepare(PACKAGED, root, tmp_path, shrink_jpeg=[PACKAGED])
    test = read_split([folder], "test", 4)
    assert set(test.names) == {"chelsea", "coffee", "rocket", "flower"}
    train, validation = (read_split([folder], split, 4) for split in ("train", "validation"))
    assert not set(train.names) & set(test.names)
    assert not set(train.names) & set(validation.names)
    assert not set(validation.names) & set(test.names)
    views = {"motorcycle_left", "motorcycle_right"}  # of one scene
    assert sum(bool(views & set(part.names)) for part in (train, validation, test)) <= 1
    counts = {"train": len(train), "validation": len(validation), "test": len(test)}
    assert counts.items() <= score.budget.items()
    assert score.value("items").value == sum(score.budget.values())


def test_a_split_that_a_set_does_not_have_is_named(root, tmp_path):
    folder, _ = prepare(PACKAGED, root, tmp_path)
    with pytest.raises(FileError, match="wheel_photographs/testing: no such folder"):
        read_split([folder], "testing", 4)


def test_pairs_of_another_scale_than_prepared_are_refused(root, tmp_path):
    put(root, a=random_image(24, 24))
    folder, _ = prepare("Own", root, tmp_path)
    with pytest.raises(FileError, match="no stored pair of scale 3"):
        read_split([folder], "test", 3)


def test_two_sets_with_an_image_of_one_name_are_refused_together(root, tmp_path):
    put(root, a=random_image(16, 16))
    folder, _ = prepare("Own", root, tmp_path)
    with pytest.raises(ValueError, match="two pairs have the name 'a'"):
        read_split([folder, folder], "test", 4)


# --- what is refused ---------------------------------------------------------------------------


def test_data_that_changed_since_it_was_acquired_is_refused(root, tmp_path):
    put(root, a=random_image(16, 16))
    write_acquired(acquire("Own", root), tmp_path / "acquired")
    put(root, a=random_image(16, 16, 1))
    config = parse_config(PhotographsConfig, {"scale": 4, "shrink_jpeg": []}, "photographs")
    with pytest.raises(FileError, match="1 files are not what was acquired"):
        prepare_photographs(config, "Own", root, tmp_path / "acquired", tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


def test_an_unreadable_image_is_named(root, tmp_path):
    put(root, a=random_image(16, 16))
    (root / "sr" / "Own" / "b.png").write_bytes(b"no image")
    with pytest.raises(FileError, match=r"b\.png: cannot be read as an image"):
        prepare("Own", root, tmp_path)


def test_an_image_smaller_than_the_scale_is_named(root, tmp_path):
    put(root, tiny=random_image(3, 16))
    with pytest.raises(FileError, match=r"Own: .*3x16 image has no crop"):
        prepare("Own", root, tmp_path)


def test_preparing_again_gives_equal_bytes(root, tmp_path):
    put(root, a=random_image(16, 16))
    first, _ = prepare("Own", root, tmp_path)
    again, _ = prepare("Own", root, tmp_path / "again")
    for path in sorted(first.rglob("*.png")):
        assert path.read_bytes() == (again / path.relative_to(first)).read_bytes()
    assert locate("Own", root).files.keys() == {"a.png"}
