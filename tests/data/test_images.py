import numpy as np
import pytest
from PIL import Image

from vismodels.data.images import box_shrink, crop_to_multiple, read_image, write_png
from vismodels.files import FileError


def random_image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_png_returns_what_was_written_and_equal_pixels_make_equal_files(tmp_path):
    image = random_image((7, 5, 3))
    first, second = tmp_path / "a ä.png", tmp_path / "new" / "b.png"
    write_png(first, image)
    write_png(second, image.copy())
    assert np.array_equal(read_image(first), image)
    assert first.read_bytes() == second.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a ä.png", "new"}


def test_grey_is_replicated(tmp_path):
    grey = random_image((4, 6))
    write_png(tmp_path / "grey.png", grey)
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.dstack([grey] * 3))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_and_colors_stay_as_stored(tmp_path, mode):
    image = random_image((4, 6, len(mode)))
    image[0, 0, -1] = 0  # fully transparent
    Image.fromarray(image).save(tmp_path / "alpha.png")
    colors = image[:, :, :3] if mode == "RGBA" else np.dstack([image[:, :, 0]] * 3)
    assert np.array_equal(read_image(tmp_path / "alpha.png"), colors)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_of_16_bit_grey_the_high_byte_is_kept(tmp_path, suffix):
    values = np.array([[0, 255, 256, 0x1234, 0xFFFF]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
    assert read_image(tmp_path / f"deep.{suffix}")[0, :, 1].tolist() == [0, 0, 1, 0x12, 255]


def test_palette_colors_are_looked_up(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").tolist() == [[[1, 2, 3], [40, 50, 60]]]


def test_exif_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to display"
    image = random_image((4, 6, 3))
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), image)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("kept", [0, 3, 30, 60, 400])
def test_truncated_files_are_named_in_the_error(tmp_path, suffix, kept):
    path = tmp_path / f"short.{suffix}"
    Image.fromarray(random_image((40, 40, 3))).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileError, match=rf"short\.{suffix}: cannot be read as an image"):
        read_image(path)


def test_damaged_files_are_read_or_refused_but_nothing_else_escapes(tmp_path):
    path = tmp_path / "damaged.png"
    write_png(path, random_image((8, 8, 3)))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = whole.copy()
        damaged[generator.integers(8, len(whole), 3)] = generator.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            read_image(path)
        except FileError:
            refused += 1
    assert refused > 350


def test_missing_files_and_32_bit_samples_are_refused(tmp_path):
    with pytest.raises(FileError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(FileError, match=r"float\.tif: holds 32-bit samples .* 8 or 16 bits"):
        read_image(tmp_path / "float.tif")


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((2, 2, 3)), TypeError),
        (np.zeros((2, 2, 4), np.uint8), ValueError),
        (np.zeros(2, np.uint8), ValueError),
    ],
)
def test_only_8_bit_grey_and_rgb_are_written(tmp_path, image, error):
    with pytest.raises(error, match=r"x\.png: expected"):
        write_png(tmp_path / "x.png", image)
    assert not any(tmp_path.iterdir())


def test_crop_keeps_the_top_left_multiple():
    image = random_image((11, 9, 3))
    assert np.array_equal(crop_to_multiple(image, 4), image[:8, :8])
    assert np.array_equal(crop_to_multiple(image, 1), image)


def test_crop_refuses_images_below_one_multiple():
    with pytest.raises(ValueError, match="3x9 image has no crop that is a multiple of 4"):
        crop_to_multiple(random_image((3, 9)), 4)


def test_box_shrink_averages_blocks_and_rounds_half_up():
    blocks = np.array([[0, 1, 10, 10, 7], [1, 0, 10, 11, 7], [9, 9, 9, 9, 9]], np.uint8)
    # 2 / 4 = 0.5 -> 1; 41 / 4 = 10.25 -> 10; the odd row and column go
    assert box_shrink(blocks, 2).tolist() == [[1, 10]]
    color = np.dstack([blocks, 255 - blocks, blocks])
    assert box_shrink(color, 2)[0, 0].tolist() == [1, 255, 1]  # 1018 / 4 = 254.5 -> 255
