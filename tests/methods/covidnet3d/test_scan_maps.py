from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from small_volumes import SPACE

from vismodels.config import parse_config
from vismodels.data.ct import read_ct
from vismodels.data.images import write_png
from vismodels.data.slice_images import SliceGeometry
from vismodels.methods.covidnet3d.config import CTInput
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.scan_maps import write_map

SHAPE = (24, 20, 10)  # of the file: left, front, head
INPUT = {"kind": "ct", "shape": [8, 12, 12]}


@pytest.fixture
def network():
    made = CovidNet3D(SPACE, {})
    made.initialize_(torch.Generator().manual_seed(0))
    return made


@pytest.fixture
def path(tmp_path):
    """Return a file in another orientation than ours: a body with a lung, and noise."""
    voxels = np.random.default_rng(0).normal(40, 20, SHAPE)
    voxels[[0, -1]] = voxels[:, [0, -1]] = -1000
    voxels[6:18, 6:14, 3:8] = -850
    affine = np.array([[-2.0, 0, 0, 40], [0, 2.5, 0, -30], [0, 0, 5, 7], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(voxels.round().astype(np.int16), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def source(**changes):
    return parse_config(CTInput, INPUT | changes, "input")


def test_a_map_lies_on_its_scan_and_its_mean_is_the_logit(network, path, tmp_path):
    logits = write_map(network, source(), read_ct(path), tmp_path / "map.nii.gz", target=1)
    scan, written = nibabel.load(path), nibabel.load(tmp_path / "map.nii.gz")
    assert written.shape == scan.shape
    assert np.allclose(written.affine, scan.affine)
    mean = np.asarray(written.dataobj).mean()
    bias = network.trunk.classifier.bias[1].item()
    assert logits[1] == pytest.approx(mean + bias, abs=0.05 * float(np.abs(logits).max()) + 1e-3)


def test_without_a_target_the_named_class_is_explained(network, path, tmp_path):
    logits = write_map(network, source(), read_ct(path), tmp_path / "a.nii")
    write_map(network, source(), read_ct(path), tmp_path / "b.nii", target=int(logits.argmax()))
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


def test_a_map_of_a_part_is_zero_around_it(network, path, tmp_path):
    write_map(network, source(), read_ct(path), tmp_path / "map.nii", lung_margin=0.0)
    values = np.asarray(nibabel.load(tmp_path / "map.nii").dataobj)
    where = np.argwhere(values != 0)
    assert where.min(axis=0).tolist() == [6, 6, 3]
    assert where.max(axis=0).tolist() == [17, 13, 7]


def test_the_network_keeps_its_mode(network, path, tmp_path):
    network.train()
    write_map(network, source(), read_ct(path), tmp_path / "map.nii")
    assert network.training


def test_only_lungs_are_shown_where_the_network_knows_nothing_else(network, path, tmp_path):
    volume, only = read_ct(path), source(only_lungs=True)
    lung = volume.voxels < -700
    shown = replace(volume, voxels=np.where(lung, volume.voxels, -1000).astype(np.int16))
    masked = write_map(network, only, volume, tmp_path / "a.nii", lung=lung)
    np.testing.assert_array_equal(masked, write_map(network, source(), shown, tmp_path / "b.nii"))
    assert not np.array_equal(masked, write_map(network, source(), volume, tmp_path / "c.nii"))
    everything = write_map(network, only, volume, tmp_path / "d.nii", lung=np.ones_like(lung))
    assert not np.array_equal(masked, everything)


def test_inputs_that_cannot_be_prepared_are_refused(network, path, tmp_path):
    volume = read_ct(path)
    lung = np.ones(volume.voxels.shape, bool)
    for changes, mask, words in (
        ({"shape": None}, None, "expected an input with a shape"),
        ({"only_lungs": True}, None, "only_lungs=True and no mask"),
        ({}, lung, "only_lungs=False and a mask"),
        ({"only_lungs": True}, lung[1:], "expected a bool mask like the volume"),
    ):
        with pytest.raises(ValueError, match=words):
            write_map(network, source(**changes), volume, tmp_path / "map.nii", lung=mask)


@pytest.fixture
def slices(tmp_path):
    """Return a volume of slices without Hounsfield units."""
    (tmp_path / "slices").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 9, 9, 1), np.uint8)
    for number, image in enumerate(pixels):
        write_png(tmp_path / "slices" / f"{number}.png", np.repeat(image, 3, 2))
    return read_ct(tmp_path / "slices", SliceGeometry("SPL", (5.0, 1.0, 1.0)))


def test_slices_without_hounsfield_units_are_seen_as_in_a_prepared_set(network, slices, tmp_path):
    levels = -1000 + 1400 * slices.voxels.astype(np.float32)
    same = replace(slices, voxels=levels, intensity="hu")
    logits = write_map(network, source(), slices, tmp_path / "a.nii")
    np.testing.assert_allclose(logits, write_map(network, source(), same, tmp_path / "b.nii"))


def test_lungs_are_not_looked_for_without_hounsfield_units(network, slices, tmp_path):
    with pytest.raises(ValueError, match="lung_margin needs Hounsfield units"):
        write_map(network, source(), slices, tmp_path / "map.nii", lung_margin=2.0)
