import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from vismodels.data.enlarging import upscale
from vismodels.nn.residual_sr import ESPCN, ResidualSR
from vismodels.nn.super_resolution import (
    SuperResolutionNetwork,
    bicubic_upsample,
    check_image,
    draw_convolutions_,
)
from vismodels.zoo import create_model, list_models

SMALL = (7, 5)


class Repeat(SuperResolutionNetwork):
    """Repeats every pixel, times `gain`; keeps what it was given and in which mode."""

    def __init__(self, scale=2, gain=1.0):
        super().__init__(scale)
        self.gain = nn.Parameter(torch.tensor(gain))
        self.seen, self.modes = [], []

    def forward(self, image):
        check_image(image)
        self.seen.append(image)
        self.modes.append(self.training)
        return self.gain * image.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


class WholeNumbers(SuperResolutionNetwork):
    """Convolutions 5x5 and 3x3 in double precision whose sums are exact, in whatever order."""

    RADIUS = 3

    def __init__(self):
        super().__init__(2)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 12, 3, padding=1)
        ).double()
        generator = torch.Generator().manual_seed(0)
        draw_convolutions_(
            self, lambda w: w.data.copy_(torch.randint(-8, 9, w.shape, generator=generator) / 64)
        )
        nn.init.constant_(self.layers[-1].bias, 0.5)

    def forward(self, image):
        return F.pixel_shuffle(self.layers(image), 2)


def photograph(height, width, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def residual_sr(**arguments):
    model = ResidualSR(**arguments)
    model.initialize_(torch.Generator().manual_seed(0))
    return model


# --- kinds of images ---------------------------------------------------------------------------


def test_an_array_of_bytes_comes_back_clipped_and_rounded_half_up():
    image = np.array([[[0, 1, 2], [3, 128, 255]]], dtype=np.uint8)
    result = Repeat(gain=1.5).super_resolve(image)
    assert (result.dtype, result.shape) == (np.uint8, (2, 4, 3))
    assert result[0].tolist() == [[0, 2, 3]] * 2 + [[5, 192, 255]] * 2
    np.testing.assert_array_equal(result[0], result[1])


def test_bytes_are_enlarged_as_the_scoring_enlarges_them():
    image, model = photograph(*SMALL), residual_sr()
    np.testing.assert_array_equal(model.super_resolve(image), upscale(model, image))


def test_a_pil_image_comes_back_as_one():
    image, model = photograph(*SMALL), residual_sr(scale=3)
    result = model.super_resolve(Image.fromarray(image))
    assert isinstance(result, Image.Image)
    assert (result.mode, result.size) == ("RGB", (15, 21))
    np.testing.assert_array_equal(np.asarray(result), model.super_resolve(image))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_floating_point_array_keeps_its_dtype_and_is_not_rounded(dtype):
    image = (photograph(*SMALL) / 255).astype(dtype)
    result = Repeat().super_resolve(image)
    assert result.dtype == dtype
    single = image.astype(np.float32)  # the precision of the network
    np.testing.assert_array_equal(result[::2, 1::2], single.astype(dtype))


def test_floating_point_results_are_clipped():
    image = np.full((2, 2, 3), 0.75, dtype=np.float32)
    assert (Repeat(gain=2.0).super_resolve(image) == 1).all()
    assert (Repeat(gain=-1.0).super_resolve(image) == 0).all()


@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 3, 7, 5), (2, 3, 7, 5)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_a_tensor_keeps_its_number_of_axes_and_its_dtype(shape, dtype, generator):
    image = torch.randint(256, shape, generator=generator)
    image = image.to(dtype) if dtype == torch.uint8 else (image / 255).to(dtype)
    result = Repeat().super_resolve(image)
    assert result.dtype == dtype
    assert torch.equal(result[..., ::2, 1::2], image)
    assert result.shape == (*shape[:-2], 14, 10)


def test_all_kinds_of_one_image_agree():
    image, model = photograph(*SMALL), residual_sr()
    expected = model.super_resolve(image)
    tensor = model.super_resolve(torch.from_numpy(image).permute(2, 0, 1))
    floats = model.super_resolve(image / 255)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0), expected)
    np.testing.assert_allclose(floats, expected / 255, atol=0.51 / 255)


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-2], np.s_[..., ::-1]])
def test_views_of_arrays_are_read_as_they_look(view):
    image = photograph(*SMALL)[view]
    result = Repeat().super_resolve(image)
    np.testing.assert_array_equal(result[::2, ::2], image)


def test_read_only_and_byte_swapped_arrays_are_read():
    image = photograph(*SMALL)
    image.flags.writeable = False
    np.testing.assert_array_equal(Repeat().super_resolve(image)[::2, ::2], image)
    swapped = (image / 255).astype(np.dtype(np.float32).newbyteorder())
    np.testing.assert_array_equal(Repeat().super_resolve(swapped)[::2, ::2], swapped)


def test_the_image_stays_as_it_was():
    image = photograph(*SMALL)
    before = image.copy()
    residual_sr().super_resolve(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", list_models(task="super-resolution"))
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2)])
def test_every_network_enlarges_images_of_any_size(name, size):
    model = create_model(name)
    result = model.super_resolve(photograph(*size), tile=4, overlap=1)
    assert result.shape == (size[0] * model.scale, size[1] * model.scale, 3)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_a_pil_image_of_another_mode_is_an_error_with_a_remedy(mode):
    with pytest.raises(ValueError, match=rf"expected RGB, got mode '{mode}'.*convert\(\"RGB\"\)"):
        Repeat().super_resolve(Image.new(mode, (4, 4)))


@pytest.mark.parametrize(
    "shape", [(8, 8), (8, 8, 1), (8, 8, 2), (8, 8, 4), (3, 8, 8), (2, 8, 8, 3)]
)
def test_an_array_that_is_not_rgb_is_an_error_with_a_remedy(shape):
    with pytest.raises(
        ValueError, match=r"expected RGB, an array \(H, W, 3\), got shape .*np\.stack"
    ):
        Repeat().super_resolve(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (4, 8, 8), (8, 8, 3), (2, 1, 8, 8)])
def test_a_tensor_that_is_not_rgb_is_an_error_with_a_remedy(shape):
    with pytest.raises(ValueError, match=r"expected RGB, a tensor \(3, h, w\).*image\.expand"):
        Repeat().super_resolve(torch.zeros(shape))


def test_the_remedies_work():
    model = Repeat()
    grey, tensor = np.zeros((4, 6), np.uint8), torch.zeros(1, 4, 6)
    assert model.super_resolve(np.stack([grey] * 3, axis=-1)).shape == (8, 12, 3)
    assert model.super_resolve(np.zeros((4, 6, 4), np.uint8)[..., :3]).shape == (8, 12, 3)
    first = np.zeros((3, 4, 6), np.uint8)
    assert model.super_resolve(np.moveaxis(first, 0, -1)).shape == (8, 12, 3)
    assert model.super_resolve(tensor.expand(3, -1, -1)).shape == (3, 8, 12)
    assert model.super_resolve(torch.zeros(2, 4, 4, 6)[..., :3, :, :]).shape == (2, 3, 8, 12)
    assert model.super_resolve(torch.zeros(4, 6, 3).movedim(-1, -3)).shape == (3, 8, 12)
    assert model.super_resolve(Image.new("P", (6, 4)).convert("RGB")).size == (12, 8)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 3), bool),
        torch.zeros(3, 4, 4, dtype=torch.int64),
    ],
)
def test_other_dtypes_are_an_error_with_a_remedy(image):
    with pytest.raises(TypeError, match=r"got (torch\.)?(uint16|bool|int64); convert to float"):
        Repeat().super_resolve(image)


@pytest.mark.parametrize("image", ["photo.png", [[0, 0, 0]], None])
def test_other_kinds_are_an_error_with_a_remedy(image):
    with pytest.raises(TypeError, match=r"got (str|list|NoneType); read a file with .*read_image"):
        Repeat().super_resolve(image)


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, float("nan"), float("inf")])
def test_floating_point_values_outside_the_range_are_an_error(value):
    image = torch.zeros(3, 4, 4)
    image[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got .*divide"):
        Repeat().super_resolve(image)
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got .*divide"):
        Repeat().super_resolve(image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("image", [np.zeros((0, 4, 3), np.uint8), torch.zeros(0, 3, 4, 4)])
def test_an_image_without_pixels_is_an_error(image):
    with pytest.raises(ValueError, match="expected an image with pixels, got shape"):
        Repeat().super_resolve(image)


@pytest.mark.parametrize("arguments", [{"tile": 0}, {"overlap": -1}])
def test_impossible_tiles_are_an_error(arguments):
    with pytest.raises(ValueError, match="must be at least"):
        Repeat().super_resolve(photograph(4, 4), **arguments)


@pytest.mark.parametrize("scale", [1, 5, 2.5, "4"])
def test_an_unknown_scale_is_an_error(scale):
    with pytest.raises(ValueError, match=r"scale must be one of \(2, 3, 4\), got"):
        Repeat(scale)


# --- how it runs -------------------------------------------------------------------------------


def test_the_network_runs_in_evaluation_mode_and_every_module_gets_its_mode_back():
    model = Repeat()
    model.first, model.second = nn.ReLU(), nn.ReLU()
    model.train()
    model.second.eval()
    model.super_resolve(photograph(4, 4))
    assert model.modes == [False]
    assert (model.training, model.first.training, model.second.training) == (True, True, False)


def test_the_mode_comes_back_after_an_error():
    class Failing(Repeat):
        def forward(self, image):
            raise RuntimeError("broken")

    model = Failing().train()
    with pytest.raises(RuntimeError, match="broken"):
        model.super_resolve(photograph(4, 4))
    assert model.training


def test_no_gradients_are_kept_and_the_result_can_be_used_with_gradients():
    model = Repeat()
    result = model.super_resolve(torch.ones(3, 4, 4, requires_grad=True))
    assert not result.requires_grad
    (result * model.gain).sum().backward()
    assert model.gain.grad == 3 * 8 * 8


def test_the_network_computes_in_its_own_dtype():
    model = Repeat().double()
    assert model.super_resolve(photograph(2, 2)).dtype == np.uint8
    assert model.seen[0].dtype == torch.float64


def test_white_stays_white_in_a_network_of_low_precision():
    white = np.full((2, 2, 3), 255, np.uint8)
    assert (Repeat().to(torch.bfloat16).super_resolve(white) == 255).all()


def test_one_tile_of_one_image_is_computed_at_a_time(generator):
    model = Repeat()
    model.super_resolve(torch.rand(2, 3, 50, 33, generator=generator), tile=16, overlap=3)
    assert len(model.seen) == 2 * 4 * 3
    assert all(part.shape[0] == 1 and max(part.shape[2:]) <= 16 + 2 * 3 for part in model.seen)


def test_without_tiles_the_whole_image_is_computed_at_once():
    model = Repeat()
    model.super_resolve(photograph(300, 2), tile=None)
    assert [part.shape for part in model.seen] == [(1, 3, 300, 2)]


@pytest.mark.parametrize("size", [(40, 31), (11, 3), (1, 25)])
@pytest.mark.parametrize("tile", [1, 10, 16])
def test_tiles_are_exact_from_the_radius_of_the_receptive_field(size, tile):
    model, image = WholeNumbers(), torch.from_numpy(photograph(*size) / 256).permute(2, 0, 1)
    whole = model.super_resolve(image, tile=None)
    assert whole.std() > 0.01
    tiled = model.super_resolve(image, tile=tile, overlap=model.RADIUS)
    assert torch.equal(tiled, whole)


def test_tiles_with_less_context_show_seams():
    model, image = WholeNumbers(), torch.from_numpy(photograph(40, 31) / 256).permute(2, 0, 1)
    tiled = model.super_resolve(image, tile=10, overlap=model.RADIUS - 1)
    assert not torch.equal(tiled, model.super_resolve(image, tile=None))


@pytest.mark.parametrize(("network", "radius"), [(ESPCN, 4), (ResidualSR, 8)])
def test_tiles_of_small_networks_are_exact_up_to_rounding(network, radius):
    model = network()
    model.initialize_(torch.Generator().manual_seed(0))
    image = photograph(45, 37) / 255
    tiled = model.super_resolve(image, tile=16, overlap=radius)
    whole = model.super_resolve(image, tile=None)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)  # other order of float32 sums


# --- what networks share -----------------------------------------------------------------------


def test_drawing_leaves_parameters_that_are_no_weights_of_convolutions_alone():
    layer = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.PReLU())
    layer.scale = nn.Parameter(torch.full((3, 1, 1, 1), 7.0))  # like the steps of a quantizer
    nn.init.ones_(layer[1].bias)
    draw_convolutions_(layer, lambda w: nn.init.constant_(w, 5.0))
    assert (layer[0].weight == 5).all()
    assert not layer[0].bias.any()
    assert not layer[1].bias.any()
    assert (layer[1].weight == 1).all()
    assert layer[2].weight == 0.25
    assert (layer.scale == 7).all()


def test_a_network_that_does_not_say_how_its_weights_start_says_so():
    with pytest.raises(NotImplementedError, match="Repeat does not say"):
        Repeat().initialize_()


def random_image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(13, 17), (1, 1), (2, 5)])
def test_bicubic_upsampling_is_pillows_on_float_images_borders_included(scale, size):
    image = random_image(*size)
    height, width = size
    pillow = Image.fromarray(image.numpy()).resize((width * scale, height * scale), Image.BICUBIC)
    ours = bicubic_upsample(image[None, None], scale)[0, 0]
    np.testing.assert_allclose(ours, np.asarray(pillow), atol=5e-6)  # float32 coefficients


def test_bicubic_upsampling_has_the_kernel_with_a_of_minus_one_half():
    impulse = torch.zeros(1, 1, 1, 9, dtype=torch.float64)
    impulse[..., 4] = 1
    row = bicubic_upsample(impulse, 2)[0, 0, 0]

    def kernel(x: float, a: float = -0.5) -> float:
        x = abs(x)
        if x < 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    expected = [kernel((column + 0.5) / 2 - 0.5 - 4) for column in range(18)]
    np.testing.assert_allclose(row, expected, atol=1e-12)
