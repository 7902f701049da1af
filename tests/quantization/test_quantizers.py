import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vismodels.quantization.functional import HWGQ_STEPS, hwgq, mse_step
from vismodels.quantization.quantizers import (
    ActivationHWGQ,
    ActivationLSQ,
    WeightLSQ,
    activation_quantizer,
    build_rectifier,
)
from vismodels.quantization.spec import QuantSpec


@pytest.fixture
def weight(generator):
    return torch.randn(4, 3, 3, 3, generator=generator).requires_grad_()


def squared_error(quantizer, x):
    return (quantizer(x) - x).pow(2).mean()


# --- weights -----------------------------------------------------------------------------------


def test_steps_of_weights_are_registered_parameters_one_for_each_output_channel(weight):
    quantizer = WeightLSQ(weight, 4)
    assert [(name, p.shape) for name, p in quantizer.named_parameters()] == [
        ("scale", (4, 1, 1, 1))
    ]
    expected = 2 * weight.detach().abs().mean((1, 2, 3)) / 7**0.5
    torch.testing.assert_close(quantizer.scale.flatten(), expected)


def test_steps_of_weights_train(weight):
    quantizer = WeightLSQ(weight.detach(), 3)
    before, error = quantizer.scale.detach().clone(), squared_error(quantizer, weight.detach())
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        squared_error(quantizer, weight.detach()).backward()
        optimizer.step()
    assert not torch.isclose(quantizer.scale, before).any()
    assert squared_error(quantizer, weight.detach()) < 0.9 * error


def test_trained_steps_survive_saving_and_loading(weight, tmp_path):
    trained = WeightLSQ(weight, 4)
    with torch.no_grad():
        trained.scale.mul_(torch.tensor([0.5, 0.8, 1.3, 2.0]).view(4, 1, 1, 1))
    torch.save(trained.state_dict(), tmp_path / "steps.pt")
    fresh = WeightLSQ(torch.ones_like(weight), 4)
    fresh.load_state_dict(torch.load(tmp_path / "steps.pt", weights_only=True))
    assert torch.equal(fresh(weight), trained(weight))
    assert not torch.equal(WeightLSQ(weight, 4)(weight), trained(weight))


def test_the_gradient_of_the_steps_of_weights_is_scaled_by_the_whole_tensor():
    weight = torch.tensor([[0.9, -0.6, 0.1], [5.0, -5.0, 0.2]])
    quantizer = WeightLSQ(weight, 2)  # integers -2 to 1
    with torch.no_grad():
        quantizer.scale.copy_(torch.tensor([[1.0], [1.0]]))
    quantizer(weight).sum().backward()
    first = (1 - 0.9) + (-1 + 0.6) + (0 - 0.1)
    second = 1 - 2 + (0 - 0.2)
    expected = torch.tensor([[first], [second]]) / (1 * 6) ** 0.5
    torch.testing.assert_close(quantizer.scale.grad, expected)


@given(st.integers(2, 8), st.integers(0, 1000))
def test_a_quantized_weight_has_at_most_two_to_the_bits_values_in_each_channel(bits, seed):
    weight = torch.randn(2, 500, generator=torch.Generator().manual_seed(seed))
    for channel in WeightLSQ(weight, bits)(weight):
        assert len(channel.unique()) <= 2**bits


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7])
def test_another_bit_brings_weights_closer_at_the_first_step(bits, weight):
    fewer, more = (squared_error(WeightLSQ(weight, b), weight) for b in (bits, bits + 1))
    assert more < fewer


def test_weights_at_32_bits_are_the_same_tensor_without_steps(weight):
    quantizer = WeightLSQ(weight, 32)
    quantizer.initialize_(weight)
    assert quantizer(weight) is weight
    assert not list(quantizer.parameters())


def test_initializing_moves_the_steps_to_another_weight_and_keeps_the_parameter(weight):
    quantizer = WeightLSQ(weight, 4)
    parameter = quantizer.scale
    quantizer.initialize_(3 * weight)
    assert quantizer.scale is parameter
    torch.testing.assert_close(parameter, WeightLSQ(3 * weight, 4).scale)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_a_weight_of_zeros_learns_with_its_step(optimizer):
    weight = nn.Parameter(torch.zeros(2, 5))
    quantizer = WeightLSQ(weight, 4)
    target = torch.tensor([[1.0], [-1.0]])
    descent = optimizer([weight, *quantizer.parameters()], lr=1e-2)
    for _ in range(400):
        descent.zero_grad()
        (quantizer(weight) - target).pow(2).sum().backward()
        descent.step()
    torch.testing.assert_close(quantizer(weight), target.expand(2, 5), atol=0.3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_steps_at_zero_or_below_leave_finite_weights_of_every_type(dtype):
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=dtype)
    quantizer = WeightLSQ(weight, 4)
    with torch.no_grad():
        quantizer.scale.copy_(torch.tensor([[0.0], [-0.5]]))
    quantized = quantizer(weight)
    assert quantized.dtype == dtype
    assert quantized.isfinite().all()
    assert quantized[1].tolist() == [1, 0]  # the sign of a step does not matter


def test_steps_start_with_the_least_error_when_asked(weight):
    quantizer, kept = WeightLSQ(weight, 8), ActivationLSQ(4)
    quantizer.initialize_(weight, "mse")
    torch.testing.assert_close(
        quantizer.scale.detach(), mse_step(weight, QuantSpec(8, True), channels=True)
    )
    kept.initialize_(weight, "mse")
    torch.testing.assert_close(kept.scale.detach(), mse_step(weight.relu(), QuantSpec(4, False)))


# --- activations -------------------------------------------------------------------------------


def test_unsigned_lsq_of_activations_by_hand():
    quantizer = ActivationLSQ(2)
    with torch.no_grad():
        quantizer.scale.fill_(0.5)  # values 0, 0.5, 1, 1.5
    x = torch.tensor([[-1.0, 0.2, 0.3, 0.8, 9.0]], requires_grad=True)
    y = quantizer(x)
    y.sum().backward()
    assert y.tolist() == [[0, 0, 0.5, 1.0, 1.5]]
    assert x.grad.tolist() == [[0, 1, 1, 1, 0]]
    ratios = (0 - 0.4) + (1 - 0.6) + (2 - 1.6) + 3
    assert quantizer.scale.grad.item() == pytest.approx(ratios / (3 * 5) ** 0.5)


def test_signed_lsq_of_activations_keeps_negative_values():
    quantizer = ActivationLSQ(4, signed=True)
    with torch.no_grad():
        quantizer.scale.fill_(0.5)
    assert quantizer(torch.tensor([[-9.0, -1.1, 0.6]])).tolist() == [[-4.0, -1.0, 0.5]]


def test_the_gradient_scale_of_activations_counts_the_features_of_one_item():
    x = torch.tensor([[0.2, 0.9, 4.0]])
    one, four = ActivationLSQ(4), ActivationLSQ(4)
    one(x).sum().backward()
    four(x.repeat(4, 1)).sum().backward()
    torch.testing.assert_close(four.scale.grad, 4 * one.scale.grad)


@pytest.mark.parametrize("signed", [False, True])
def test_the_step_of_activations_starts_from_what_is_kept_of_them(signed, generator):
    x = torch.randn(6, 50, generator=generator)
    quantizer = ActivationLSQ(4, signed)
    parameter = quantizer.scale
    quantizer.initialize_(x)
    kept, largest = (x, 7) if signed else (x.relu(), 15)
    assert quantizer.scale is parameter
    torch.testing.assert_close(parameter, (2 * kept.abs().mean() / largest**0.5).reshape(1))


def test_the_step_of_activations_is_saved_with_the_rest():
    quantizer = ActivationLSQ(4)
    quantizer.initialize_(torch.full((1, 3), 7.0))
    other = ActivationLSQ(4)
    other.load_state_dict(quantizer.state_dict())
    assert torch.equal(other.scale, quantizer.scale)


@pytest.mark.parametrize("bits", HWGQ_STEPS)
def test_hwgq_as_a_module_is_the_function_without_parameters(bits, generator):
    quantizer = ActivationHWGQ(bits)
    x = torch.randn(100, generator=generator)
    assert torch.equal(quantizer(x), hwgq(x, bits))
    assert not quantizer.state_dict()


def test_an_empty_batch_passes():
    assert ActivationLSQ(4)(torch.zeros(0, 3, 2)).shape == (0, 3, 2)


# --- by name -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hwgq", "lsq"])
@pytest.mark.parametrize("signed", [False, True])
def test_activations_at_32_bits_are_the_same_tensor(kind, signed):
    x = torch.tensor([-1.5, 0.0, 1e-9, 3e8])
    assert activation_quantizer(kind, 32, signed)(x) is x


@pytest.mark.parametrize("signed", [False, True])
def test_lsq_of_activations_built_directly_keeps_its_rectifier_at_32_bits(signed, generator):
    x = torch.randn(4, 5, generator=generator)
    quantizer = ActivationLSQ(32, signed)
    quantizer.initialize_(x)
    assert torch.equal(quantizer(x), x if signed else x.relu())
    assert not list(quantizer.parameters())


@pytest.mark.parametrize("signed", [False, True])
def test_below_32_bits_the_kind_decides(signed):
    assert isinstance(activation_quantizer("hwgq", 4, signed), ActivationHWGQ)
    lsq = activation_quantizer("lsq", 4, signed)
    assert isinstance(lsq, ActivationLSQ)
    assert lsq.spec == QuantSpec(4, signed)


def test_hwgq_rectifies_signed_features_too():
    x = torch.tensor([-1.0, 0.22, 5.0])
    assert torch.equal(activation_quantizer("hwgq", 4, True)(x), hwgq(x, 4))


def test_hwgq_with_unpublished_bits_is_refused_when_it_is_built():
    with pytest.raises(ValueError, match="got 5"):
        activation_quantizer("hwgq", 5, False)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("relu", [0, 0, 2]), ("leaky_relu", [-0.3, 0, 2]), ("prelu", [-0.3, 0, 2])],
)
def test_rectifiers_by_hand(kind, expected):
    rectifier = build_rectifier(kind)
    assert rectifier(torch.tensor([-3.0, 0.0, 2.0])).tolist() == pytest.approx(expected)
    assert len(list(rectifier.parameters())) == (kind == "prelu")


def test_copies_learn_apart():
    quantizer = ActivationLSQ(4)
    twin = copy.deepcopy(quantizer)
    twin.initialize_(torch.full((1, 2), 50.0))
    assert not torch.equal(twin.scale, quantizer.scale)
