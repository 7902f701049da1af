import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vismodels.cost.counters import count
from vismodels.device import deterministic
from vismodels.nn.hooks import capture
from vismodels.nn.rfdn import RFDN, DistillationBlock, EnhancedSpatialAttention


def drawn(seed=0, **arguments):
    model = RFDN(**arguments)
    model.initialize_(torch.Generator().manual_seed(seed))
    return model


def features(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def attention():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EnhancedSpatialAttention(8, 2)


# --- attention ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(15, 15), (33, 20), (15, 64)])
def test_the_attention_is_the_published_one(attention, size):
    x = features(2, 8, *size)
    first, second, third = (attention.far[i] for i in (0, 2, 4))
    with torch.no_grad():
        reduced = attention.reduce(x)
        pooled = F.max_pool2d(attention.stride(reduced), kernel_size=7, stride=3)
        far = third(F.relu(second(F.relu(first(pooled)))))
        far = F.interpolate(far, size, mode="bilinear", align_corners=False)
        expected = x * torch.sigmoid(attention.expand(far + attention.near(reduced)))
        assert torch.equal(attention(x), expected)


def test_the_convolutions_of_the_attention_have_the_published_shapes():
    calls = []

    def conv(*arguments):
        calls.append(arguments)
        return nn.Conv2d(*arguments)

    EnhancedSpatialAttention(48, 12, conv=conv)
    assert calls == [
        (48, 12, 1, 1, 0),
        (12, 12, 3, 2, 0),
        *[(12, 12, 3, 1, 1)] * 3,
        (12, 12, 1, 1, 0),
        (12, 48, 1, 1, 0),
    ]


def test_all_convolutions_can_be_replaced():
    class Other(nn.Conv2d):
        pass

    attention = EnhancedSpatialAttention(8, 2, conv=Other)
    kinds = [type(m) for m in attention.modules() if isinstance(m, nn.Conv2d)]
    assert kinds == [Other] * 7


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (14, 15), (15, 14), (14, 40), (15, 15)])
def test_the_attention_accepts_any_size(attention, size):
    x = features(1, 8, *size)
    with capture(attention, "stride") as outputs:
        assert attention(x).shape == x.shape
    padded = [max(length, 15) for length in size]
    assert outputs["stride"].shape[2:] == torch.Size((length - 3) // 2 + 1 for length in padded)


def test_a_single_pixel_is_attended_like_a_flat_image(attention):
    pixel = features(1, 8, 1, 1)
    flat = attention(pixel.expand(1, 8, 15, 15))
    torch.testing.assert_close(attention(pixel).expand_as(flat), flat)


def test_padding_is_even_on_both_sides(attention):
    x = features(1, 8, 9, 40)
    with capture(attention, ["reduce", "stride"]) as outputs:
        attention(x)
    rows = torch.tensor([0] * 3 + list(range(9)) + [8] * 3)
    expected = attention.stride(outputs["reduce"][:, :, rows])
    assert torch.equal(outputs["stride"], expected)


def test_attention_without_weights_halves_the_features(attention):
    nn.init.zeros_(attention.expand.weight)
    nn.init.zeros_(attention.expand.bias)
    x = features(1, 8, 20, 16)
    assert torch.equal(attention(x), x / 2)


# --- blocks and network ------------------------------------------------------------------------


def test_a_block_fuses_three_distilled_parts_and_a_last_one():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = DistillationBlock(8)
    x = features(2, 8, 16, 17)

    def act(y):
        return torch.where(y > 0, y, 0.05 * y)

    with torch.no_grad():
        second = act(block.refine[0](x) + x)
        third = act(block.refine[1](second) + second)
        fourth = act(block.refine[2](third) + third)
        parts = [act(block.distill[i](y)) for i, y in enumerate((x, second, third))]
        fused = block.fuse(torch.cat([*parts, act(block.last(fourth))], dim=1))
        torch.testing.assert_close(block(x), block.attention(fused))
    assert [part.shape[1] for part in parts] == [4, 4, 4]


def test_the_network_of_the_challenge_has_its_published_size():
    parameters = sum(p.numel() for p in RFDN(channels=50, blocks=4).parameters())
    assert round(parameters / 1e6, 3) == 0.433


def test_the_default_network_has_the_size_computed_by_hand():
    c, half, f, blocks = 48, 24, 12, 4
    attention = c * f + f * f * 9 + 3 * f * f * 9 + f * f + f * c
    block = 3 * (c * half + c * c * 9) + c * half * 9 + 4 * half * c + attention
    weights = c * 27 + blocks * block + blocks * c * c + c * c * 9 + c * 48 * 9
    biases = c + blocks * (3 * (half + c) + half + c + 6 * f + c) + c + c + 48
    assert count(RFDN(), torch.zeros(1, 3, 16, 16)).parameters == weights + biases
    assert count(RFDN(bias=False), torch.zeros(1, 3, 16, 16)).parameters == weights


def test_without_biases_black_stays_black():
    model = drawn(bias=False)
    assert not any(name.endswith("bias") for name, _ in model.named_parameters())
    assert not model(torch.zeros(1, 3, 6, 5)).any()


def test_the_outputs_of_all_blocks_are_aggregated_around_a_long_skip():
    model = drawn(channels=8, blocks=3, scale=2)
    image = torch.rand(1, 3, 16, 15, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), capture(model, ["head", "blocks.0", "blocks.1", "blocks.2"]) as outputs:
        result = model(image)
        blocks = torch.cat([outputs[f"blocks.{i}"] for i in range(3)], dim=1)
        deep = model.aggregate(F.leaky_relu(model.fuse(blocks), 0.05))
        expected = F.pixel_shuffle(model.upsample(outputs["head"] + deep), 2)
    assert torch.equal(result, expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_scale_enlarges_odd_sizes(scale):
    image = torch.zeros(1, 3, 7, 5)
    assert RFDN(scale, channels=4, blocks=1)(image).shape == (1, 3, 7 * scale, 5 * scale)


@pytest.mark.parametrize("size", [{"channels": 3}, {"blocks": 0}])
def test_networks_without_channels_or_blocks_are_an_error(size):
    with pytest.raises(ValueError, match="channels must be at least 4 and blocks at least 1, got"):
        RFDN(**size)


def test_weights_depend_on_the_generator_alone():
    first, second, other = drawn(1, blocks=1), drawn(1, blocks=1), drawn(2, blocks=1)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not torch.equal(first.fuse.weight, other.fuse.weight)


def test_an_untrained_network_puts_out_values_of_the_order_of_white():
    image = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    assert drawn()(image).std() < 1


@pytest.mark.parametrize("size", [(7, 5), (16, 31)])
def test_equal_trainings_give_equal_bits_where_determinism_is_enforced(size, generator):
    image = torch.rand(2, 3, *size, generator=generator)

    def gradients():
        model = drawn(channels=8, blocks=1)
        model(image).square().mean().backward()
        return [parameter.grad for parameter in model.parameters()]

    with deterministic():
        assert all(map(torch.equal, gradients(), gradients()))


def test_a_short_training_learns(generator):
    target = torch.rand(4, 3, 1, 1, generator=generator).expand(4, 3, 24, 24)
    image = target[..., ::4, ::4]
    model = drawn(channels=8, blocks=1)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (model(image) - target).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
