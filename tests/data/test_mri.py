import nibabel
import numpy as np
import pytest

from vismodels.data.mri import Volume, read_mri, refuse_other_grid
from vismodels.files import FileError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LPS[:2, 3] = 3, 4


def written(path, voxels, affine=LPS):
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def test_axes_are_turned_to_right_front_and_head_and_the_affine_follows(tmp_path):
    voxels = np.arange(60, dtype=np.int16).reshape(4, 5, 3)
    volume = read_mri(written(tmp_path / "a.nii", voxels))
    np.testing.assert_array_equal(volume.voxels, voxels[::-1, ::-1])
    np.testing.assert_allclose(volume.affine, np.eye(4))


def test_permuted_axes_show_the_same_voxel_at_the_same_millimeters(tmp_path):
    affine = np.array([[0, 0, 2.0, -7], [-1.5, 0, 0, 20], [0, 1, 0, 3], [0, 0, 0, 1]])
    voxels = np.zeros((4, 5, 3), np.float32)
    voxels[1, 2, 0] = 1
    volume = read_mri(written(tmp_path / "a.nii.gz", voxels, affine))
    assert volume.voxels.shape == (3, 4, 5)
    place = nibabel.affines.apply_affine(volume.affine, np.argwhere(volume.voxels)[0])
    np.testing.assert_allclose(place, nibabel.affines.apply_affine(affine, [1, 2, 0]))
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([2, 1.5, 1]))


def test_channels_come_first(tmp_path):
    voxels = np.random.default_rng(0).random((4, 5, 3, 2)).astype(np.float32)
    volume = read_mri(written(tmp_path / "a.nii", voxels), channels=2)
    np.testing.assert_array_equal(volume.voxels, np.moveaxis(voxels[::-1, ::-1], -1, 0))


def test_one_volume_may_have_a_fourth_axis_of_one(tmp_path):
    path = written(tmp_path / "a.nii", np.ones((4, 5, 3, 1), np.uint8))
    assert read_mri(path).voxels.shape == (4, 5, 3)
    assert read_mri(written(tmp_path / "b.nii", np.ones((4, 5, 3), np.uint8))).voxels.shape == (
        4, 5, 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "channels", "words"),
    [
        ((4, 5, 3, 2), None, "expected one volume of three axes"),
        ((4, 5), None, "expected one volume"),
        ((4, 5, 3), 4, "expected 4 volumes"),
        ((4, 5, 3, 3), 4, r"got \(4, 5, 3, 3\)"),
    ],
)
def test_other_numbers_of_volumes_are_refused(shape, channels, words, tmp_path):
    path = written(tmp_path / "a.nii", np.ones(shape, np.uint8))
    with pytest.raises(FileError, match=words):
        read_mri(path, channels)


def test_damage_missing_files_and_values_that_are_no_numbers_are_named(tmp_path):
    with pytest.raises(FileError, match="cannot be read as NIfTI"):
        read_mri(tmp_path / "absent.nii.gz")
    whole = written(tmp_path / "a.nii.gz", np.random.default_rng(0).random((20, 20, 20)))
    whole.write_bytes(whole.read_bytes()[:-3000])
    with pytest.raises(FileError, match=r"a\.nii\.gz: cannot be read as NIfTI .*fetch it again"):
        read_mri(whole)
    with pytest.raises(FileError, match="expected finite numbers"):
        read_mri(written(tmp_path / "b.nii", np.full((2, 2, 2), np.nan)))
    flat = written(tmp_path / "c.nii", np.ones((2, 2, 2), np.uint8))
    content = bytearray(flat.read_bytes())
    content[312:328] = bytes(16)  # srow_z
    flat.write_bytes(content)
    with pytest.raises(FileError, match="no map from voxels to millimeters"):
        read_mri(flat)


def test_the_same_grid_up_to_rounding_is_accepted(tmp_path):
    first = Volume(np.zeros((4, 200, 5, 3)), np.eye(4))
    refuse_other_grid(tmp_path / "b", Volume(np.zeros((200, 5, 3)), np.eye(4) + 1e-6),
                      tmp_path / "a", first)  # fmt: skip


def test_other_shapes_and_places_are_named(tmp_path):
    first = Volume(np.zeros((200, 5, 3)), np.eye(4))
    with pytest.raises(FileError, match=r"b: is \(200, 5, 4\), but a \(200, 5, 3\)"):
        refuse_other_grid(
            tmp_path / "b", Volume(np.zeros((200, 5, 4)), np.eye(4)), tmp_path / "a", first
        )
    stretched = np.diag([1.01, 1, 1, 1])  # the last of 200 voxels is 1.99 mm away
    with pytest.raises(FileError, match=r"b: lies up to 1\.99 mm from where a has"):
        refuse_other_grid(tmp_path / "b", Volume(first.voxels, stretched), tmp_path / "a", first)
