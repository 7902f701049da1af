import numpy as np
import pytest
from nibabel.orientations import aff2axcodes
from PIL import Image

from vismodels.data.slice_images import SliceGeometry, natural_key, read_slice_images
from vismodels.files import FileError

UP = SliceGeometry("SPL", (5.0, 0.7, 0.8))


def stack(dtype=np.uint8, count=4):
    largest = 200 if dtype == np.uint8 else 5000
    return np.random.default_rng(0).integers(0, largest, (count, 5, 6)).astype(dtype)


def write(folder, slices, suffix=".png", name="slice {}"):
    for number, levels in enumerate(slices):
        Image.fromarray(levels).save(folder / f"{name.format(number)}{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_are_divided_by_the_maximum_of_the_stack_not_of_the_slice(tmp_path, suffix, dtype):
    slices = stack(dtype)
    slices[0] //= 2
    write(tmp_path, slices, suffix)
    read, _ = read_slice_images(tmp_path, UP)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, slices / slices.max(), rtol=1e-6)
    assert read[0].max() < 0.51
    assert read.max() == 1


def test_names_are_sorted_as_people_count(tmp_path):
    slices = stack(count=12)
    write(tmp_path, slices)  # slice 10 and slice 11 come before slice 2 in the alphabet
    read, _ = read_slice_images(tmp_path, UP)
    np.testing.assert_allclose(read, slices / slices.max(), rtol=1e-6)
    assert sorted(["b10", "b9", "a", "b09c", "10", "9"], key=natural_key) == [
        *("9", "10", "a", "b9", "b09c", "b10")
    ]


@pytest.mark.parametrize("axes", ["SPL", "IPL", "LSA", "PIR"])
def test_the_affine_says_what_the_axes_say(axes):
    affine = SliceGeometry(axes, (5.0, 0.7, 0.8)).affine()
    assert "".join(aff2axcodes(affine)) == axes
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), (5.0, 0.7, 0.8))
    assert affine[:, 3].tolist() == [0, 0, 0, 1]


def test_the_affine_of_slices_from_the_feet_up_is_written_by_hand():
    assert UP.affine().tolist() == [[0, 0, -0.8, 0], [0, -0.7, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("axes", ["SP", "SPP", "SIL", "spl", "SPX", "SPLR"])
def test_letters_that_are_no_three_axes_are_refused(axes):
    with pytest.raises(ValueError, match="one letter each of L/R, P/A and I/S"):
        SliceGeometry(axes, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("spacing", [(1.0, 0.0, 1.0), (1.0, float("nan"), 1.0), (1.0, 1.0)])
def test_distances_that_are_not_positive_are_refused(spacing):
    with pytest.raises(ValueError, match="three positive distances"):
        SliceGeometry("SPL", spacing)


def test_grey_kept_in_three_channels_is_read_and_colours_are_refused(tmp_path):
    grey = stack(count=2)
    write(tmp_path, grey[..., None].repeat(3, -1))
    np.testing.assert_allclose(read_slice_images(tmp_path, UP)[0], grey / grey.max(), rtol=1e-6)
    colour = grey[0][..., None].repeat(3, -1)
    colour[0, 0] = (1, 2, 3)
    write(tmp_path, [colour])
    with pytest.raises(FileError, match=r"slice 0\.png: expected grey .* mode RGB"):
        read_slice_images(tmp_path, UP)


def test_float_images_are_refused(tmp_path):
    write(tmp_path, stack().astype(np.float32), ".tif")
    with pytest.raises(FileError, match="8 or 16 bits, got Pillow's mode F"):
        read_slice_images(tmp_path, UP)


def test_several_frames_in_a_file_are_refused(tmp_path):
    frames = [Image.fromarray(levels) for levels in stack()]
    frames[0].save(tmp_path / "all.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(FileError, match=r"all\.tif: holds 4 frames"):
        read_slice_images(tmp_path, UP)


@pytest.mark.parametrize("other", [np.ones((5, 7), np.uint8), np.ones((5, 6), np.uint16)])
def test_slices_of_another_size_or_depth_are_named(tmp_path, other):
    write(tmp_path, [*stack(), other])
    with pytest.raises(FileError, match=r"slice 4\.png: is .*slice 0\.png is .*are alike"):
        read_slice_images(tmp_path, UP)


@pytest.mark.parametrize("second", ["slice 02.png", "slice 2.tif"])
def test_two_names_of_one_place_are_refused(tmp_path, second):
    write(tmp_path, stack())
    Image.fromarray(stack()[0]).save(tmp_path / second)
    with pytest.raises(FileError, match="are one place in the stack"):
        read_slice_images(tmp_path, UP)


def test_other_files_beside_the_slices_are_named_and_hidden_ones_do_not_count(tmp_path):
    write(tmp_path, stack())
    (tmp_path / ".DS_Store").write_bytes(b"")
    assert len(read_slice_images(tmp_path, UP)[0]) == 4
    (tmp_path / "slice 4.jpg").write_bytes(b"")
    with pytest.raises(FileError, match=r"holds images and \['slice 4\.jpg'\]"):
        read_slice_images(tmp_path, UP)


def test_a_damaged_image_is_named(tmp_path):
    write(tmp_path, stack())
    path = tmp_path / "slice 1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(FileError, match=r"slice 1\.png: cannot be read as an image"):
        read_slice_images(tmp_path, UP)


def test_a_black_stack_is_refused(tmp_path):
    write(tmp_path, np.zeros((2, 5, 6), np.uint8))
    with pytest.raises(FileError, match="all slices are black"):
        read_slice_images(tmp_path, UP)
