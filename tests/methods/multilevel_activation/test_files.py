import nibabel
import numpy as np
import pytest

from vismodels.data.label_schemes import SCHEME_NAMES, LabelError, LabelScheme, scheme_by_name
from vismodels.files import FileError
from vismodels.methods.multilevel_activation.files import (
    read_regions,
    read_segmentation,
    write_regions,
    write_segmentation,
)

AFFINE = np.array([[-1.5, 0.25, 0, 90], [0.5, 2, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1]])


def some_levels():
    return np.arange(24).reshape(2, 3, 4) % 4


@pytest.mark.parametrize("name", SCHEME_NAMES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_levels_affine_and_scheme_come_back(tmp_path, name, suffix):
    path, scheme = tmp_path / f"a{suffix}", scheme_by_name(name)
    write_segmentation(path, some_levels(), AFFINE, scheme)
    read = read_segmentation(path)
    np.testing.assert_array_equal(read.levels, some_levels())
    np.testing.assert_array_equal(read.affine, AFFINE)
    assert read.levels.dtype == np.uint8
    assert read.affine.dtype == np.float64
    assert read.scheme == scheme


def test_other_tools_find_labels_with_their_meaning_in_the_header(tmp_path):
    write_segmentation(tmp_path / "a.nii", some_levels(), AFFINE, scheme_by_name("brats2021"))
    stored = nibabel.load(tmp_path / "a.nii")
    labels = np.asanyarray(stored.dataobj)
    np.testing.assert_array_equal(labels, np.array([0, 2, 1, 4])[some_levels()])
    assert stored.get_data_dtype() == np.uint8
    assert stored.header.get_intent() == ("label", (), "brats2021")
    assert stored.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(stored.affine, AFFINE)


def test_equal_segmentations_make_equal_files(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_segmentation(tmp_path / name, some_levels(), AFFINE, scheme_by_name("msd"))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_file_without_a_scheme_is_read_only_with_one(tmp_path):
    labels = np.array([0, 2, 1, 4], np.int16).reshape(1, 2, 2)
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "a.nii")
    with pytest.raises(ValueError, match="names no label scheme; pass it"):
        read_segmentation(tmp_path / "a.nii")
    read = read_segmentation(tmp_path / "a.nii", scheme_by_name("brats2021"))
    assert read.levels.ravel().tolist() == [0, 1, 2, 3]
    with pytest.raises(LabelError, match="cavity"):
        read_segmentation(tmp_path / "a.nii", scheme_by_name("brats2023"))


def test_a_scheme_that_contradicts_the_file_is_an_error(tmp_path):
    write_segmentation(tmp_path / "a.nii", some_levels(), AFFINE, scheme_by_name("brats2023"))
    with pytest.raises(ValueError, match="labels of 'brats2023', not of 'msd'"):
        read_segmentation(tmp_path / "a.nii", scheme_by_name("msd"))


def test_a_scheme_of_ones_own_comes_back_with_it_and_not_without(tmp_path):
    own = LabelScheme("site-7", (0, 10, 20, 30))
    write_segmentation(tmp_path / "a.nii", some_levels(), AFFINE, own)
    read = read_segmentation(tmp_path / "a.nii", own)
    np.testing.assert_array_equal(read.levels, some_levels())
    with pytest.raises(ValueError, match="no label scheme 'site-7'"):
        read_segmentation(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("levels", "affine", "name", "message"),
    [
        (np.zeros((2, 2), int), AFFINE, "a.nii", r"levels \(D, H, W\)"),
        (np.zeros((2, 2, 2), int), np.eye(3), "a.nii", r"affine \(4, 4\)"),
        (np.full((2, 2, 2), 4), AFFINE, "a.nii", r"levels in 0\.\.3"),
        (np.zeros((2, 2, 2), int), AFFINE, "a.mha", "ends in .nii or .nii.gz"),
    ],
)
def test_what_cannot_be_written_is_an_error_and_leaves_no_file(
    tmp_path, levels, affine, name, message
):
    with pytest.raises(ValueError, match=message):
        write_segmentation(tmp_path / name, levels, affine, scheme_by_name("msd"))
    assert not list(tmp_path.iterdir())


def test_a_name_that_a_header_cannot_hold_is_an_error(tmp_path):
    scheme = LabelScheme("sixteen-letters!", (0, 1, 2, 3))
    with pytest.raises(ValueError, match="15 bytes, 'sixteen-letters!' is longer"):
        write_segmentation(tmp_path / "a.nii", some_levels(), AFFINE, scheme)


def test_what_is_no_segmentation_file_is_an_error(tmp_path):
    write_segmentation(tmp_path / "a.nii.gz", some_levels(), AFFINE, scheme_by_name("msd"))
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 2), np.uint8), AFFINE), tmp_path / "4.nii")
    nibabel.save(nibabel.MGHImage(np.zeros((2, 2, 2), np.uint8), AFFINE), tmp_path / "a.mgz")
    for name, message in (
        ("cut.nii.gz", "cannot be read as NIfTI"),
        ("missing.nii", "cannot be read as NIfTI"),
        ("4.nii", "one volume of three axes"),
        ("a.mgz", "is MGHImage, not NIfTI"),
    ):
        with pytest.raises(FileError, match=message):
            read_segmentation(tmp_path / name)


def test_masks_that_are_not_nested_come_back_bit_for_bit(tmp_path):
    masks = np.random.default_rng(0).random((3, 4, 5, 6)) > 0.5
    write_regions(tmp_path / "a.nii.gz", masks, AFFINE)
    assert np.array_equal(read_regions(tmp_path / "a.nii.gz"), masks)
    bits = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj)
    assert np.array_equal(bits, masks[0] + 2 * masks[1] + 4 * masks[2])


def test_other_masks_are_refused(tmp_path):
    for masks in (np.zeros((2, 4, 4, 4), bool), np.zeros((3, 4, 4, 4), int)):
        with pytest.raises(ValueError, match=r"expected bool masks \(3, D, H, W\)"):
            write_regions(tmp_path / "a.nii.gz", masks, AFFINE)


def test_labels_are_not_taken_for_masks(tmp_path):
    write_segmentation(tmp_path / "a.nii.gz", some_levels(), AFFINE, scheme_by_name("msd"))
    with pytest.raises(FileError, match="holds no masks of regions"):
        read_regions(tmp_path / "a.nii.gz")
