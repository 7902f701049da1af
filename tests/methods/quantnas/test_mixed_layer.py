import pytest
import torch
from torch.nn import functional as F

from vismodels.methods.quantnas.mixed_layer import MergedLayer, PerOperationLayer
from vismodels.methods.quantnas.mixing import MixedWeight, Mixing
from vismodels.methods.quantnas.operations import OPERATIONS, SKIP_CONNECT, ZERO, convolutions

CHANNELS = 12

# What a layer may hold together, by the way it is merged.
LISTS = {
    "kernels": ["simple_1x1", "simple_3x3", "simple_5x5", "simple_9x9"],
    "groups": ["simple_3x3", "simple_5x5_grouped_2", "simple_3x3_grouped_3"],
    "depthwise": ["simple_3x3_grouped_full", "simple_5x5_grouped_full"],
    "separable": ["conv_5x1_1x5", "conv_3x1_1x3", "simple_3x3", "simple_5x5"],
    "growth": ["growth1_1x1", "growth1_3x3", "growth1_5x5", "growth2_3x3"],
    "two_long": ["growth2_3x3", "DWS_3x3", "DWS_5x5", "conv_3x1_1x3"],
    "three_long": ["decenc_3x3_2", "decenc_5x5_2", "decenc_3x3_4", "decenc_3x3_4_g3"],
    "all_lengths": [SKIP_CONNECT, "decenc_3x3_2", ZERO, "simple_3x3", "growth1_3x3", "DWS_5x5"],
    "skip_and_zero": [ZERO, SKIP_CONNECT],
    "one": ["simple_3x3"],
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def both(
    names, mode="noise", *, i=CHANNELS, o=CHANNELS, c=CHANNELS, bits=(8, 4), bias=True, **options
):
    """Return a merged and a per-operation layer with equal weights, in double precision."""
    chains = {name: convolutions(name, i, o, c) for name in names}
    layers = []
    for form in (MergedLayer, PerOperationLayer):
        mixing = Mixing(mode, seeded(3), **options)
        layers.append(form(chains, o, bits, mixing, bias).double())
    merged, separate = layers
    for parameter in merged.parameters():
        parameter.data.normal_(generator=seeded(parameter.numel())).mul_(0.3)
    for module in merged.modules():
        if isinstance(module, MixedWeight):
            module.initialize_steps_()
    separate.load_state_dict(merged.state_dict())
    return merged, separate


def features(channels=CHANNELS):
    return torch.randn(2, channels, 7, 6, dtype=torch.float64, generator=seeded(5))


def random_weights(count):
    weights = torch.rand(count, dtype=torch.float64, generator=seeded(6))
    return (weights / weights.sum()).requires_grad_()


def one_hot(count, position):
    return F.one_hot(torch.tensor(position), count).double().requires_grad_()


def results(layer, weights, x=None):
    """Return the output and all gradients of a layer."""
    x = (features() if x is None else x).requires_grad_()
    output = layer(x, weights)
    direction = torch.randn(output.shape, dtype=torch.float64, generator=seeded(8))
    leaves = {"x": x, "weights": weights, **dict(layer.named_parameters())}
    gradients = torch.autograd.grad((output * direction).sum(), leaves.values(), allow_unused=True)
    return output.detach(), dict(zip(leaves, gradients, strict=True))


def assert_equal_results(merged, separate, weights, x=None):
    (output, gradients), (expected, true) = (
        results(layer, weights, x) for layer in (merged, separate)
    )
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-10)
    for name, gradient in true.items():
        if gradient is None:
            assert gradients[name] is None or not gradients[name].any(), name
        else:
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-9, atol=1e-10, msg=name)
    return true


# --- merged equals per operation ---------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("names", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("mode", ["noise", "published_noise"])
def test_merged_equals_per_operation_without_noise(mode, names, bias):
    merged, separate = both(names, mode, bias=bias, amplitude=0.0)
    weights = random_weights(2 * len(names))
    gradients = assert_equal_results(merged, separate, weights)
    assert gradients["weights"].ne(0).sum() == 2 * len([n for n in names if n != ZERO])


@pytest.mark.parametrize("names", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("mode", ["noise", "published_noise", "direct"])
def test_merged_equals_per_operation_when_one_candidate_is_selected(mode, names):
    merged, separate = both(names, mode, amplitude=0.0)
    for position in range(0, 2 * len(names), 3):
        weights = one_hot(2 * len(names), position)
        (output, gradients), (expected, true) = (
            results(layer, weights) for layer in (merged, separate)
        )
        torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-10)
        for name in true.keys() - {"weights"}:
            if true[name] is not None:
                torch.testing.assert_close(gradients[name], true[name], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("i", "o"), [(3, 12), (12, 3), (12, 48)])
def test_merged_equals_per_operation_between_different_widths(i, o):
    names = ["simple_3x3", "simple_5x5_grouped_3", "conv_3x1_1x3", "growth2_3x3", ZERO]
    merged, separate = both(names, i=i, o=o, amplitude=0.0)
    assert_equal_results(merged, separate, random_weights(10), features(i))


@pytest.mark.parametrize("rectifier", ["leaky_relu", "prelu"])
def test_merged_equals_per_operation_behind_other_rectifiers(rectifier):
    names = ["simple_3x3", "simple_5x5"]
    mixing = {"amplitude": 0.0, "rectifier": rectifier}
    chains = {name: convolutions(name, CHANNELS, CHANNELS, CHANNELS) for name in names}
    merged, separate = (
        form(chains, CHANNELS, (8, 4), Mixing("noise", seeded(3), **mixing)).double()
        for form in (MergedLayer, PerOperationLayer)
    )
    separate.load_state_dict(merged.state_dict(), strict=False)  # a slope for each operation
    weights = random_weights(4)
    outputs = [layer(features(), weights) for layer in (merged, separate)]
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-10)


def test_the_definition_is_a_weighted_sum_of_the_operations():
    _, separate = both(["simple_3x3", "growth1_3x3", SKIP_CONNECT], amplitude=0.0)
    weights = torch.tensor([0.1, 0.2, 0.05, 0.15, 0.3, 0.2], dtype=torch.float64)
    x = features()
    (first,), (second, third) = separate.chain("simple_3x3"), separate.chain("growth1_3x3")

    def plain(conv, y):
        return F.conv2d(y.relu(), conv.mixed_weight.weight, conv.bias, padding=1)

    expected = 0.3 * plain(first, x) + 0.2 * plain(third, plain(second, x)) + 0.5 * x
    torch.testing.assert_close(separate(x, weights), expected)


@pytest.mark.parametrize("form", [0, 1])
def test_the_bits_of_an_identity_do_not_touch_what_convolutions_read(form):
    layer = both(["simple_3x3", SKIP_CONNECT, ZERO], "direct")[form]
    x = features()
    weights = [
        torch.tensor([0.5, 0.0, *rest]).double() for rest in ((0.5, 0, 0, 0), (0, 0.5, 0, 0))
    ]
    first, second = (layer(x, w) for w in weights)
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-10)


# --- noise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["noise", "published_noise"])
@pytest.mark.parametrize("position", [0, 1])
def test_both_forms_scatter_alike_around_the_same_mean(mode, position):
    """Merging draws the noise of a layer's input once, not once for every operation."""
    names = ["simple_1x1", "simple_3x3"]
    weights = [random_weights(4), one_hot(4, 1)][position].detach()
    drawn = []
    for layer in both(names, mode, bits=(2, 4)):
        drawn.append(torch.stack([layer(features(), weights).detach() for _ in range(300)]))
    (first, second), scale = (d.mean(dim=0) for d in drawn), drawn[1].std(dim=0)
    error = (first - second) / scale
    assert error.abs().mean().item() < 3 * (2 / 300) ** 0.5
    assert scale.min().item() > 0
    if position == 1:  # one operation: the noise is of the same size too
        ratio = drawn[0].std(dim=0).mean() / scale.mean()
        assert ratio.item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("mode", ["noise", "published_noise"])
def test_the_gradient_reaches_the_weights_of_every_candidate(form, mode):
    names = ["simple_3x3", "conv_3x1_1x3", "decenc_3x3_2", SKIP_CONNECT]
    layer = both(names, mode)[form]
    _, gradients = results(layer, random_weights(8))
    assert gradients["weights"].isfinite().all()
    by_operation = gradients["weights"].view(4, 2)
    assert by_operation.ne(0).all()
    # Through the scale of the operation both precisions get the same, through noise they differ.
    assert (by_operation[:3, 0] != by_operation[:3, 1]).all()
    assert by_operation[3, 0] == by_operation[3, 1]


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("mode", ["noise", "published_noise", "direct"])
def test_operations_that_are_not_sampled_take_no_part_and_give_no_nan(form, mode):
    names = ["simple_3x3", "conv_3x1_1x3", "decenc_3x3_2", SKIP_CONNECT]
    layer = both(names, mode)[form]
    _, gradients = results(layer, one_hot(8, 3))
    for name, gradient in gradients.items():
        assert gradient is None or gradient.isfinite().all(), name
        if "simple" in name or "decenc" in name:
            assert gradient is None or not gradient.any(), name
    assert gradients["operations.conv_3x1_1x3.1.mixed_weight.weight"].any()
    # What they would have added is nevertheless the gradient of their weights.
    assert gradients["weights"].view(4, 2).ne(0).any(dim=1).all()


# --- every operation ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_builds_runs_and_learns(name, form):
    layer = both([name, SKIP_CONNECT] if name == ZERO else [name], i=24, o=24, c=24)[form]
    x = features(24)
    output, gradients = results(layer, random_weights(2 * len(layer.names)), x)
    assert output.shape == x.shape
    learned = {key: g for key, g in gradients.items() if key not in ("x", "weights")}
    assert bool(learned) == (name not in (SKIP_CONNECT, ZERO))
    assert all(gradient.any() for gradient in learned.values())


@pytest.mark.parametrize("form", [0, 1])
def test_a_layer_of_nothing_but_zero_gives_zeros(form):
    layer = both([ZERO], o=24)[form]
    assert torch.equal(layer(features(), random_weights(2)), torch.zeros(2, 24, 7, 6).double())


def test_the_merged_form_convolves_once_or_twice_for_each_kind_of_chain(monkeypatch):
    calls, real = [], F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    names = ["simple_3x3", "simple_5x5", "conv_3x1_1x3", "conv_5x1_1x5", "growth1_3x3", "DWS_3x3"]
    merged, separate = both(names)
    weights = random_weights(12)
    merged(features(), weights)
    assert len(calls) == 1 + 2 + 2  # single ones; columns with rows; squares
    calls.clear()
    separate(features(), weights)
    assert len(calls) == 10
