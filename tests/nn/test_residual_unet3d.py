import pytest
import torch
from torch import nn
from torch.nn import functional

from vismodels.checkpoint import load_weights, save_weights
from vismodels.nn.residual_unet3d import ResidualUNet3D

SMALL = {"in_channels": 2, "width": 3, "depth": 3}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def volume(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


def network(seed=0, **arguments):
    """Return a network whose every parameter takes part: heads, biases and gains are not small."""
    result = ResidualUNet3D(**{**SMALL, **arguments})
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.normal_(0.1, 0.4, generator=generator)
    return result.eval()


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("width", "depth", "one", "four"),
    [(16, 5, 8_269_460, 8_270_192), (8, 4, 515_339, 515_516), (6, 4, 290_349, 290_484)],
)
def test_it_has_the_specified_number_of_parameters(width, depth, one, four):
    assert parameters(ResidualUNet3D(4, 1, width, depth)) == one
    assert parameters(ResidualUNet3D(4, 4, width, depth)) == four


# --- what it computes --------------------------------------------------------------------------


def transcribed(net, x):
    """Return the logits, computed as the description of the network reads."""
    state = net.state_dict()

    def block(x, name, stride=1):
        kernel, bias = state[f"{name}.0.weight"], state[f"{name}.0.bias"]
        x = functional.conv3d(x, kernel, bias, stride, padding=kernel.shape[-1] // 2)
        mean = x.mean((2, 3, 4), keepdim=True)
        variance = (x - mean).square().mean((2, 3, 4), keepdim=True)
        gain, shift = (state[f"{name}.1.{key}"].view(1, -1, 1, 1, 1) for key in ("weight", "bias"))
        x = (x - mean) / (variance + 1e-5).sqrt() * gain + shift
        return torch.where(x > 0, x, 0.01 * x)

    def twice(x):
        for axis in (2, 3, 4):
            x = x.repeat_interleave(2, axis)
        return x

    skips = []
    for level in range(len(net.encoders)):
        x = block(x, f"encoders.{level}.entry", 2 if level else 1)
        y = block(x, f"encoders.{level}.context.0")
        x = x + block(y, f"encoders.{level}.context.2")
        skips.append(x)
    logits = 0
    for level, skip in enumerate(reversed(skips[:-1])):
        x = block(twice(x), f"decoders.{level}.up.1")
        x = block(torch.cat([x, skip], 1), f"decoders.{level}.localization.0")
        x = block(x, f"decoders.{level}.localization.1")
        head = functional.conv3d(x, state[f"heads.{level}.weight"], state[f"heads.{level}.bias"])
        logits = head if level == 0 else twice(logits) + head
    return logits


@pytest.mark.parametrize(("depth", "out_channels"), [(2, 1), (3, 4), (4, 1)])
def test_it_matches_its_transcription(depth, out_channels):
    net = network(depth=depth, out_channels=out_channels)
    x = volume(2, 2, 16, 8, 24)
    expected = transcribed(net, x)
    assert expected.shape == (2, out_channels, 16, 8, 24)
    torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-4)  # float32, deep
    assert expected.std() > 0.1


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_level_on_the_way_up_reaches_the_logits_linearly(level):
    """The sum comes before any activation: a change of a head's bias appears in it unchanged."""
    net, x = network(depth=4, out_channels=2), volume(1, 2, 8, 8, 16)
    before = net(x)
    with torch.no_grad():
        net.heads[level].bias += torch.tensor([3.0, -50.0])
    change = net(x) - before
    expected = torch.tensor([3.0, -50.0]).view(1, 2, 1, 1, 1).expand_as(change)
    torch.testing.assert_close(change, expected, rtol=0, atol=1e-4)


def test_biases_in_front_of_a_normalization_change_nothing():
    net, x = network(), volume(1, 2, 8, 8, 8)
    before = net(x)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("0.bias") and not name.startswith("heads"):
                parameter += 5
    torch.testing.assert_close(net(x), before, rtol=0, atol=1e-3)  # subtracted at magnitude 5


def test_dropout_takes_whole_channels_between_the_convolutions_and_only_in_training():
    net, x = network(dropout=0.5, width=8), volume(4, 2, 8, 8, 8)
    seen = []
    net.encoders[0].context[1].register_forward_hook(lambda _, i, o: seen.append((i[0], o)))
    assert torch.equal(net(x), net(x))
    assert torch.equal(*seen[0])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net.train()(x)
    before, after = seen[2]
    kept = (after != 0).flatten(2).all(-1)
    dropped = (after == 0).flatten(2).all(-1)
    assert (kept ^ dropped).all()
    assert 8 < kept.sum() < 24  # of 32
    torch.testing.assert_close(after[kept], 2 * before[kept])


def test_the_memory_layout_changes_neither_logits_nor_gradients():
    x = volume(2, 2, 8, 8, 8)
    plain, last = (network(out_channels=4).double() for _ in range(2))
    last.to(memory_format=torch.channels_last_3d)
    results = []
    for net, batch in ((plain, x), (last, x.to(memory_format=torch.channels_last_3d))):
        logits = net(batch.double())
        logits.square().mean().backward()
        results.append((logits, [parameter.grad for parameter in net.parameters()]))
    assert last.encoders[1].entry[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-10)


# --- weights -----------------------------------------------------------------------------------


def test_equal_seeds_give_one_trunk_for_every_head_and_other_seeds_another():
    one, four, other = (ResidualUNet3D(**SMALL, out_channels=k) for k in (1, 4, 1))
    for net, seed in ((one, 1), (four, 1), (other, 2)):
        net.initialize_(seeded(seed))
    state, second, third = one.state_dict(), four.state_dict(), other.state_dict()
    trunk = [name for name in state if not name.startswith("heads")]
    assert all(torch.equal(state[name], second[name]) for name in trunk)
    kernels = [name for name in state if state[name].ndim == 5]
    assert not any(torch.equal(state[name], third[name]) for name in kernels)


def test_initialization_replaces_every_parameter():
    net = network()
    net.initialize_(seeded(1))
    fresh = ResidualUNet3D(**SMALL)
    fresh.initialize_(seeded(1))
    for name, value in net.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name


@pytest.mark.parametrize(("width", "depth"), [(4, 4), (4, 5), (16, 4)])
def test_logits_of_a_new_network_lie_around_the_bias_it_is_given(width, depth):
    net = ResidualUNet3D(2, 8, width, depth).eval()
    net.initialize_(seeded())
    net.set_output_bias_([-4.0, 4.0] * 4)
    logits = net(volume(1, 2, 32, 32, 32))[0].flatten(1)
    distances = logits - torch.tensor([-4.0, 4.0] * 4)[:, None]
    assert 0.4 < distances.square().mean().sqrt() < 1.0
    assert (logits.sign() == logits[:, :1].sign()).float().mean() > 0.99


def test_the_biases_of_all_heads_sum_to_the_one_that_is_set():
    net = network(out_channels=3)
    net.set_output_bias_(-3.5)
    total = torch.stack([head.bias for head in net.output_heads()]).sum(0)
    assert total.tolist() == [-3.5, -3.5, -3.5]
    assert [head.in_channels for head in net.output_heads()] == [6, 3]
    last = [layer for layer in net.modules() if isinstance(layer, nn.Conv3d)][-1]
    assert last is net.output_heads()[-1]  # where wrappers of any network put their bias
    with pytest.raises(ValueError, match="one bias for each of 3 logits, got 2"):
        net.set_output_bias_([1.0, 2.0])


def test_it_is_saved_with_its_arguments(tmp_path):
    net = network(out_channels=3, dropout=0.1)
    save_weights(net, tmp_path)
    again, x = load_weights(ResidualUNet3D, tmp_path), volume(1, 2, 8, 8, 8)
    assert again.encoders[0].context[1].p == 0.1
    torch.testing.assert_close(again(x), net(x))


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 2, 8, 8, 6), (1, 2, 10, 8, 8), (1, 2, 0, 8, 8)])
def test_sizes_that_cannot_be_halved_often_enough_are_an_error(shape):
    with pytest.raises(ValueError, match=r"divisible by 4, got \(.*; pad the volume"):
        ResidualUNet3D(**SMALL)(torch.zeros(shape))


def test_a_single_voxel_at_the_lowest_level_is_an_error():
    net = ResidualUNet3D(**SMALL)
    with pytest.raises(ValueError, match="at least 8 along one axis"):
        net(torch.zeros(1, 2, 4, 4, 4))
    assert net(torch.zeros(1, 2, 4, 4, 8)).shape == (1, 1, 4, 4, 8)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8, 8), (2, 8, 8, 8)])
def test_other_shapes_are_an_error(shape):
    with pytest.raises(ValueError, match=r"\(B, 2, D, H, W\), got"):
        ResidualUNet3D(**SMALL)(torch.zeros(shape))


@pytest.mark.parametrize(
    "wrong", [{"depth": 1}, {"width": 0}, {"in_channels": 0}, {"out_channels": 0}]
)
def test_impossible_sizes_are_an_error(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        ResidualUNet3D(**wrong)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_an_impossible_dropout_is_an_error(dropout):
    with pytest.raises(ValueError, match=r"dropout is a probability in \[0, 1\)"):
        ResidualUNet3D(dropout=dropout)
