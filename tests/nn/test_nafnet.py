import nafnet_transcript as transcript
import pytest
import torch

from vismodels.nn.nafnet import ConditionalNAFNet, NAFNet

SMALL = {"width": 8, "encoder_blocks": (1, 1), "decoder_blocks": (1, 1)}


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("channels", "predictor", "both"), [(3, 4_494_563, 9_397_670), (1, 4_493_409, 9_394_786)]
)
def test_the_networks_of_the_paper_have_its_number_of_parameters(channels, predictor, both):
    first, second = NAFNet(channels), ConditionalNAFNet(channels)
    assert parameters(first) == predictor
    assert parameters(first) + parameters(second) == both


@pytest.mark.parametrize("channels", [1, 3])
def test_the_predictor_matches_its_transcription(channels):
    network = transcript.awaken_(NAFNet(channels, **SMALL))
    image = random(2, channels, 16, 24)
    expected = transcript.predictor(network, image)
    torch.testing.assert_close(network(image), expected, rtol=0, atol=1e-5)
    assert (expected - image).std() > 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_the_denoiser_matches_its_transcription(channels):
    network = transcript.awaken_(ConditionalNAFNet(channels, **SMALL))
    noisy, condition = random(2, channels, 16, 24), random(2, channels, 16, 24, seed=1)
    times = torch.tensor([3.0, 90.0])
    expected = transcript.denoiser(network, noisy, times, condition)
    torch.testing.assert_close(network(noisy, times, condition), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(network(noisy, times.flip(0), condition), expected, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (16, 5)])
def test_images_of_any_size_are_padded_at_the_right_and_the_bottom(size):
    network = transcript.awaken_(NAFNet(1, **SMALL))
    image = random(1, 1, *size)
    padded = torch.zeros(1, 1, *(-(-edge // 4) * 4 for edge in size))
    padded[:, :, : size[0], : size[1]] = image
    result = network(image)
    assert result.shape == image.shape
    assert torch.equal(result, network(padded)[:, :, : size[0], : size[1]])


def test_the_denoiser_takes_images_of_any_size():
    network = ConditionalNAFNet(1, condition_channels=2, **SMALL)
    assert network(random(2, 1, 5, 1), torch.tensor([7]), random(2, 2, 5, 1)).shape == (2, 1, 5, 1)


def test_one_time_stands_for_all_items():
    network = transcript.awaken_(ConditionalNAFNet(1, **SMALL))
    x = random(3, 1, 8, 8)
    one, each = network(x, torch.tensor([9.0]), x), network(x, torch.full((3,), 9.0), x)
    torch.testing.assert_close(one, each, rtol=0, atol=1e-6)  # other matrix products


@pytest.mark.parametrize("network", [NAFNet, ConditionalNAFNet])
def test_equal_seeds_give_equal_weights_and_blocks_that_are_identities(network):
    first, second, other = (network(**SMALL) for _ in range(3))
    first.initialize_(torch.Generator().manual_seed(1))
    second.initialize_(torch.Generator().manual_seed(1))
    other.initialize_(torch.Generator().manual_seed(2))
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(first.intro.weight, other.intro.weight)
    assert not any(block.beta.any() or block.gamma.any() for block in first.middle)


# --- local pooling -----------------------------------------------------------------------------


def local_network():
    return transcript.awaken_(NAFNet(1, **SMALL, train_size=16)).eval()


def test_local_pooling_does_not_depend_on_the_order_of_images():
    """The published code takes its window from the first image it sees."""
    small, large = random(1, 1, 16, 16), random(1, 1, 48, 40)
    one, other = local_network(), local_network()
    small_first, large_second = one(small), one(large)
    large_first, small_second = other(large), other(small)
    assert torch.equal(small_first, small_second)
    assert torch.equal(large_first, large_second)


def test_local_pooling_is_global_up_to_its_window_and_not_beyond():
    """The published code always pools globally."""
    local, whole = local_network(), transcript.awaken_(NAFNet(1, **SMALL)).eval()
    inside, beyond = random(1, 1, 24, 24), random(1, 1, 48, 48)
    beyond[:, :, 24:] = 0
    assert torch.equal(local(inside), whole(inside))
    assert (local(beyond) - whole(beyond)).abs().max() > 1e-3


def test_windows_are_one_and_a_half_training_patches_at_the_scale_of_each_level():
    network = NAFNet(1, **SMALL, train_size=16)
    levels = [*network.encoders, network.middle, *network.decoders]
    windows = [blocks[0].attention.window for blocks in levels]
    assert windows == [(24, 24), (12, 12), (6, 6), (12, 12), (24, 24)]


def test_local_pooling_sees_no_further_than_its_window():
    """Far from a change, the result stays the same; with global pooling it does not."""
    image = random(1, 1, 16, 240)
    changed = image.clone()
    changed[..., 200:] = 0
    local, whole = local_network(), transcript.awaken_(NAFNet(1, **SMALL)).eval()
    near = (..., slice(0, 48))
    torch.testing.assert_close(local(changed)[near], local(image)[near], rtol=0, atol=1e-5)
    assert (whole(changed)[near] - whole(image)[near]).abs().max() > 1e-3


# --- what is refused ---------------------------------------------------------------------------


def test_unequal_numbers_of_levels_are_an_error():
    with pytest.raises(ValueError, match=r"as many levels .* got 1 and 2"):
        NAFNet(encoder_blocks=(1, 1), decoder_blocks=(1,))


def test_an_impossible_training_size_is_an_error():
    with pytest.raises(ValueError, match=r"train_size .* got 0"):
        NAFNet(**SMALL, train_size=0)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 8, 8), (1, 1, 0, 8)])
def test_other_shapes_are_an_error(shape):
    with pytest.raises(ValueError, match=r"expected image of shape \(B, 1, H, W\), got"):
        NAFNet(1, **SMALL)(torch.zeros(shape))


def test_conditions_and_times_that_do_not_fit_are_an_error():
    network, x = ConditionalNAFNet(1, **SMALL), torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match="must have one batch, height and width"):
        network(x, torch.zeros(2), x[:, :, :4])
    with pytest.raises(ValueError, match=r"one time for all or one for each of 2 items, got .*3"):
        network(x, torch.zeros(3), x)
    with pytest.raises(ValueError, match=r"expected condition of shape \(B, 1, H, W\)"):
        network(x, torch.zeros(2), x.expand(-1, 2, -1, -1))
