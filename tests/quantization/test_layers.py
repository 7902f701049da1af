import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from vismodels.cost.counters import conv_macs, count
from vismodels.quantization.functional import hwgq
from vismodels.quantization.layers import (
    QuantConv2d,
    bits_of,
    enable_quantizers_,
    initialize_steps_,
    quantize_convolutions_,
)
from vismodels.quantization.quantizers import ActivationLSQ

FORMS = {
    "square": {"kernel_size": 3},
    "tuple": {"kernel_size": (1, 5)},
    "grouped": {"kernel_size": 5, "groups": 2},
    "depthwise": {"kernel_size": 3, "groups": 4},
    "strided": {"kernel_size": (5, 3), "stride": (2, 1)},
    "unpadded": {"kernel_size": 3, "stride": 2, "padding": 0},
    "padded": {"kernel_size": (3, 1), "padding": (3, 2)},
}


class Residual(nn.Module):
    """Three convolutions with rectifiers between, a bias-free shortcut, and a normalization."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        )
        self.shortcut = nn.Conv2d(3, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.tail = nn.Conv2d(8, 3, (3, 5), stride=2, padding=(1, 2))

    def forward(self, x):
        return self.tail(self.norm(self.body(x) + self.shortcut(x)).relu())


NAMES = ["body.0", "body.2", "shortcut", "tail"]


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Residual()


@pytest.fixture
def image(generator):
    return torch.randn(2, 3, 12, 10, generator=generator)


# --- one layer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [False, True])
def test_at_32_bits_without_rectifier_it_is_a_convolution_bit_for_bit(form, bias, generator):
    options = dict(FORMS[form])
    ours = QuantConv2d(4, 8, bits=32, rectifier=None, bias=bias, **options)
    kernel = options.pop("kernel_size")
    same = (kernel // 2,) * 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)
    theirs = nn.Conv2d(4, 8, kernel, bias=bias, **{"padding": same, **options})
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 9, 8, generator=generator)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("kernel", [1, 3, 5, (1, 7), (5, 3)])
def test_without_padding_given_height_and_width_stay(kernel):
    layer = QuantConv2d(2, 3, kernel, bits=4)
    assert layer(torch.rand(1, 2, 6, 7)).shape == (1, 3, 6, 7)


def test_it_quantizes_activations_then_weights_then_convolves(generator):
    layer = QuantConv2d(3, 5, 3, bits=4, bias=True)
    nn.init.normal_(layer.bias, generator=generator)
    x = torch.randn(2, 3, 6, 6, generator=generator)
    weight = layer.weight.detach()
    step = 2 * weight.abs().mean((1, 2, 3), keepdim=True) / 7**0.5
    quantized = (weight / step).round().clamp(-8, 7) * step
    torch.testing.assert_close(layer(x), F.conv2d(hwgq(x, 4), quantized, layer.bias, padding=1))


@pytest.mark.parametrize(
    ("rectifier", "slope", "signed"),
    [("relu", 0.0, False), ("leaky_relu", 0.1, True), ("prelu", 0.1, True), (None, 1.0, True)],
)
def test_what_the_rectifier_leaves_of_negative_values_is_quantized(
    rectifier, slope, signed, generator
):
    layer = QuantConv2d(3, 4, 1, bits=4, activation="lsq", rectifier=rectifier)
    assert layer.quantize_activation.spec.signed == signed
    x = torch.randn(2, 3, 5, 5, generator=generator)
    step = layer.quantize_activation.scale.detach()
    levels = (F.leaky_relu(x, slope) / step).round().clamp(-8 if signed else 0, 7 if signed else 15)
    expected = F.conv2d(levels * step, layer.quantize_weight(layer.weight))
    torch.testing.assert_close(layer(x), expected)


def test_a_learned_slope_trains_through_the_quantizer(generator):
    layer = QuantConv2d(3, 4, 3, bits=4, activation="lsq", rectifier="prelu")
    layer(torch.randn(2, 3, 5, 5, generator=generator)).pow(2).sum().backward()
    assert layer.rectify.weight.grad.abs() > 0


def test_every_parameter_gets_a_gradient(generator):
    layer = QuantConv2d(3, 4, 3, bits=3, bias=True, activation="lsq")
    layer(torch.randn(2, 3, 5, 5, generator=generator)).pow(2).sum().backward()
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    assert set(gradients) == {
        "weight",
        "bias",
        "quantize_activation.scale",
        "quantize_weight.scale",
    }
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("channels", [(3, 4), (4, 3)])
def test_channels_that_groups_do_not_divide_are_refused(channels):
    with pytest.raises(ValueError, match=r"must be multiples of groups=2"):
        QuantConv2d(*channels, 3, bits=8, groups=2)


@pytest.mark.parametrize("options", [{"bits": 5}, {"bits": 0}, {"bits": 1, "activation": "lsq"}])
def test_quantizers_that_do_not_exist_are_refused_when_the_layer_is_built(options):
    with pytest.raises(ValueError, match=r"got [015]"):
        QuantConv2d(3, 3, 3, **options)


# --- cost --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_bit_operations_are_multiplications_times_squared_bits(bits):
    layer = QuantConv2d(4, 6, (3, 5), bits=bits, groups=2, stride=2)
    cost = count(layer, torch.rand(1, 4, 8, 10), bits_of=bits_of)
    assert cost.macs == conv_macs(4, 6, (3, 5), (4, 5), groups=2) == 4 * 6 * 15 * 20 // 2
    assert cost.bitops == cost.macs * bits * bits


def test_other_layers_cost_full_precision(network, image):
    chosen = dict.fromkeys(NAMES, 8) | {"tail": 4}
    quantize_convolutions_(network, chosen)
    model = nn.Sequential(network, nn.Conv2d(3, 2, 1))
    layers = {part.name: part for part in count(model, image, bits_of=bits_of).layers if part.macs}
    assert layers["0.tail"].bitops == 16 * layers["0.tail"].macs
    assert layers["0.shortcut"].bitops == 64 * layers["0.shortcut"].macs
    assert layers["1"].bitops == 1024 * layers["1"].macs


# --- all convolutions of a network ---------------------------------------------------------------


def test_at_32_bits_a_converted_network_puts_out_the_same_bits(network, image):
    before = network(image)
    quantize_convolutions_(network, 32)
    assert sum(isinstance(m, QuantConv2d) for m in network.modules()) == 4
    assert not any(isinstance(m, nn.Conv2d) for m in network.modules())
    assert torch.equal(network(image), before)


def test_more_bits_bring_a_converted_network_closer_to_the_float_one(network, image):
    before = network(image)
    state = network.state_dict()
    errors = []
    for bits in (3, 4, 6, 8):
        converted = Residual()
        converted.load_state_dict(state)
        quantize_convolutions_(converted, bits)
        initialize_steps_(converted, image)
        errors.append(((converted(image) - before).std() / before.std()).item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1  # untrained; steps of LSQ start large: range 22 mean|x| at 8 bits


def test_each_convolution_gets_its_own_bits(network):
    quantize_convolutions_(network, {"tail": 2, "body.0": 8, "shortcut": 32, "body.2": 4})
    found = {name: bits_of(name, network.get_submodule(name)) for name in NAMES}
    assert found == {"body.0": (8, 8), "body.2": (4, 4), "shortcut": (32, 32), "tail": (2, 2)}


def test_parameters_stay_the_same_objects_frozen_or_not(network):
    network.tail.weight.requires_grad_(False)
    network.eval()
    before = dict(network.named_parameters())
    quantize_convolutions_(network, 4)
    after = dict(network.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert set(after) - set(before) == {
        f"{name}.quantize_{kind}.scale" for name in NAMES for kind in ("weight", "activation")
    }
    assert not any(module.training for module in network.modules())


def test_type_follows_the_network(network, image):
    network.double()
    quantize_convolutions_(network, 4)
    initialize_steps_(network, image.double())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float64}
    assert network(image.double()).dtype == torch.float64


def test_a_shared_convolution_stays_shared():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    quantize_convolutions_(model, {"0": 4})
    assert isinstance(model[2], QuantConv2d)
    assert model[2] is model[0]


def assert_refused(model, bits, match):
    before = dict(model.named_modules())
    with pytest.raises(ValueError, match=match):
        quantize_convolutions_(model, bits)
    assert dict(model.named_modules()) == before


def test_unknown_and_missing_names_are_reported(network):
    chosen = dict.fromkeys(NAMES, 8)
    assert_refused(network, chosen | {"tale": 8}, "no convolution is called 'tale'.*mean 'tail'")
    assert_refused(network, chosen | {"norm": 8}, "no convolution is called 'norm'")
    del chosen["shortcut"], chosen["body.2"]
    assert_refused(network, chosen, r"bits are missing for body\.2, shortcut$")


@pytest.mark.parametrize("bits", [0, 1, 33])
def test_bits_that_no_signed_quantizer_has_are_refused(network, bits):
    assert_refused(network, dict.fromkeys(NAMES, 8) | {"tail": bits}, f"got {bits}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding_mode": "reflect", "padding": 1}, "only zero padding"),
        ({"dilation": 2}, "dilation 1"),
        ({"padding": "same"}, "padding 'same'; give it as numbers"),
    ],
)
def test_convolutions_it_cannot_stand_for_are_refused_by_name(network, options, message):
    network.tail = nn.Conv2d(8, 3, 3, **options)
    assert_refused(network, 8, f"tail: .*{message}")


def test_convolutions_that_are_more_than_their_weights_are_refused(network):
    class Standardized(nn.Conv2d):
        def forward(self, x):
            return super().forward(x - x.mean())

    network.tail = Standardized(8, 3, 3)
    assert_refused(network, 8, "tail: a Standardized")
    network.tail = parametrizations.weight_norm(nn.Conv2d(8, 3, 3))
    assert_refused(network, 8, "tail: .*remove them first")
    network.tail = nn.Conv2d(8, 3, 3)
    network.tail.register_forward_hook(lambda module, args, output: 2 * output)
    assert_refused(network, 8, "tail: .*hooks")


def test_a_model_that_is_a_convolution_is_refused_with_the_way_out():
    assert_refused(nn.Conv2d(3, 3, 1), 8, r"put it into an nn\.Sequential")


# --- switched off ------------------------------------------------------------------------------


def test_switched_off_a_converted_network_is_the_float_one_bit_for_bit(network, image):
    before = network(image)
    quantize_convolutions_(network, 4)
    quantized, state = network(image), network.state_dict()
    enable_quantizers_(network, False)
    assert torch.equal(network(image), before)
    assert set(network.state_dict()) == set(state)
    enable_quantizers_(network, True)
    assert torch.equal(network(image), quantized)
    assert not torch.equal(quantized, before)


@pytest.mark.parametrize("activation", ["hwgq", "lsq"])
@pytest.mark.parametrize("rectifier", ["relu", "leaky_relu", "prelu", None])
def test_a_layer_that_is_switched_off_keeps_its_rectifier(activation, rectifier, generator):
    layer = QuantConv2d(3, 4, 3, bits=4, activation=activation, rectifier=rectifier)
    x = torch.randn(2, 3, 5, 5, generator=generator)
    enable_quantizers_(layer, False)
    slope = {"relu": 0.0, None: 1.0}.get(rectifier, 0.1)
    expected = F.conv2d(F.leaky_relu(x, slope), layer.weight, padding=1)
    torch.testing.assert_close(layer(x), expected)


def test_at_32_bits_there_is_nothing_to_switch_off(generator):
    layer = QuantConv2d(3, 4, 3, bits=32, rectifier="prelu")
    x = torch.randn(2, 3, 5, 5, generator=generator)
    before = layer(x)
    enable_quantizers_(layer, False)
    assert torch.equal(layer(x), before)


def test_steps_of_activations_wait_until_their_layer_is_switched_on(network, image):
    quantize_convolutions_(network, 4)
    enable_quantizers_(network, False)
    step = network.tail.quantize_activation.scale
    before = step.detach().clone()
    initialize_steps_(network, image)
    assert torch.equal(step, before)
    enable_quantizers_(network, True)
    initialize_steps_(network, image)
    assert not torch.equal(step, before)


# --- where learned steps start -----------------------------------------------------------------


def test_each_step_starts_from_what_its_quantizer_really_receives(network, image):
    quantize_convolutions_(network, 2)  # so coarse that float features would give other steps
    network.eval()
    initialize_steps_(network, image)
    received = {}
    for name, module in network.named_modules():
        if isinstance(module, ActivationLSQ):
            module.register_forward_pre_hook(
                lambda m, args, name=name: received.update({name: args[0]})
            )
    network(image)
    assert len(received) == 4
    for name, features in received.items():
        scale = network.get_submodule(name).scale
        torch.testing.assert_close(scale, (2 * features.abs().mean()).reshape(1))


def test_steps_of_least_error_start_an_8_bit_network_much_closer_than_those_of_lsq(network, image):
    before = network(image)
    quantize_convolutions_(network, 8)

    def error(start):
        initialize_steps_(network, image, start=start)
        return (network(image) - before).std() / before.std()

    assert error("mse") < 0.02
    assert error("mse") < error("lsq") / 3


def test_steps_of_weights_follow_weights_that_changed(network, image):
    quantize_convolutions_(network, 4)
    before = network.tail.quantize_weight.scale.detach().clone()
    with torch.no_grad():
        network.tail.weight.mul_(3)
    initialize_steps_(network, image)
    torch.testing.assert_close(network.tail.quantize_weight.scale, 3 * before)


def test_initializing_steps_leaves_modes_statistics_gradients_and_hooks_alone(network, image):
    quantize_convolutions_(network, 4)
    network.train()
    network.body.eval()  # a frozen part of a network in training
    modes = {name: module.training for name, module in network.named_modules()}
    initialize_steps_(network, image)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert not network.norm.running_mean.any()
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_forward_pass_that_fails_leaves_modes_and_hooks_alone_too(network, image):
    quantize_convolutions_(network, 4)
    network.train()
    network.norm.eval()
    with pytest.raises(RuntimeError):
        initialize_steps_(network, image[:, :2])
    assert network.training
    assert not network.norm.training
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_quantizer_of_the_network_itself_is_initialized_and_hwgq_left_alone(image):
    model = nn.Sequential(ActivationLSQ(4, signed=True), QuantConv2d(3, 2, 3, bits=4))
    initialize_steps_(model, image)
    expected = 2 * image.abs().mean() / 7**0.5
    torch.testing.assert_close(model[0].scale, expected.reshape(1))
    assert set(model.state_dict()) == {"0.scale", "1.weight", "1.quantize_weight.scale"}


def test_a_trained_quantized_network_is_restored_by_its_state(network, image, tmp_path):
    quantize_convolutions_(network, 3)
    initialize_steps_(network, image)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    steps = {name: p.detach().clone() for name, p in network.named_parameters() if "scale" in name}
    for _ in range(3):
        optimizer.zero_grad()
        network(image).pow(2).mean().backward()
        optimizer.step()
    assert all((network.get_parameter(name) != step).any() for name, step in steps.items())
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    restored = Residual()
    quantize_convolutions_(restored, 3)
    restored.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(restored.eval()(image), network.eval()(image))
