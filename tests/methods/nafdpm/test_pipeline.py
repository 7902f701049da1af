import nafnet_transcript as transcript
import numpy as np
import pytest
import torch
from PIL import Image

from vismodels.methods.nafdpm.config import DiffusionConfig, NetworkConfig
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def make(task="deblurring", channels=1, tile_size=48, threshold=0.5, **options):
    diffusion = {key: options.pop(key) for key in ("time_scale",) if key in options}
    sizes = NetworkConfig(width=4, blocks=(1,), **options)
    model = PredictAndRefine(channels, sizes, DiffusionConfig(**diffusion))
    transcript.awaken_(model.predictor)
    if model.denoiser is not None:
        transcript.awaken_(model.denoiser, seed=1)
        with torch.no_grad():
            model.denoiser.ending.weight.mul_(0.2)
            model.denoiser.ending.bias.zero_()
    return NAFDPMPipeline.from_model(model, task, tile_size, threshold)


def page(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def tensor(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# --- kinds of images ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("task", ["deblurring", "binarization"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pil_image_comes_back_in_its_mode(mode, task, channels):
    image = Image.fromarray(page(21, 17, 4)).convert(mode)
    restored = make(task, channels).restore(image, num_steps=1)
    assert (restored.mode, restored.size) == (mode, image.size)
    if mode in ("LA", "RGBA"):
        assert restored.getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_a_palette_image_comes_back_as_rgb():
    image = Image.fromarray(page(21, 17, 3)).quantize(8)
    assert make().restore(image, num_steps=1).mode == "RGB"


@pytest.mark.parametrize("shape", [(21, 17), (21, 17, 1), (21, 17, 3), (21, 17, 4)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("task", ["deblurring", "binarization"])
def test_an_array_keeps_its_shape_and_dtype(shape, dtype, task):
    image = page(*shape) if dtype is np.uint8 else (page(*shape) / 255).astype(dtype)
    before = image.copy()
    restored = make(task).restore(image, num_steps=1)
    assert (restored.shape, restored.dtype) == (image.shape, image.dtype)
    np.testing.assert_array_equal(image, before)
    if shape[-1] == 4:
        np.testing.assert_array_equal(restored[..., 3], image[..., 3])


@pytest.mark.parametrize("shape", [(21, 17), (1, 21, 17), (2, 3, 21, 17), (4, 21, 17)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16, torch.float64])
def test_a_tensor_keeps_its_shape_and_dtype(shape, dtype):
    image = (tensor(*shape) * (255 if dtype == torch.uint8 else 1)).to(dtype)
    restored = make().restore(image, num_steps=1)
    assert (restored.shape, restored.dtype) == (image.shape, image.dtype)


def test_all_kinds_of_one_page_agree():
    pipeline, image = make(channels=3), page(21, 17, 3)
    expected = pipeline.restore(image)
    np.testing.assert_array_equal(np.array(pipeline.restore(Image.fromarray(image))), expected)
    moved = torch.from_numpy(image).movedim(-1, 0)
    np.testing.assert_array_equal(pipeline.restore(moved).movedim(0, -1), expected)
    np.testing.assert_allclose(pipeline.restore(image / 255), expected / 255, atol=0.51 / 255)
    assert (expected != image).mean() > 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (130, 3), (48, 48), (97, 113)])
@pytest.mark.parametrize("options", [{}, {"denoiser": False}])
def test_pages_of_any_size_are_restored_by_untrained_networks(size, options):
    restored = make(**options).restore(tensor(*size), num_steps=2)
    assert restored.shape == size
    assert ((restored >= 0) & (restored <= 1)).all()


def test_grey_networks_change_all_channels_by_what_the_luma_changes():
    pipeline = make()
    color = 0.4 + 0.2 * tensor(1, 3, 21, 17)
    restored = pipeline.restore(color)
    luma = (color * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    expected = (color + pipeline.restore(luma) - luma).clamp(0, 1)
    torch.testing.assert_close(restored, expected, rtol=0, atol=1e-5)


def test_colour_networks_keep_grey_grey():
    pipeline, grey = make(channels=3), tensor(21, 17)
    expected = pipeline.restore(grey.expand(3, -1, -1)).mean(0)
    torch.testing.assert_close(pipeline.restore(grey), expected)


# --- the result --------------------------------------------------------------------------------


def test_a_binarized_page_has_two_values_and_equal_channels():
    pipeline, image = make("binarization"), tensor(3, 60, 50)
    restored = pipeline.restore(image)
    assert set(restored.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(restored[0], restored[2])
    soft = pipeline.restore(image, soft=True)
    assert len(soft.unique()) > 100
    assert torch.equal(restored, (soft >= 0.5).float())


def test_the_threshold_is_that_of_the_pipeline():
    image = tensor(60, 50)
    soft = make("binarization").restore(image, soft=True)
    restored = make("binarization", threshold=0.8).restore(image)
    assert torch.equal(restored, (soft >= 0.8).float())


def test_the_prediction_alone_is_available():
    pipeline, image = make(), tensor(1, 1, 60, 50)
    output = pipeline(image)
    predicted = pipeline.restore(image, result="predicted")
    assert torch.equal(output.predictions, predicted)
    assert torch.equal(pipeline(image, num_steps=0).images, predicted)
    torch.testing.assert_close(make(denoiser=False).restore(image), predicted)
    assert not torch.allclose(output.images, predicted, atol=1e-3)


def test_equal_seeds_give_equal_pages_and_others_do_not():
    pipeline, image = make(), tensor(60, 50)
    first = pipeline.restore(image, seed=3)
    assert torch.equal(pipeline.restore(image, seed=3), first)
    assert not torch.equal(pipeline.restore(image, seed=4), first)


def test_a_generator_gives_the_noise():
    pipeline, image = make(), tensor(1, 1, 30, 30)
    first, again, other = (
        pipeline(image, generator=torch.Generator().manual_seed(seed)).images for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_page_does_not_depend_on_the_others_of_its_batch():
    pipeline, images = make(), tensor(3, 1, 60, 50)
    together = pipeline.restore(images)
    for index in range(3):
        torch.testing.assert_close(together[index], pipeline.restore(images[index]))


def test_several_samples_are_averaged_before_they_are_clamped():
    pipeline = make()
    image = 0.5 + 0.01 * tensor(1, 1, 30, 30)
    with torch.no_grad():
        pipeline.predictor.ending.weight.zero_()
        pipeline.predictor.ending.bias.zero_()
    tiles = {"blank_tolerance": None}
    generator = torch.Generator().manual_seed(7)
    single = [pipeline(image, generator=generator, **tiles).images for _ in range(2)]
    both = pipeline(image, generator=torch.Generator().manual_seed(7), samples=2, **tiles).images
    assert all(((one > 0) & (one < 1)).all() for one in single)
    torch.testing.assert_close(both, torch.stack(single).mean(0))
    assert not torch.equal(single[0], single[1])


def test_the_denoiser_can_see_the_degraded_page():
    pipeline = make(condition="prediction_and_input")
    assert pipeline.config.condition_on_input
    assert pipeline.denoiser.condition_channels == 2
    assert pipeline.restore(tensor(20, 20)).shape == (20, 20)


@pytest.mark.parametrize("time_scale", [100.0, 1000.0])
def test_the_time_scale_is_that_of_the_diffusion(time_scale):
    image = tensor(30, 30)
    plain, scaled = make().restore(image), make(time_scale=time_scale).restore(image)
    assert torch.equal(plain, scaled) == (time_scale == 100)


def test_results_can_be_used_with_gradients():
    weight = torch.ones(1, requires_grad=True)
    (make().restore(tensor(9, 9)) * weight).sum().backward()
    assert weight.grad is not None


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": -1}, r"num_steps must be in 0\.\.100, got -1"),
        ({"num_steps": 101}, r"num_steps must be in 0\.\.100, got 101"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"overlap": 24}, "more than twice as large as their overlap"),
        ({"batch_size": 0}, "batch_size must be at least 1 tile"),
        ({"result": "coarse"}, "result is refined or predicted, got 'coarse'"),
    ],
)
def test_impossible_arguments_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        make().restore(tensor(9, 9), **arguments)


def test_a_tensor_with_other_channels_is_an_error():
    with pytest.raises(ValueError, match=r"expected images of shape \(B, 1, H, W\), got"):
        make()(tensor(1, 3, 9, 9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "denoising"}, "task is deblurring or binarization, got 'denoising'"),
        ({"tile_size": 16}, "tile_size must be above 32 pixels, got 16"),
        ({"threshold": 1.0}, "threshold must lie between 0 and 1, got 1"),
        ({"levels": "page"}, "page_levels is for a binarization of grey .*got deblurring with 1"),
    ],
)
def test_impossible_settings_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_networks_that_do_not_fit_are_an_error():
    pipeline = make()
    with pytest.raises(ValueError, match="denoiser of 1 channels with 2 of the condition, got"):
        NAFDPMPipeline(
            pipeline.predictor, pipeline.denoiser, pipeline.scheduler, condition_on_input=True
        )


def test_a_binarization_by_page_levels_is_the_same_for_paler_ink_and_darker_paper():
    grey = np.full((1, 1, 60, 70), 0.9, np.float32)
    grey[..., ::10] = 0.1
    grey += np.random.default_rng(0).uniform(-0.05, 0.05, grey.shape).astype(np.float32)
    pale = torch.from_numpy(grey * 0.4 + 0.3)
    levels = make("binarization", levels="page")
    given = make("binarization")

    def difference(pipeline):
        pages = (torch.from_numpy(grey), pale)
        one, other = (pipeline.restore(page, soft=True, num_steps=0) for page in pages)
        return float((one - other).abs().max())

    assert difference(levels) < 3e-3 < 0.01 < difference(given)
