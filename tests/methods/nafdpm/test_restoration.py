import nafnet_transcript as transcript
import pytest
import torch

from vismodels.diffusion.sampling import sample
from vismodels.diffusion.schedules import linear_betas, solver
from vismodels.methods.nafdpm import restoration
from vismodels.methods.nafdpm.restoration import (
    Tiling,
    blank_tiles,
    predict_page,
    refine_page,
    sample_residual,
    smoothed,
)
from vismodels.nn.blending import tile_grid
from vismodels.nn.nafnet import ConditionalNAFNet, NAFNet

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZES = {"image_channels": 1, "width": 4, "encoder_blocks": (1,), "decoder_blocks": (1,)}
EVERY_TILE = Tiling(24, 4, blank_tolerance=None)


def predictor():
    return transcript.awaken_(NAFNet(**SIZES))


def denoiser():
    return transcript.awaken_(ConditionalNAFNet(**SIZES))


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw(page, tiling=EVERY_TILE, num_steps=3, scheduler=None, time_scale=100, network=None):
    return sample_residual(
        network or denoiser(),
        scheduler or solver(linear_betas()),
        page,
        page,
        gaussian(1, *page.shape[1:]),
        num_steps,
        tiling,
        "deblurring",
        time_scale,
    )


def text_page(height=96, width=96):
    """Noisy paper with ink in its upper left quarter."""
    page = 0.9 + 0.02 * gaussian(1, 1, height, width).clamp(-3, 3)
    page[:, :, 8:12, 8:30] = 0.1
    return page


# --- whole pages and tiles ---------------------------------------------------------------------


def test_a_page_of_one_tile_is_computed_as_a_whole():
    page, network = random(2, 1, 21, 17), predictor()
    whole = network(page).detach()
    tiled = predict_page(network, page, EVERY_TILE, "deblurring")
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_a_residual_of_one_tile_is_that_of_the_plain_loop():
    page, network = random(2, 1, 21, 17), denoiser()
    noise = gaussian(1, 1, 21, 17)
    with torch.no_grad():
        expected = sample(
            lambda x, t: network(x, t.float(), page),
            solver(linear_betas()),
            noise.expand_as(page),
            3,
            clip=1.0,
        )
    torch.testing.assert_close(draw(page, network=network), expected, rtol=0, atol=1e-5)


class Pointwise:
    """Stands for a folded network whose estimate of a pixel depends on that pixel only."""

    def __init__(self, network, time=None):
        self.time = time

    def __call__(self, noisy, condition=None):
        if condition is None:
            return noisy.square()
        return torch.tanh(noisy + condition + 0.01 * self.time)


def test_tiles_leave_no_seams(monkeypatch):
    """One noise field, and steps of the whole page: tiled equals whole wherever the network can."""
    monkeypatch.setattr(restoration, "FoldedNAFNet", Pointwise)
    page = random(2, 1, 70, 53)
    whole, tiled = draw(page, Tiling(200, 4, blank_tolerance=None)), draw(page)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    first = predict_page(predictor(), page, EVERY_TILE, "deblurring")
    torch.testing.assert_close(first, page.square(), rtol=0, atol=1e-5)


def test_seams_would_show_with_noise_of_its_own_for_each_tile(monkeypatch):
    monkeypatch.setattr(restoration, "FoldedNAFNet", Pointwise)
    page = torch.full((1, 1, 70, 53), 0.5)
    residual = draw(page, num_steps=1, scheduler=solver(linear_betas()))
    expected = torch.tanh(gaussian(1, 1, 70, 53) + 0.5 + 0.99)
    torch.testing.assert_close(residual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_the_size_of_batches_does_not_matter(batch_size):
    page = random(1, 1, 50, 60)
    one = draw(page, Tiling(24, 4, 2, None))
    torch.testing.assert_close(draw(page, Tiling(24, 4, batch_size, None)), one, rtol=0, atol=1e-5)


def test_pages_of_a_batch_do_not_influence_one_another():
    pages = random(2, 1, 40, 30)
    both = draw(pages)
    for item in range(2):
        torch.testing.assert_close(both[item : item + 1], draw(pages[item : item + 1]))


def test_estimates_are_clamped_before_they_are_blended(monkeypatch):
    class Huge(Pointwise):
        def __call__(self, noisy, condition=None):
            return torch.full_like(noisy, 50.0)

    monkeypatch.setattr(restoration, "FoldedNAFNet", Huge)
    torch.testing.assert_close(draw(random(1, 1, 40, 40)), torch.ones(1, 1, 40, 40))


@pytest.mark.parametrize(("time_scale", "first"), [(100, 99), (1000, 990)])
def test_the_denoiser_sees_the_times_of_its_training_unless_told_otherwise(
    time_scale, first, monkeypatch
):
    """The published code trains on 0..99 and samples from 990 down."""
    seen = []

    class Listening(Pointwise):
        def __init__(self, network, time=None):
            super().__init__(network, time)
            seen.append(time.item())

    monkeypatch.setattr(restoration, "FoldedNAFNet", Listening)
    draw(random(1, 1, 8, 8), num_steps=9, time_scale=time_scale)
    expected = [first * (9 - step) / 9 for step in range(9)]
    assert seen == pytest.approx(expected)


def test_the_refined_page_is_the_prediction_plus_the_mean_residual_clamped():
    prediction = torch.tensor([0.5, 0.9, 0.1]).view(1, 1, 1, 3)
    residuals = [torch.full_like(prediction, 0.1), torch.full_like(prediction, 0.3)]
    refined = refine_page(prediction, residuals)
    torch.testing.assert_close(refined.flatten(), torch.tensor([0.7, 1.0, 0.3]))


# --- blank tiles -------------------------------------------------------------------------------


def test_noisy_paper_is_blank_and_a_dot_is_not():
    page = 0.9 + 0.02 * gaussian(1, 1, 64, 64)
    grid = tile_grid(64, 64, 32, 0)
    assert blank_tiles(page, grid, 0.03, "deblurring").all()
    page[:, :, 40:43, 10:13] = 0.1  # nine pixels of ink
    assert blank_tiles(page, grid, 0.03, "deblurring").tolist() == [[True, True, False, True]]


def test_a_coloured_mark_is_not_blank_even_if_its_luma_is_that_of_the_paper():
    page = torch.full((1, 3, 32, 32), 0.5)
    page[:, 0, 8:16, 8:16] = 0.9
    assert not blank_tiles(page, tile_grid(32, 32, 32, 0), 0.03, "deblurring").any()


def test_without_a_tolerance_nothing_is_blank():
    assert not blank_tiles(torch.ones(1, 1, 9, 9), tile_grid(9, 9, 9, 0), None, "deblurring").any()


def test_dark_tiles_are_not_blank_to_a_binarization():
    page = torch.full((1, 1, 9, 9), 0.2)
    grid = tile_grid(9, 9, 9, 0)
    assert not blank_tiles(page, grid, 0.03, "binarization").any()
    assert blank_tiles(page, grid, 0.03, "deblurring").all()
    assert blank_tiles(1 - page, grid, 0.03, "binarization").all()


def test_blank_tiles_are_not_computed(monkeypatch):
    shapes = []

    class Counting(Pointwise):
        def __call__(self, noisy, condition=None):
            shapes.append(len(noisy))
            return super().__call__(noisy, condition)

    monkeypatch.setattr(restoration, "FoldedNAFNet", Counting)
    tiling = Tiling(32, 4, batch_size=1)
    page = text_page()
    blank = blank_tiles(page, tiling.grid(page, 2), 0.03, "deblurring")
    predict_page(predictor(), page, tiling, "deblurring")
    assert 0 < len(shapes) == (~blank).sum() < blank.numel()
    shapes.clear()
    draw(page, tiling, num_steps=2)
    assert len(shapes) == 2 * (~blank).sum()


def test_blank_tiles_come_back_smooth_and_without_residual():
    page = text_page()
    tiling = Tiling(32, 4)
    prediction = predict_page(predictor(), page, tiling, "deblurring")
    corner = (..., slice(64, None), slice(64, None))
    torch.testing.assert_close(prediction[corner], smoothed(page)[corner])
    assert prediction[corner].std() < 0.2 * page[corner].std()
    scheduler = solver(linear_betas(), final_sigma="sigma_min")  # leaves noise at the end
    residual = draw(page, tiling, scheduler=scheduler)
    assert not residual[corner].any()
    assert residual[:, :, 8:12, 8:20].any()


def test_blank_tiles_of_a_binarization_are_white():
    prediction = predict_page(predictor(), text_page(), Tiling(32, 4), "binarization")
    assert (prediction[..., 64:, 64:] == 1).all()


def test_a_constant_page_stays_constant_when_smoothed():
    torch.testing.assert_close(
        smoothed(torch.full((1, 2, 21, 3), 0.7)), torch.full((1, 2, 21, 3), 0.7)
    )


def test_smoothing_follows_slow_changes_of_the_light():
    page = torch.linspace(0, 1, 160).expand(1, 1, 24, 160)
    torch.testing.assert_close(smoothed(page)[..., 8:-8], page[..., 8:-8], rtol=0, atol=1e-3)
