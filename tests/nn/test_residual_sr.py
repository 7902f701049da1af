import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from vismodels.cost.counters import count
from vismodels.nn.residual_sr import ESPCN, ResidualSR
from vismodels.nn.super_resolution import bicubic_upsample

NETWORKS = [ESPCN, ResidualSR]


def random_image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("network", "parameters", "macs_per_pixel"),
    [
        (ESPCN, 37_056 + 64 + 32 + 48, 37_056),
        (ResidualSR, 21_168 + 16 * 7 + 48, 21_168),
    ],
)
def test_the_default_networks_have_the_documented_size(network, parameters, macs_per_pixel):
    cost = count(network(), torch.zeros(1, 3, 6, 5))
    assert (cost.parameters, cost.macs) == (parameters, 30 * macs_per_pixel)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_scale_enlarges_odd_sizes(network, scale):
    assert network(scale=scale)(random_image(1, 3, 7, 5)).shape == (1, 3, 7 * scale, 5 * scale)


def test_an_untrained_residual_network_is_close_to_bicubic_and_not_equal():
    image = random_image(1, 3, 16, 16)
    model = ResidualSR()
    model.initialize_(torch.Generator().manual_seed(0))
    difference = (model(image) - bicubic_upsample(image, 4)).detach().abs().max()
    assert 1e-4 < difference < 0.2


@pytest.mark.parametrize("model", [ResidualSR(), ESPCN(bicubic_skip=True)])
def test_without_details_the_output_is_the_bicubic_image(model):
    nn.init.zeros_(model.layers[-1].weight)
    image = random_image(2, 3, 6, 5)
    assert torch.equal(model(image), bicubic_upsample(image, 4))


def test_espcn_of_the_paper_sees_no_bicubic_image():
    model = ESPCN()
    nn.init.zeros_(model.layers[-1].weight)
    assert not model(random_image(1, 3, 6, 5)).any()


def test_the_output_is_not_clamped():
    assert ResidualSR()(10 * random_image(1, 3, 8, 8)).max() > 1


def test_depth_and_width_are_arguments():
    model = ResidualSR(scale=2, channels=4, blocks=1)
    weights = [tuple(p.shape) for p in model.parameters() if p.ndim == 4]
    assert weights == [(4, 3, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3), (12, 4, 3, 3)]


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_depend_on_the_generator_alone(network):
    first, second, other = network(), network(), network()
    for model, seed in [(first, 1), (second, 1), (other, 2)]:
        model.initialize_(torch.Generator().manual_seed(seed))
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)


def test_weights_are_drawn_with_he_variance_and_small_at_the_ends_of_branches():
    model = ResidualSR(channels=64)
    model.initialize_(torch.Generator().manual_seed(0))
    he = math.sqrt(2 / (64 * 9))
    stds = [p.std().item() / he for p in model.parameters() if p.shape[1:] == (64, 3, 3)]
    np.testing.assert_allclose(stds, [1, 0.1] * 3 + [0.05], rtol=0.05)
    assert not any(p.any() for p in model.parameters() if p.ndim == 1)


def test_a_short_training_improves_on_bicubic():
    target = torch.zeros(4, 3, 32, 32)
    target[:, :, 8:24, 8:24] = torch.tensor([0.2, 0.5, 0.8, 1.0])[:, None, None, None]
    image = torch.nn.functional.avg_pool2d(target, 4)
    model = ResidualSR()
    model.initialize_(torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = (model(image) - target).abs().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.6 * (bicubic_upsample(image, 4) - target).abs().mean()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("scale", [1, 5, 2.5, "4"])
def test_an_unknown_scale_is_an_error(network, scale):
    with pytest.raises(ValueError, match=r"scale must be one of \(2, 3, 4\), got"):
        network(scale=scale)


@pytest.mark.parametrize("size", [{"channels": 0}, {"blocks": 0}, {"blocks": -1}])
def test_networks_without_channels_or_blocks_are_an_error(size):
    with pytest.raises(ValueError, match="must be at least 1"):
        ResidualSR(**size)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 4, 8, 8), (1, 3, 8)])
def test_an_input_of_another_shape_is_an_error_that_names_it(shape):
    with pytest.raises(ValueError, match=r"expected RGB images \(B, 3, h, w\), got shape"):
        ResidualSR()(torch.zeros(shape))


def test_an_eight_bit_image_is_an_error_with_a_remedy():
    with pytest.raises(TypeError, match=r"got torch\.uint8; divide by 255"):
        ESPCN()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_saved_files_hold_the_arguments_and_a_card_without_addresses(tmp_path):
    ResidualSR(scale=2, blocks=1).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    card = (tmp_path / "README.md").read_text()
    assert config == {"scale": 2, "channels": 16, "blocks": 1}
    assert "library_name: vismodels" in card
    assert "http" not in card
    assert ResidualSR.from_pretrained(tmp_path).scale == 2
