import nafnet_transcript as transcript
import pytest
import torch

from vismodels.nn.nafnet import ConditionalNAFNet, NAFNet
from vismodels.nn.nafnet_inference import FoldedNAFNet

SHAPES = [
    {"width": 8, "encoder_blocks": (1, 2), "decoder_blocks": (2, 1), "middle_blocks": 2},
    {"width": 16, "encoder_blocks": (1, 1, 1), "decoder_blocks": (1, 1, 1), "train_size": 16},
]
sizes = pytest.mark.parametrize("size", [(1, 1), (7, 33), (48, 40)])
shapes = pytest.mark.parametrize("shape", SHAPES)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@shapes
@sizes
@pytest.mark.parametrize("channels", [1, 3])
def test_a_folded_predictor_gives_the_same_numbers(shape, size, channels):
    network = transcript.awaken_(NAFNet(channels, **shape))
    image = random(2, channels, *size)
    expected = network(image).detach()
    torch.testing.assert_close(FoldedNAFNet(network)(image), expected, rtol=0, atol=1e-5)


@shapes
@sizes
@pytest.mark.parametrize("time", [0.0, 49.5, 990.0])
def test_a_folded_denoiser_gives_the_same_numbers(shape, size, time):
    network = transcript.awaken_(ConditionalNAFNet(1, condition_channels=2, **shape))
    noisy, condition = random(2, 1, *size), random(2, 2, *size, seed=1)
    times = torch.tensor([time])
    expected = network(noisy, times, condition).detach()
    folded = FoldedNAFNet(network, times)(noisy, condition)
    torch.testing.assert_close(folded, expected, rtol=0, atol=1e-5)


def test_the_networks_of_the_paper_agree():
    network = transcript.awaken_(ConditionalNAFNet(3))
    noisy, condition = random(1, 3, 64, 64), random(1, 3, 64, 64, seed=1)
    time = torch.tensor([42.0])
    expected = network(noisy, time, condition).detach()
    folded = FoldedNAFNet(network, time)(noisy, condition)
    torch.testing.assert_close(folded, expected, rtol=0, atol=1e-5)


def test_inputs_stay_as_they_were_and_no_gradient_is_kept():
    network = transcript.awaken_(NAFNet(1, **SHAPES[0]))
    image = random(1, 1, 8, 8).requires_grad_()
    before = image.detach().clone()
    result = FoldedNAFNet(network)(image)
    assert torch.equal(image, before)
    assert not result.requires_grad


def test_it_computes_in_double_precision_too():
    network = transcript.awaken_(NAFNet(1, **SHAPES[0])).double()
    image = random(1, 1, 8, 8).double()
    torch.testing.assert_close(FoldedNAFNet(network)(image), network(image).detach())


def test_the_network_is_left_as_it_is():
    network = transcript.awaken_(NAFNet(1, **SHAPES[0]))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    FoldedNAFNet(network)(random(1, 1, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_times_that_do_not_fit_are_an_error():
    denoiser = ConditionalNAFNet(1, **SHAPES[0])
    with pytest.raises(ValueError, match=r"shape \(1,\), got None"):
        FoldedNAFNet(denoiser)
    with pytest.raises(ValueError, match=r"shape \(1,\), got \(2,\)"):
        FoldedNAFNet(denoiser, torch.zeros(2))
    with pytest.raises(ValueError, match="NAFNet knows no time"):
        FoldedNAFNet(NAFNet(1, **SHAPES[0]), torch.zeros(1))
