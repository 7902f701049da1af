import numpy as np
import pytest
import torch
from torch import nn

from vismodels.data.enlarging import evaluate, measure, upscale
from vismodels.data.pairs import Pair, PairSet
from vismodels.data.resize import bicubic_resize
from vismodels.metrics.image import psnr_y, ssim_y


class Repeat(nn.Module):
    """Repeat every pixel, times a gain; remembers whether it was in training mode."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.modes, self.gradients = [], []

    def forward(self, image):
        self.modes.append(self.training)
        result = self.gain * image.repeat_interleave(4, -1).repeat_interleave(4, -2)
        self.gradients.append(result.requires_grad)
        return result


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pair(name, seed):
    return Pair(name, random_image(48, 40, seed), random_image(12, 10, seed + 10))


def test_upscaling_keeps_rows_columns_and_colours_in_place():
    image = random_image(5, 7)
    assert np.array_equal(upscale(Repeat(), image), image.repeat(4, 0).repeat(4, 1))


def test_result_is_clipped_and_rounded():
    image = np.array([[[1, 100, 255]]], dtype=np.uint8)
    assert upscale(Repeat(1.5), image)[0, 0].tolist() == [2, 150, 255]


@pytest.mark.parametrize("training", [True, False])
def test_network_runs_in_evaluation_mode_without_gradient_and_its_mode_is_kept(training):
    network = Repeat().train(training)
    upscale(network, random_image(2, 2))
    assert (network.modes, network.gradients) == ([False], [False])
    assert network.training is training


def test_mode_is_kept_when_the_network_fails():
    network = Repeat().train()
    with pytest.raises(RuntimeError):
        upscale(network, random_image(2, 2)[..., 0])
    assert network.training


def test_every_image_is_measured_by_the_metrics_of_the_catalogue():
    pairs = PairSet([pair("a", 0), pair("b", 1)])
    values = measure(lambda image: bicubic_resize(image, scale=4), pairs, border=3)
    assert list(values) == ["psnr_y", "ssim_y"]
    for made in pairs:
        result = bicubic_resize(made.lr, scale=4)
        assert values["psnr_y"][made.name] == psnr_y(result, made.hr, border=3)
        assert values["ssim_y"][made.name] == ssim_y(result, made.hr, border=3)


def test_evaluating_a_network_is_measuring_its_results():
    network, pairs = Repeat(), PairSet([pair("a", 0)])
    expected = measure(lambda image: image.repeat(4, 0).repeat(4, 1), pairs, border=4)
    assert evaluate(network, pairs, border=4) == expected


def test_a_result_of_another_size_is_refused():
    pairs = PairSet([pair("a", 0)])
    with pytest.raises(ValueError, match="differ in shape"):
        measure(lambda image: image, pairs, border=4)
