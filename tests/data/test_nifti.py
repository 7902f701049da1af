import nibabel
import numpy as np
import pytest

from vismodels.data.nifti import load_nifti, reading_nifti, store_nifti
from vismodels.files import FileError

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def read(path):
    with reading_nifti(path, "write it again"):
        image = load_nifti(path)
        return np.asanyarray(image.dataobj), image


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_affine_and_label_come_back(tmp_path, suffix):
    store_nifti(tmp_path / f"a{suffix}", VOXELS, AFFINE, "msd")
    voxels, image = read(tmp_path / f"a{suffix}")
    assert np.array_equal(voxels, VOXELS)
    assert np.array_equal(image.affine, AFFINE)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header.get_intent()[::2] == ("label", "msd")


def test_without_a_label_there_is_no_intent(tmp_path):
    store_nifti(tmp_path / "a.nii", VOXELS, AFFINE)
    assert read(tmp_path / "a.nii")[1].header.get_intent()[0] == "none"


def test_equal_volumes_make_equal_files(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        store_nifti(tmp_path / name, VOXELS, AFFINE)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_what_cannot_be_read_is_named_with_the_remedy(tmp_path):
    store_nifti(tmp_path / "a.nii.gz", np.zeros((9, 9, 9), np.int16), AFFINE)
    whole = (tmp_path / "a.nii.gz").read_bytes()
    for content in (b"", b"no image", whole[: len(whole) // 2]):
        (tmp_path / "a.nii.gz").write_bytes(content)
        with pytest.raises(FileError, match=r"cannot be read as NIfTI .*; write it again"):
            read(tmp_path / "a.nii.gz")


def test_another_format_is_named(tmp_path):
    nibabel.save(nibabel.MGHImage(np.zeros((2, 2, 2), np.uint8), AFFINE), tmp_path / "a.mgz")
    with pytest.raises(FileError, match="is MGHImage, not NIfTI"):
        read(tmp_path / "a.mgz")
