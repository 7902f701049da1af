from dataclasses import replace

import numpy as np
import pytest
import torch
from small_scans import SHAPE, scans
from small_volumes import DATA

from vismodels.config import ConfigError, parse_config
from vismodels.data.medmnist import LabelledVolumes
from vismodels.data.scans import write_scans
from vismodels.data.volume_files import write_volumes
from vismodels.methods.covidnet3d.config import DataConfig
from vismodels.methods.covidnet3d.data import load_split, volumes_of_medmnist, volumes_of_scans


def config(**changes):
    return parse_config(DataConfig, DATA | changes, "data")


def shapes(count=3, edge=28):
    images = np.zeros((count, edge, edge, edge), np.uint8)
    images[:, 8:20, 10:18, 12:16] = 255
    return LabelledVolumes(images, np.arange(count) % 2)


MASK = {"card": "glands", "classes": ["normal", "mass"], "positive": "mass"}


def test_scans_are_seen_through_the_window():
    found = volumes_of_scans(config(), scans(2))
    assert found.images.shape == (6, 1, *SHAPE)
    assert float(found.images.max()) == pytest.approx(2 * (40 + 1000) / 1400 - 1, abs=1e-6)
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.patients[:2] == ("p_CP_0", "p_CP_0")


def test_scans_can_be_resized():
    source = {"kind": "ct", "shape": [4, 5, 6]}
    assert volumes_of_scans(config(input=source), scans(1)).shape == (4, 5, 6)


def test_what_is_not_lung_can_be_left_out():
    source = {"kind": "ct", "only_lungs": True}
    made = scans(1)
    found, whole = volumes_of_scans(config(input=source), made), volumes_of_scans(config(), made)
    for scan, image, before in zip(made, found.images, whole.images, strict=True):
        lung = torch.from_numpy(scan.lung)
        assert (image[0][~lung] == -1).all()
        assert torch.equal(image[0][lung], before[0][lung])
    assert not (whole.images[:, 0, 0, 0, 0] == -1).any()


def test_only_lungs_need_a_lung_mask():
    made = [replace(scan, lung=None) for scan in scans(1)]
    with pytest.raises(ConfigError, match=r"CP_0 has no lung mask; set input\.only_lungs to false"):
        volumes_of_scans(config(input={"kind": "ct", "only_lungs": True}), made)


def test_a_class_that_is_not_named_is_refused():
    with pytest.raises(ConfigError, match="has scans of the class 'CP'"):
        volumes_of_scans(config(classes=["NCP", "Normal"]), scans(1))


def test_a_positive_class_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'NCP'"):
        config(positive="NPC")


def test_shapes_stay_or_get_a_distance_map():
    plain = volumes_of_medmnist(config(**MASK, input={"kind": "mask"}), "train", shapes())
    assert plain.images.shape == (3, 1, 28, 28, 28)
    assert set(plain.images.unique().tolist()) == {0.0, 1.0}
    source = {"kind": "mask", "size": 64, "form": "distance"}
    distance = volumes_of_medmnist(config(**MASK, input=source), "train", shapes(edge=64))
    assert distance.images.shape == (3, 2, 20, 28, 28)
    assert distance.names[0] == "train_0000"


def test_distances_of_coarse_voxels_are_refused():
    with pytest.raises(ConfigError, match=r"whose voxels are 2\.3 mm; set size to 64"):
        config(**MASK, input={"kind": "mask", "size": 28, "form": "distance"})


def test_grey_volumes_are_scaled():
    found = shapes()
    found.images[0, 0, 0, 0] = 51
    grey = volumes_of_medmnist(config(**MASK, input={"kind": "grey"}), "train", found)
    assert grey.images[0, 0, 0, 0, 0] == pytest.approx(-0.6)
    assert (float(grey.images.min()), float(grey.images.max())) == (-1, 1)


def test_grey_volumes_are_no_masks():
    found = shapes()
    found.images[1, 9, 12, 13] = 7
    with pytest.raises(ConfigError, match=r"glands has 3 grey levels, .* set input to \{kind"):
        volumes_of_medmnist(config(**MASK, input={"kind": "mask"}), "train", found)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_is_found_whatever_it_is_stored_as(split, tmp_path):
    (tmp_path / "ct" / split).mkdir(parents=True)
    write_scans(scans(1), tmp_path / "ct" / split)
    assert len(load_split(config(), tmp_path / "ct", split)) == 3
    about = config(**MASK, input={"kind": "mask"})
    made = volumes_of_medmnist(about, split, shapes())
    write_volumes(made, tmp_path / "mask" / split)
    read = load_split(about, tmp_path / "mask", split)
    assert torch.equal(read.images, made.images)
    assert read.names == made.names


def test_a_set_of_another_kind_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    write_scans(scans(1), tmp_path / "train")
    with pytest.raises(ConfigError, match="holds scans, but its input is 'mask'"):
        load_split(config(input={"kind": "mask"}), tmp_path, "train")


def test_a_set_prepared_with_other_classes_is_refused(tmp_path):
    about = config(**MASK, input={"kind": "mask"})
    write_volumes(volumes_of_medmnist(about, "train", shapes()), tmp_path / "train")
    other = config(**MASK | {"classes": ["mass", "normal"]}, input={"kind": "mask"})
    with pytest.raises(ConfigError, match="was prepared with the classes"):
        load_split(other, tmp_path, "train")
