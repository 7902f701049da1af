import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vismodels.methods.quest.config import ActivationQuantConfig, WeightQuantConfig
from vismodels.methods.quest.layers import QuantizedConv2d, QuantizedLinear, kept_weights

WEIGHTS = WeightQuantConfig(ranges="minmax")
TENSOR = ActivationQuantConfig()
CHANNEL = ActivationQuantConfig(granularity="channel")


def conv(**options):
    return nn.Conv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, **options})


FLOATS = {
    "linear": lambda: nn.Linear(4, 6),
    "no bias": lambda: nn.Linear(4, 6, bias=False),
    "conv": lambda: conv(padding=1),
    "strided": lambda: conv(stride=2, dilation=2, padding="valid"),
    "grouped": lambda: conv(groups=2, padding=1),
    "circular": lambda: conv(padding=1, padding_mode="circular"),
}


@pytest.fixture
def made(generator):
    """Return a float layer, its quantized form with measured ranges, and an input."""

    def make(kind, activations=TENSOR, split=None):
        layer = FLOATS[kind]()
        for parameter in layer.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        shape = (3, 4) if isinstance(layer, nn.Linear) else (3, 4, 7, 7)
        x = torch.randn(shape, generator=generator) * torch.tensor([1.0, 9.0, 0.1, 3.0]).view(
            1, 4, *[1] * (len(shape) - 2)
        )
        cls = QuantizedLinear if isinstance(layer, nn.Linear) else QuantizedConv2d
        quantized = cls.from_float(layer, WEIGHTS, activations, split=split)
        parts = x.split([each.stop - each.start for each in quantized.parts], 1)
        for quantizer, part in zip(quantized.activation_quantizers, parts, strict=True):
            quantizer.set_range_(*quantizer.rows(part).aminmax(dim=1))
        quantized.initialize_weights_()
        return layer, quantized, x

    return make


def switch(layer, weights, activations):
    layer.quantizes_weight = weights
    for quantizer in layer.activation_quantizers:
        quantizer.enabled = activations


def levels(rows):
    return max(len(row.unique()) for row in rows)


@pytest.fixture
def products(monkeypatch):
    """Return the list of what enters products: input and weight of each call."""
    seen = []
    for name in ("linear", "conv2d"):
        plain = getattr(F, name)

        def spy(x, weight, *args, plain=plain, **options):
            seen.append((x.detach(), weight.detach()))
            return plain(x, weight, *args, **options)

        monkeypatch.setattr(F, name, spy)
    return seen


# --- quantization off ----------------------------------------------------------------------------


@pytest.mark.parametrize("activations", [TENSOR, CHANNEL])
@pytest.mark.parametrize("kind", FLOATS)
def test_switched_off_it_computes_the_bits_of_the_float_layer(made, kind, activations):
    layer, quantized, x = made(kind, activations)
    expected = layer(x)
    assert not torch.allclose(quantized(x), expected)
    switch(quantized, weights=False, activations=False)
    assert torch.equal(quantized(x), expected)


def test_a_split_layer_switched_off_computes_the_bits_of_the_float_layer(made):
    layer, quantized, x = made("conv", split=1)
    switch(quantized, weights=False, activations=False)
    assert torch.equal(quantized(x), layer(x))


@pytest.mark.parametrize("kind", FLOATS)
def test_the_float_layer_comes_back(made, kind):
    layer, quantized, x = made(kind)
    back = quantized.to_float()
    assert type(back) is type(layer)
    assert back.weight is layer.weight
    assert torch.equal(back(x), layer(x))


def test_parameters_keep_their_names_and_identity(made):
    layer, quantized, _ = made("linear")
    assert quantized.weight is layer.weight
    assert quantized.bias is layer.bias
    assert set(quantized.state_dict()) == {
        "weight",
        "bias",
        "weight_quantizers.0.scale",
        "weight_quantizers.0.zero_point",
        "activation_quantizers.0.scale",
        "activation_quantizers.0.zero_point",
    }


# --- what is multiplied --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["conv", "strided", "grouped", "circular"])
def test_both_operands_have_at_most_sixteen_levels(made, products, kind):
    _, quantized, x = made(kind)
    quantized(x)
    seen, weight = products[0]
    assert levels([seen.flatten()]) <= 16
    assert 4 < levels(weight.flatten(1)) <= 16


@pytest.mark.parametrize("kind", ["linear", "conv", "grouped"])
def test_folded_scales_leave_integers_with_sixteen_levels_in_each_channel(made, products, kind):
    _, quantized, x = made(kind, CHANNEL)
    quantized(x)
    seen, weight = products[0]
    assert torch.equal(seen, seen.round())
    assert levels(seen.movedim(1, 0).flatten(1)) <= 16
    assert levels(weight.flatten(1)) <= 16


@pytest.mark.parametrize("kind", ["linear", "conv", "strided", "grouped"])
def test_folded_scales_change_nothing_but_the_rounding_of_weights(made, kind):
    layer, quantized, x = made(kind, CHANNEL)
    quantizer = quantized.activation_quantizers[0]
    expected = quantized._compute(quantizer(x), layer.weight, layer.bias)
    for weight_quantizer in quantized.weight_quantizers:
        weight_quantizer.forward = lambda weight: weight
    assert torch.allclose(quantized(x), expected, atol=1e-4)
    switch(quantized, weights=False, activations=True)
    assert torch.equal(quantized(x), expected)


def test_folded_scales_are_multiplied_into_the_weight(made):
    layer, quantized, _ = made("grouped", CHANNEL)
    scales = quantized.activation_quantizers[0].scale[0]
    folded = quantized.folded_weight()
    assert torch.equal(folded[0, 1], layer.weight[0, 1] * scales[1])
    assert torch.equal(folded[5, 1], layer.weight[5, 1] * scales[3])  # of the second group


def test_an_integer_kernel_computes_the_padded_folded_convolution(made):
    _, quantized, x = made("conv", CHANNEL)
    inputs, weights = quantized.activation_quantizers[0], quantized.weight_quantizers[0]
    zero = inputs.zero_point[0].view(1, 4, 1, 1)
    codes = inputs(x, unit=True) + zero
    assert codes.min() >= 0
    padded = zero.expand(3, 4, 9, 9).clone()  # the code of zero, another one in each channel
    padded[:, :, 1:-1, 1:-1] = codes
    weight = weights.codes(quantized.folded_weight()).float() - weights.zero_point.view(-1, 1, 1, 1)
    shift = (zero * weight).sum((1, 2, 3))
    sums = F.conv2d(padded, weight) - shift.view(1, -1, 1, 1)
    expected = sums * weights.scale.view(1, -1, 1, 1) + quantized.bias.view(1, -1, 1, 1)
    assert torch.allclose(quantized(x), expected, atol=1e-4)


def test_channels_of_very_different_size_gain_from_scales_of_their_own(made):
    def error(activations):
        _, quantized, x = made("linear", activations)
        return (quantized.activation_quantizers[0](x) - x)[:, 2].abs().max()

    assert error(CHANNEL) < 0.2 * error(TENSOR)


# --- parts ---------------------------------------------------------------------------------------


def test_parts_of_an_input_are_quantized_on_their_own(made, products):
    layer, quantized, x = made("conv", split=1)
    assert quantized.parts == (slice(0, 1), slice(1, 4))
    quantized(x)
    seen, weight = products[0]
    assert levels([seen[:, :1].flatten()]) <= 16
    assert levels([seen[:, 1:].flatten()]) <= 16
    assert levels([seen.flatten()]) > 16
    assert levels(weight[:, :1].flatten(1)) <= 16
    assert levels(weight[:, 1:].flatten(1)) <= 16
    alone = QuantizedConv2d.from_float(conv(in_channels=1), WEIGHTS, TENSOR)
    alone.weight.data = layer.weight[:, :1].data
    alone.initialize_weights_()
    assert torch.equal(weight[:, :1], alone.quantized_weight())


def test_parts_with_scales_for_channels_are_folded(made):
    _, quantized, x = made("linear", CHANNEL, split=1)
    _, whole, _ = made("linear", CHANNEL)
    assert [len(each.scale[0]) for each in quantized.activation_quantizers] == [1, 3]
    assert quantized(x).shape == whole(x).shape


@pytest.mark.parametrize(("kind", "split"), [("conv", 0), ("conv", 4), ("grouped", 2)])
def test_a_split_that_leaves_no_two_parts_is_refused(made, kind, split):
    with pytest.raises(ValueError, match="between the 4 channels"):
        made(kind, split=split)


# --- gradients and kept weights ------------------------------------------------------------------


@pytest.mark.parametrize("activations", [TENSOR, CHANNEL])
def test_weights_and_scales_get_gradients(made, activations):
    _, quantized, x = made("conv", activations)
    quantized(x).square().sum().backward()
    scale = quantized.activation_quantizers[0].scale
    assert quantized.weight.grad.abs().sum() > 0
    assert (scale.grad != 0).all()


def test_kept_weights_are_computed_once(made):
    _, quantized, x = made("linear")
    expected = quantized(x)
    network = nn.Sequential(quantized)
    with kept_weights(network):
        assert quantized.quantized_weight() is quantized.quantized_weight()
        assert torch.equal(network(x), expected)
    assert quantized.quantized_weight() is not quantized.quantized_weight()


def test_only_named_weights_are_kept(made):
    _, first, x = made("linear")
    network = nn.ModuleDict({"kept": first, "tuned": made("linear")[1]})
    with kept_weights(network, ["kept"]):
        (network["kept"](x).sum() + network["tuned"](x).sum()).backward()
    assert network["kept"].weight.grad is None
    assert network["tuned"].weight.grad is not None


@pytest.mark.parametrize("kind", ["linear", "conv", "grouped"])
@pytest.mark.parametrize("activations", [TENSOR, CHANNEL], ids=["tensor", "channel"])
def test_unfolded_is_the_inverse_of_folded(made, kind, activations):
    _, layer, _ = made(kind, activations)
    assert torch.allclose(layer.unfolded(layer.folded_weight()), layer.weight, rtol=1e-6)


@pytest.mark.parametrize("activations", [TENSOR, CHANNEL], ids=["tensor", "channel"])
def test_the_quantized_input_is_what_meets_the_weight(made, products, activations):
    _, layer, x = made("linear", activations)
    layer(x)
    assert torch.equal(products[0][0], layer.quantized_input(x))
