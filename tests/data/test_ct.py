import math
import struct
import sys

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.cifti2 import SeriesAxis
from nibabel.orientations import aff2axcodes, apply_orientation, axcodes2ornt, ornt_transform
from PIL import Image

from vismodels.data.ct import AXES, CTVolume, read_ct, write_nifti
from vismodels.data.slice_images import SliceGeometry
from vismodels.files import FileError

SIDES = ("LR", "PA", "IS")


def body(shape=(5, 6, 7)):
    """A volume with the axes of `Scan` in which every voxel is another number."""
    return (np.arange(math.prod(shape)).reshape(shape) * 3 - 1000).astype(np.int16)


def stored_as(axes, spacing=(8.0, 0.7, 0.9)):
    """The body as a file whose axes go to the sides `axes`, with the affine that says so."""
    ours = axcodes2ornt(tuple(AXES))
    theirs = axcodes2ornt(tuple(axes))
    array = apply_orientation(body(), ornt_transform(ours, theirs))
    of_side = dict(zip(ours[:, 0], spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (side, sign) in enumerate(theirs):
        affine[int(side), column] = sign * of_side[side]
    affine[:3, 3] = (11, -22, 33)
    return np.ascontiguousarray(array), affine


def rotation(degrees, axis):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    one, two = (i for i in range(3) if i != axis)
    matrix = np.eye(4)
    matrix[one, one] = matrix[two, two] = c
    matrix[one, two], matrix[two, one] = -s, s
    return matrix


def write(path, array, affine, **header):
    image = nibabel.Nifti1Image(array, affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


orders = st.permutations(SIDES).flatmap(lambda sides: st.tuples(*map(st.sampled_from, sides)))


# --- NIfTI -------------------------------------------------------------------------------------


@given(orders, st.tuples(*[st.floats(-20, 20)] * 3))
def test_any_order_direction_and_tilt_of_the_axes_is_read_alike(tmp_path_factory, axes, tilts):
    array, affine = stored_as(axes)
    for axis, degrees in enumerate(tilts):
        affine = rotation(degrees, axis) @ affine
    volume = read_ct(write(tmp_path_factory.mktemp("ct") / "a.nii", array, affine))
    np.testing.assert_array_equal(volume.voxels, body())
    assert volume.voxels.dtype == np.int16
    assert volume.intensity == "hu"
    assert "".join(aff2axcodes(volume.affine)) == AXES
    assert volume.spacing == pytest.approx((8.0, 0.7, 0.9), rel=1e-5)


@given(orders)
def test_the_affine_follows_each_voxel_to_where_it_lies_in_the_file(tmp_path_factory, axes):
    array, affine = stored_as(axes)
    affine = rotation(15, 0) @ affine
    volume = read_ct(write(tmp_path_factory.mktemp("ct") / "a.nii", array, affine))
    for index in [(0, 0, 0), (4, 5, 6), (1, 2, 3)]:
        (in_file,) = np.argwhere(array == volume.voxels[index])
        np.testing.assert_allclose(volume.affine @ [*index, 1], affine @ [*in_file, 1], atol=1e-4)


@given(orders)
def test_voxels_written_back_are_those_of_the_file_with_its_affine(tmp_path_factory, axes):
    folder = tmp_path_factory.mktemp("ct")
    array, affine = stored_as(axes)
    path = write(folder / "a.nii.gz", array, rotation(-12, 2) @ affine)
    volume = read_ct(path)
    write_nifti(volume.voxels, volume, folder / "map.nii.gz")
    before, after = nibabel.load(path), nibabel.load(folder / "map.nii.gz")
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), array)
    assert after.get_data_dtype() == np.float32
    assert after.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(read_ct(folder / "map.nii.gz").voxels, volume.voxels)


def test_a_file_with_a_qform_only_is_read(tmp_path):
    array, affine = stored_as("LAS")
    image = nibabel.Nifti1Image(array, None)
    image.set_qform(affine, 1)
    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read_ct(tmp_path / "a.nii").voxels, body())


def test_slope_and_intercept_are_applied_and_rounded(tmp_path):
    array, affine = stored_as(AXES)
    levels = (array.astype(np.int32) + 1024).astype(np.uint16)
    path = write(tmp_path / "a.nii", levels, affine)
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", 1.0, -1023.8)  # scl_slope, scl_inter
    path.write_bytes(content)
    np.testing.assert_array_equal(read_ct(path).voxels, body())


def test_a_fourth_axis_of_one_is_dropped_and_a_longer_one_refused(tmp_path):
    array, affine = stored_as(AXES)
    path = write(tmp_path / "a.nii", array[..., None], affine)
    np.testing.assert_array_equal(read_ct(path).voxels, body())
    write(path, np.stack([array, array], -1), affine)
    with pytest.raises(FileError, match=r"one volume of three axes, got \(5, 6, 7, 2\)"):
        read_ct(path)


def test_a_file_without_orientation_is_refused(tmp_path):
    path = write(tmp_path / "a.nii", body(), None)
    with pytest.raises(FileError, match=r"a\.nii: states no orientation"):
        read_ct(path)


def test_two_orientations_that_contradict_each_other_are_refused(tmp_path):
    array, affine = stored_as(AXES)
    image = nibabel.Nifti1Image(array, affine)
    image.set_qform(stored_as("RAS")[1], 1)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(FileError, match=r"sform and qform contradict .*'S', 'P', 'L'"):
        read_ct(tmp_path / "a.nii")


@pytest.mark.parametrize("degrees", [43, 45, 47])
def test_axes_halfway_between_two_of_the_body_are_refused(tmp_path, degrees):
    array, affine = stored_as(AXES)
    path = write(tmp_path / "a.nii", array, rotation(degrees, 0) @ affine)
    with pytest.raises(FileError, match=r"turned by \[.*4[35]\.0.*\] degrees"):
        read_ct(path)


def test_two_axes_of_one_direction_are_refused(tmp_path):
    array, affine = stored_as(AXES)
    affine[:3, 1] = affine[:3, 0]
    with pytest.raises(FileError, match="which is which is not clear"):
        read_ct(write(tmp_path / "a.nii", array, affine))


def test_distances_in_metres_are_refused(tmp_path):
    array, affine = stored_as(AXES)
    with pytest.raises(FileError, match="'meter', expected millimetres"):
        read_ct(write(tmp_path / "a.nii", array, affine, xyzt_units=1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a + 1000, "no value below 0 .*slope and intercept"),
        (lambda a: a.astype(np.float32) * np.where(a > -500, np.nan, 1), "not finite"),
        (lambda a: a.astype(np.float32) * 1000, "are no Hounsfield units"),
        (lambda a: a.astype(np.complex64), "holds complex64, expected one number"),
    ],
)
def test_values_that_are_no_hounsfield_units_are_refused(tmp_path, change, words):
    array, affine = stored_as(AXES)
    with pytest.raises(FileError, match=words):
        read_ct(write(tmp_path / "a.nii", change(array), affine))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_cut_file_is_named(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", *stored_as(AXES))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileError, match=r"a\.nii.*: cannot be read as NIfTI"):
        read_ct(path)


def test_a_table_of_a_surface_is_no_volume(tmp_path):
    axes = (SeriesAxis(0, 1, 2), SeriesAxis(0, 1, 3))
    nibabel.save(nibabel.Cifti2Image(np.zeros((2, 3)), axes), tmp_path / "a.dtseries.nii")
    with pytest.raises(FileError, match="is Cifti2Image, not NIfTI"):
        read_ct(tmp_path / "a.dtseries.nii")


# --- maps --------------------------------------------------------------------------------------


def volume_of(folder, axes="RAS"):
    return read_ct(write(folder / "a.nii", *stored_as(axes)))


@pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
def test_equal_maps_make_equal_files_and_leave_nothing_beside_them(tmp_path, name):
    volume = volume_of(tmp_path)
    heat = np.random.default_rng(0).random(volume.voxels.shape)
    for folder in ("one", "two"):
        write_nifti(heat, volume, tmp_path / folder / name)
        assert [path.name for path in (tmp_path / folder).iterdir()] == [name]
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_hottest_voxel_of_a_map_lies_where_the_body_has_it(tmp_path):
    volume = volume_of(tmp_path, "PIR")
    heat = np.zeros(volume.voxels.shape)
    heat[4, 1, 2] = 1
    write_nifti(heat, volume, tmp_path / "map.nii.gz")
    written = nibabel.load(tmp_path / "map.nii.gz")
    (hottest,) = np.argwhere(written.get_fdata() == 1)
    np.testing.assert_allclose(
        written.affine @ [*hottest, 1], volume.affine @ [4, 1, 2, 1], atol=1e-4
    )


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        (np.zeros((5, 6, 8)), "m.nii", r"map is \(5, 6, 8\), the volume \(5, 6, 7\)"),
        (np.full((5, 6, 7), np.nan), "m.nii", "not finite"),
        (np.zeros((5, 6, 7)), "m.npz", "a name that ends in .nii or .nii.gz"),
    ],
)
def test_maps_that_do_not_fit_are_refused_and_not_written(tmp_path, values, name, words):
    volume = volume_of(tmp_path)
    with pytest.raises(ValueError, match=words):
        write_nifti(values, volume, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_map_that_cannot_be_written_leaves_the_old_one(tmp_path, largest_file):
    volume = volume_of(tmp_path)
    write_nifti(np.zeros((5, 6, 7)), volume, tmp_path / "map.nii")
    before = (tmp_path / "map.nii").read_bytes()
    with largest_file(600), pytest.raises(OSError, match="File too large"):
        write_nifti(np.ones((5, 6, 7)), volume, tmp_path / "map.nii")
    assert (tmp_path / "map.nii").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii", "map.nii"]


# --- NPZ ---------------------------------------------------------------------------------------


@given(orders)
def test_npz_is_turned_by_its_affine(tmp_path_factory, axes):
    array, affine = stored_as(axes)
    path = tmp_path_factory.mktemp("ct") / "a.npz"
    np.savez(path, voxels=array, affine=affine)
    volume = read_ct(path)
    np.testing.assert_array_equal(volume.voxels, body())
    assert volume.spacing == pytest.approx((8.0, 0.7, 0.9))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"voxels": body()}, r"has no \['affine'\], only \['voxels'\]"),
        ({"voxels": body()[0], "affine": np.eye(4)}, r"numbers of three axes, got \(6, 7\)"),
        ({"voxels": body() > 0, "affine": np.eye(4)}, "got .* bool"),
        ({"voxels": body(), "affine": np.eye(3)}, r"\(4, 4\) affine, got \(3, 3\)"),
    ],
)
def test_npz_of_another_form_is_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(FileError, match=words):
        read_ct(tmp_path / "a.npz")


@pytest.mark.parametrize("distance", [0, np.nan, np.inf])
def test_an_affine_without_a_distance_is_refused(tmp_path, distance):
    array, affine = stored_as(AXES)
    affine[0, 2] = distance
    np.savez(tmp_path / "a.npz", voxels=array, affine=affine)
    with pytest.raises(FileError, match="no map from voxels to millimetres"):
        read_ct(tmp_path / "a.npz")


def test_a_damaged_npz_is_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    with pytest.raises(FileError, match=r"a\.npz: cannot be read as NPZ"):
        read_ct(tmp_path / "a.npz")


# --- folders -----------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["SPL", "IPL", "PIR"])
def test_images_are_turned_by_what_is_said_of_them(tmp_path, axes):
    array, _ = stored_as(axes)
    levels = (array.astype(np.int32) + 1000).astype(np.uint16)
    for number, image in enumerate(levels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    volume = read_ct(tmp_path, SliceGeometry(axes, (2.0, 3.0, 4.0)))
    assert volume.intensity == "unit"
    np.testing.assert_allclose(volume.voxels, (body() + 1000.0) / levels.max(), rtol=1e-6)
    assert "".join(aff2axcodes(volume.affine)) == AXES


def test_images_without_a_word_on_their_geometry_are_refused(tmp_path):
    Image.fromarray(np.ones((3, 3), np.uint8)).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="which way they go through the body; give `geometry`"):
        read_ct(tmp_path)


def test_geometry_of_a_file_that_states_its_own_is_refused(tmp_path):
    path = write(tmp_path / "a.nii", *stored_as(AXES))
    with pytest.raises(ValueError, match="states its own geometry"):
        read_ct(path, SliceGeometry("SPL", (1.0, 1.0, 1.0)))


def test_dicom_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "1.dcm").write_bytes(b"")
    with pytest.raises(ImportError, match=r"pip install 'vismodels\[dicom\]'"):
        read_ct(tmp_path)


def test_what_is_not_there_or_no_ct_is_refused(tmp_path):
    with pytest.raises(FileError, match="no such file or folder"):
        read_ct(tmp_path / "a.nii")
    (tmp_path / "a.mha").write_bytes(b"")
    with pytest.raises(FileError, match=r"a\.mha: expected \.nii, \.nii\.gz, \.npz, a folder"):
        read_ct(tmp_path / "a.mha")


def test_a_volume_cannot_be_changed(tmp_path):
    volume = volume_of(tmp_path)
    assert isinstance(volume, CTVolume)
    with pytest.raises(AttributeError):
        volume.intensity = "unit"
