import math

import nafnet_transcript as transcript
import pytest
import torch
from torch import nn

from vismodels.nn.naf_blocks import (
    ChannelAttention,
    ChannelNorm,
    NAFBlock,
    TimeEmbedding,
    local_mean,
    norm_epsilon,
    pooled_means,
    simple_gate,
)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def awake_block(channels=6, time_channels=None, window=None):
    block = NAFBlock(channels, time_channels, window)
    generator = torch.Generator().manual_seed(1)
    for parameter in block.parameters():
        nn.init.normal_(parameter, 0, 0.5, generator=generator)
    return block


def test_a_hand_computed_norm_has_a_gain_and_no_bias():
    norm = ChannelNorm(2)
    nn.init.constant_(norm.gain, 3.0)
    result = norm(torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)).flatten()
    expected = 3 * 2 / math.sqrt(4 + 1e-5)
    torch.testing.assert_close(result, torch.tensor([-expected, expected]))
    assert [name for name, _ in norm.named_parameters()] == ["gain"]


def test_the_norm_divides_by_the_root_of_the_biased_variance_plus_epsilon():
    x = 1e-3 * random(2, 4, 3, 3)  # so small that epsilon matters
    expected = transcript.norm(x, torch.ones(4))
    torch.testing.assert_close(ChannelNorm(4)(x), expected)
    assert expected.std() < 0.5


def test_the_epsilon_is_larger_in_half_precision():
    assert norm_epsilon(torch.float32) == norm_epsilon(torch.float64) == 1e-5
    assert norm_epsilon(torch.float16) == norm_epsilon(torch.bfloat16) == 1e-3


def test_the_gate_multiplies_the_halves_of_the_channels():
    x = torch.tensor([1.0, 2, 3, 4]).view(1, 4, 1, 1)
    assert simple_gate(x).flatten().tolist() == [3, 8]


@pytest.mark.parametrize("time_channels", [None, 8])
def test_a_fresh_block_is_the_identity(time_channels):
    block = NAFBlock(6, time_channels)
    x = random(2, 6, 5, 7)
    assert torch.equal(block(x, random(2, 8) if time_channels else None), x)


def test_a_block_matches_its_transcription():
    block, x = awake_block(), random(2, 6, 9, 7)
    torch.testing.assert_close(block(x), transcript.block(block, x), rtol=1e-5, atol=1e-5)


def test_a_block_with_time_matches_its_transcription():
    block, x, embedding = awake_block(time_channels=8), random(2, 6, 9, 7), random(2, 8, seed=2)
    expected = transcript.block(block, x, embedding)
    torch.testing.assert_close(block(x, embedding), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(block(x, -embedding[:, [0] * 8]), expected, atol=0.1)


@pytest.mark.parametrize("part", range(4))
def test_the_time_gives_shift_and_scale_of_the_first_norm_and_then_of_the_second(part):
    """Shift and scale are seen where they act: in front of conv1 and of conv4."""
    block = NAFBlock(2, 4)
    nn.init.zeros_(block.time.weight)
    with torch.no_grad():
        block.time.bias.copy_(torch.arange(8).div(2, rounding_mode="floor") == part)
    seen = []
    for layer in (block.conv1, block.conv4):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    block(x, torch.zeros(1, 4))
    normed = ChannelNorm(2)(x)
    changed = normed + 1 if part in (0, 2) else normed * 2
    expected = [changed, normed] if part < 2 else [normed, changed]
    torch.testing.assert_close(seen, expected)


def test_attention_scales_each_channel_by_a_mix_of_the_means():
    attention = ChannelAttention(2)
    with torch.no_grad():
        attention.mix.weight.copy_(torch.tensor([[0.0, 1], [2, 0]]).view(2, 2, 1, 1))
        attention.mix.bias.copy_(torch.tensor([0.0, 1]))
    x = torch.tensor([[1.0, 3], [10, 30]]).view(1, 2, 1, 2)
    assert attention(x).flatten().tolist() == [20, 60, 50, 150]


def test_a_hand_computed_local_mean_takes_the_nearest_window_inside():
    x = torch.tensor([0.0, 3, 6, 9, 12]).view(1, 1, 1, 5)
    assert local_mean(x, (1, 3)).flatten().tolist() == [3, 3, 6, 9, 9]
    assert local_mean(x, (4, 2)).flatten().tolist() == [1.5, 1.5, 4.5, 7.5, 10.5]


@pytest.mark.parametrize("window", [(3, 3), (5, 2), (1, 1), (2, 20)])
def test_local_means_are_those_of_average_pooling(window):
    x = random(2, 3, 9, 8)
    rows, columns = min(window[0], 9), min(window[1], 8)
    pooled = nn.functional.avg_pool2d(x, (rows, columns), stride=1)
    top, left = rows // 2, columns // 2
    padding = (left, 8 - pooled.shape[3] - left, top, 9 - pooled.shape[2] - top)
    expected = nn.functional.pad(pooled, padding, mode="replicate")
    torch.testing.assert_close(local_mean(x, window), expected, rtol=1e-4, atol=1e-5)


def test_means_over_a_window_that_covers_the_image_are_global():
    x = random(2, 3, 4, 5)
    expected = x.mean((2, 3), keepdim=True)
    assert torch.equal(pooled_means(x, None), expected)
    assert torch.equal(pooled_means(x, (4, 5)), expected)
    assert pooled_means(x, (4, 4)).shape == x.shape


def test_a_block_with_a_window_differs_only_on_images_that_leave_it():
    whole, local = awake_block(), awake_block(window=(6, 6))
    inside, beyond = random(1, 6, 6, 6), random(1, 6, 12, 12)
    assert torch.equal(local(inside), whole(inside))
    assert not torch.allclose(local(beyond), whole(beyond), atol=1e-3)


def test_the_time_embedding_matches_its_transcription():
    embedding = TimeEmbedding(8)
    times = torch.tensor([0.0, 1, 50, 99])
    expected = transcript.time_embedding(embedding, times, 8)
    torch.testing.assert_close(embedding(times), expected)
    assert embedding(times).shape == (4, 32)
    assert torch.equal(embedding(times.long()), embedding(times))


@pytest.mark.parametrize("width", [2, 5])
def test_an_impossible_width_of_the_time_embedding_is_an_error(width):
    with pytest.raises(ValueError, match=f"even width of at least 4, got {width}"):
        TimeEmbedding(width)
