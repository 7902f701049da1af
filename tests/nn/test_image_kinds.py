import numpy as np
import pytest
import torch
from PIL import Image

from vismodels.nn.image_kinds import from_unit, like_image, to_grey, to_tensor, to_unit

ARRAYS = [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)]
TENSORS = [(5, 7), (1, 5, 7), (3, 5, 7), (4, 5, 7), (2, 1, 5, 7), (2, 4, 5, 7)]
MODES = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def levels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def picture(mode, size=(7, 5)):
    bands = Image.fromarray(levels(size[1], size[0], 4))
    return bands.convert(mode)


# --- there and back ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_pil_image_goes_to_a_tensor_and_comes_back(mode):
    image = picture(mode)
    pixels = to_tensor(image)
    assert pixels.shape == (1, MODES[mode], 5, 7)
    again = like_image(pixels, image)
    assert (again.mode, again.size) == (mode, image.size)
    np.testing.assert_array_equal(np.array(again), np.array(image))


@pytest.mark.parametrize("shape", ARRAYS)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.float32, np.float64])
def test_an_array_goes_to_a_tensor_and_comes_back(shape, dtype):
    image = (levels(*shape) / 255).astype(dtype) if dtype is not np.uint8 else levels(*shape)
    pixels = to_tensor(image)
    assert pixels.shape == (1, shape[2] if len(shape) == 3 else 1, 5, 7)
    again = like_image(pixels, image)
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, image)


@pytest.mark.parametrize("shape", TENSORS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.float64])
def test_a_tensor_gets_four_axes_and_comes_back(shape, dtype):
    image = torch.from_numpy(levels(*shape))
    image = image if dtype == torch.uint8 else (image / 255).to(dtype)
    pixels = to_tensor(image)
    assert pixels.ndim == 4
    assert pixels.shape[2:] == (5, 7)
    assert torch.equal(like_image(pixels, image), image)


def test_channels_are_where_they_belong():
    array = levels(5, 7, 3)
    pixels = to_tensor(array)
    assert torch.equal(pixels, to_tensor(Image.fromarray(array)))
    assert torch.equal(pixels[0, 2], torch.from_numpy(array[:, :, 2]))


def test_a_palette_becomes_rgb_and_with_transparency_rgba():
    image = picture("RGB").quantize(8)
    assert torch.equal(to_tensor(image), to_tensor(image.convert("RGB")))
    image.info["transparency"] = 0
    assert torch.equal(to_tensor(image), to_tensor(image.convert("RGBA")))
    assert like_image(to_tensor(image), image).mode == "RGBA"


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-2], np.s_[..., ::-1]])
def test_views_of_arrays_are_read_as_they_look(view):
    image = levels(5, 7, 3)[view]
    np.testing.assert_array_equal(like_image(to_tensor(image), image), image)


# --- values ------------------------------------------------------------------------------------


def test_values_of_all_dtypes_become_shares_of_white():
    assert to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx(
        [0, 0.2, 1]
    )
    assert to_unit(torch.tensor([False, True])).tolist() == [0, 1]
    assert to_unit(torch.tensor([0.25], dtype=torch.float64)).dtype == torch.float32


def test_values_are_clipped_and_rounded_half_up_or_cut():
    values = torch.tensor([-0.2, 0.5 / 255, 0.49, 0.5, 1.2])
    assert from_unit(values, torch.uint8).tolist() == [0, 1, 125, 128, 255]
    assert from_unit(values, torch.bool).tolist() == [False, False, False, True, True]
    assert from_unit(values, torch.float64).dtype == torch.float64
    assert from_unit(values, torch.float32)[[0, -1]].tolist() == [0, 1]


def test_bytes_survive_the_way_to_floats_and_back():
    image = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(from_unit(to_unit(image), torch.uint8), image)


def test_grey_is_the_luma_of_pil():
    image = picture("RGB")
    ours = to_grey(to_unit(to_tensor(image)))
    theirs = to_unit(to_tensor(image.convert("L")))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1.01 / 255)
    torch.testing.assert_close(to_grey(torch.ones(1, 3, 1, 1)), torch.ones(1, 1, 1, 1))


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "I;16", "F"])
def test_another_mode_is_an_error_with_a_remedy(mode):
    with pytest.raises(ValueError, match=rf"got '{mode}'; convert it with image\.convert"):
        to_tensor(Image.new(mode, (4, 4)))


@pytest.mark.parametrize("shape", [(8,), (8, 8, 2), (3, 8, 8), (2, 8, 8, 3)])
def test_an_array_of_another_shape_is_an_error_with_a_remedy(shape):
    with pytest.raises(ValueError, match=r"got shape .*np\.moveaxis"):
        to_tensor(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(8,), (2, 8, 8), (8, 8, 3), (1, 1, 3, 8, 8)])
def test_a_tensor_of_another_shape_is_an_error_with_a_remedy(shape):
    with pytest.raises(ValueError, match=r"got shape .*image\.movedim"):
        to_tensor(torch.zeros(shape))


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint16), torch.zeros(4, 4).long()])
def test_another_dtype_is_an_error_with_a_remedy(image):
    with pytest.raises(TypeError, match=r"expected bool, uint8 or .*convert to float"):
        to_tensor(image)


@pytest.mark.parametrize("image", ["page.png", [[0, 0]], None])
def test_another_kind_is_an_error_with_a_remedy(image):
    with pytest.raises(TypeError, match=r"got (str|list|NoneType); read a file with"):
        to_tensor(image)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_values_outside_the_range_are_an_error(value):
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got"):
        to_tensor(torch.tensor([[0.5, value]]))


@pytest.mark.parametrize("image", [np.zeros((0, 4), np.uint8), torch.zeros(0, 3, 4, 4)])
def test_an_image_without_pixels_is_an_error(image):
    with pytest.raises(ValueError, match="expected an image with pixels, got shape"):
        to_tensor(image)
