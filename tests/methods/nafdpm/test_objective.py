import pytest
import torch
from torch.nn import functional

from vismodels.methods.nafdpm.objective import (
    draw_timesteps,
    laplacian,
    prediction_loss,
    residual_loss,
)

KERNEL = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype=torch.float64)


@pytest.fixture
def images(generator):
    return torch.rand(2, 2, 3, 7, 9, generator=generator, dtype=torch.float64)


def test_laplacian_is_the_depthwise_convolution_with_zeros_around(images):
    convolved = functional.conv2d(images[0], KERNEL.expand(3, 1, 3, 3), padding=1, groups=3)
    torch.testing.assert_close(laplacian(images[0]), convolved)


def test_laplacian_of_a_single_pixel_by_hand():
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 0, 0] = 1
    assert laplacian(image)[0, 0].tolist() == [[8, -1, 0], [-1, -1, 0], [0, 0, 0]]


def test_the_low_frequency_term_amplifies_a_checkerboard_sevenfold_and_stripes_elevenfold():
    """The term is named after what it is not: u - H(u) grows with the frequency."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    gains = {}
    for name, pattern in {
        "flat": torch.ones(32, 32),
        "checkerboard": 1 - 2 * ((rows + columns) % 2),
        "stripes": 1 - 2 * (rows % 2),
    }.items():
        image = pattern[None, None]
        inside = (image - laplacian(image))[..., 2:-2, 2:-2] / image[..., 2:-2, 2:-2]
        assert inside.unique().numel() == 1
        gains[name] = inside.unique().item()
    assert gains == {"flat": 1, "checkerboard": -7, "stripes": -11}


def test_residual_loss_by_its_definition(images):
    estimate, residual = images
    pixels = (estimate - residual).square().mean()
    high = (laplacian(estimate) - laplacian(residual)).square().mean()
    torch.testing.assert_close(residual_loss(estimate, residual), pixels + 2 * high)
    torch.testing.assert_close(residual_loss(estimate, residual, 0.5), pixels + 0.5 * high)


def test_prediction_loss_by_its_definition(images):
    prediction, clean = images
    pixels = (prediction - clean).square().mean()
    low = (prediction - laplacian(prediction)) - (clean - laplacian(clean))
    expected = pixels + 2 * low.square().mean()
    torch.testing.assert_close(prediction_loss(prediction, clean), expected)


def test_l1_replaces_every_square(images):
    first, second = images
    expected = (first - second).abs().mean() + 2 * laplacian(first - second).abs().mean()
    torch.testing.assert_close(residual_loss(first, second, loss="l1"), expected)


@pytest.mark.parametrize("times", ["uniform", "late"])
def test_timesteps_lie_in_the_schedule_and_repeat_with_the_seed(times):
    drawn = [draw_timesteps(20_000, 100, times, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*drawn)
    assert (drawn[0].min(), drawn[0].max()) == (0, 99)


def test_late_timesteps_are_noisier(generator):
    uniform = draw_timesteps(20_000, 100, "uniform", generator).double().mean()
    late = draw_timesteps(20_000, 100, "late", generator).double().mean()
    assert uniform == pytest.approx(49.5, abs=1)
    assert late == pytest.approx(66.2, abs=1)  # 2/3 of the schedule, less half a step
