import contextlib
import copy
import warnings
from importlib import import_module

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vismodels.cost.counters import conv_macs, count
from vismodels.nn.residual_sr import ESPCN

CONVOLUTIONS = {
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, padding=1), (2, 4, 7, 5)),
    "strided and dilated": (nn.Conv2d(3, 8, (3, 5), stride=(2, 3), dilation=2), (1, 3, 15, 17)),
    "transposed": (nn.ConvTranspose2d(4, 6, 4, stride=2, groups=2, padding=1), (1, 4, 5, 6)),
    "one dimension": (nn.Conv1d(3, 5, 3), (2, 3, 9)),
    "three dimensions": (nn.Conv3d(2, 4, 3, padding=1, bias=False), (1, 2, 4, 5, 6)),
}


class Attention(nn.Module):
    """Scaled dot-product attention of the input with itself, without projections."""

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


class MergedKernels(nn.Module):
    """One functional convolution with the mean of the kernels of two layers it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, bias=False)
        self.second = nn.Conv2d(3, 4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, (self.first.weight + self.second.weight) / 2)


def torch_macs(model: nn.Module, x: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(x)
    return counter.get_total_flops() // 2


def fvcore_by_module(analysis: str, model: nn.Module, x: Tensor) -> dict[str, float]:
    """Return module name -> fvcore's count, children included; the empty name is the total."""
    with warnings.catch_warnings():  # fvcore is built on TorchScript, at import and when it traces
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)")
        counted = getattr(import_module("fvcore.nn"), analysis)(model.eval(), x)
        for name in ("batch_norm", "adaptive_avg_pool2d"):  # no product of matrices: free in ours
            counted.set_op_handle(f"aten::{name}", lambda inputs, outputs: 0)
        return counted.unsupported_ops_warnings(False).by_module()


# --- hand-computed and published numbers -------------------------------------------------------


def test_a_convolution_costs_what_the_formula_says():
    cost = count(nn.Conv2d(3, 8, (3, 5), groups=1, padding=(1, 2)), torch.zeros(1, 3, 10, 20))
    assert cost.parameters == 8 * 3 * 15 + 8
    assert cost.macs == 3 * 8 * 15 * 200
    assert cost.activations == 8 * 200
    assert cost.bitops == cost.macs * 32 * 32


def test_attention_costs_its_two_matrix_products():
    batch, heads, tokens, width = 2, 4, 10, 8
    cost = count(Attention(), torch.zeros(batch, heads, tokens, width))
    assert cost.macs == 2 * batch * heads * tokens**2 * width
    assert cost.activations == batch * heads * tokens * (tokens + width)


@pytest.mark.parametrize(
    "model",
    [
        nn.MultiheadAttention(16, 4, batch_first=True),
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
    ],
)
def test_fused_attention_layers_are_not_free(model):
    x = torch.zeros(2, 10, 16)
    inputs = (x, x, x) if isinstance(model, nn.MultiheadAttention) else (x,)
    feed_forward = 0 if isinstance(model, nn.MultiheadAttention) else 2 * 16 * 32
    projections, attention = 4 * 16 * 16, 2 * 10 * 16  # per token
    assert count(model, *inputs).macs == 20 * (projections + attention + feed_forward)


@pytest.mark.parametrize(("bits", "giga"), [(4, "0.607"), (8, "2.429"), (32, "38.86")])
def test_espcn_has_the_bitops_of_the_quantnas_comparison(bits, giga):
    cost = count(ESPCN(), torch.zeros(1, 3, 32, 32), bits_of=lambda name, module: (bits, bits))
    assert cost.macs == 37_056 * 32 * 32
    assert f"{cost.bitops / 1e9:.{len(giga) - giga.index('.') - 1}f}" == giga


# --- oracles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_agree_with_both_libraries(kind):
    model, shape = CONVOLUTIONS[kind]
    x = torch.zeros(shape)
    cost = count(model, x)
    assert cost.macs == torch_macs(model, x) == fvcore_by_module("FlopCountAnalysis", model, x)[""]
    assert cost.activations == fvcore_by_module("ActivationCountAnalysis", model, x)[""]


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_agree_with_torch(shape, bias):
    model, x = nn.Linear(8, 5, bias=bias), torch.zeros(shape)
    assert count(model, x).macs == torch_macs(model, x) == x.numel() * 5


def test_every_layer_of_resnet18_agrees_with_fvcore_and_the_total_with_torch():
    model = torchvision.models.resnet18()
    x = torch.zeros(1, 3, 64, 64)
    cost = count(model, x)
    macs = fvcore_by_module("FlopCountAnalysis", model, x)
    activations = fvcore_by_module("ActivationCountAnalysis", model, x)
    layers = [layer for layer in cost.layers if layer.macs]
    assert len(layers) == 21
    for layer in layers:
        assert (layer.macs, layer.activations) == (macs[layer.name], activations[layer.name])
    assert cost.macs == torch_macs(model, x) == macs[""]
    assert cost.activations == activations[""]
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())


# --- attribution -------------------------------------------------------------------------------


def test_a_functional_convolution_belongs_to_the_module_that_runs_it():
    cost = count(MergedKernels(), torch.zeros(1, 3, 6, 6))
    rows = {layer.name: (layer.parameters, layer.macs) for layer in cost.layers}
    assert rows == {"": (0, 3 * 4 * 9 * 16), "first": (108, 0), "second": (108, 0)}


def test_an_operation_belongs_to_the_innermost_module_even_across_the_tree():
    class Calls(nn.Module):
        def forward(self, x: Tensor, other: nn.Module) -> Tensor:
            return torch.mm(other(x), x)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.long_name = Calls()

        def forward(self, x: Tensor) -> Tensor:
            return self.long_name(x, self.a)

    cost = count(Model(), torch.zeros(4, 4))
    assert {layer.name: layer.macs for layer in cost.layers} == {"a": 64, "long_name": 64}


def test_a_caught_error_of_a_child_does_not_misplace_later_operations():
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.child = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            with contextlib.suppress(RuntimeError):
                self.child(x)
            return torch.mm(x, x)

    cost = count(Tries(), torch.zeros(4, 4))
    assert {layer.name: layer.macs for layer in cost.layers} == {"": 64, "child": 0}


def test_a_module_called_twice_costs_twice_and_owns_its_parameters_once():
    shared = nn.Linear(3, 3, bias=False)
    cost = count(nn.Sequential(shared, nn.ReLU(), shared), torch.zeros(1, 3))
    assert (cost.parameters, cost.macs, cost.activations) == (9, 18, 6)


def test_a_tied_parameter_counts_once():
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    cost = count(nn.Sequential(first, second), torch.zeros(1, 3))
    assert cost.parameters == 9
    assert [layer.parameters for layer in cost.layers] == [9, 0]


def test_bits_are_asked_by_name_and_module_of_layers_that_multiply():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    bits = {"0": (8, 4), "2": (2, 3)}
    cost = count(model, torch.zeros(1, 3, 5, 5), bits_of=lambda name, module: bits[name])
    assert cost.bitops == 25 * (12 * 32 + 8 * 6)
    assert [layer.kind for layer in cost.layers] == ["Conv2d", "BatchNorm2d", "Conv2d"]


def test_bits_below_one_are_an_error():
    with pytest.raises(ValueError, match=r"bits_of\(''\) must return .* got \(4, 0\)"):
        count(nn.Linear(2, 2), torch.zeros(1, 2), bits_of=lambda name, module: (4, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # one kernel, many products
def test_an_lstm_multiplies_by_all_its_weights_in_every_frame(dtype):
    lstm = nn.LSTM(4, 6, num_layers=2, bidirectional=True, dtype=dtype)
    weights = sum(p.numel() for p in lstm.parameters() if p.ndim == 2)
    assert count(lstm, torch.zeros(3, 5, 4, dtype=dtype)).macs == 3 * 5 * weights


def test_a_kernel_without_a_formula_is_refused():
    with pytest.raises(NotImplementedError, match="no formula"):
        count(nn.Bilinear(3, 4, 5), torch.zeros(2, 3), torch.zeros(2, 4))


# --- no side effects ---------------------------------------------------------------------------


def test_counting_leaves_modes_statistics_and_switches_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    model[2].eval()
    before = copy.deepcopy(model.state_dict())
    count(model, torch.randn(2, 3, 5, 5))
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.is_grad_enabled()


def test_the_model_runs_once_in_evaluation_mode_without_gradients():
    seen = []

    class Observer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return x

    count(Observer(), torch.zeros(1, requires_grad=True))
    assert seen == [(False, False)]


def test_a_failing_model_gets_its_mode_back_and_hides_no_error():
    model = nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="shapes"):
        count(model, torch.zeros(1, 4))
    assert model.training
    assert count(model, torch.zeros(1, 3)).macs == 9


def test_the_count_is_the_same_in_inference_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2))
    expected = count(model, torch.zeros(1, 3, 5, 5))
    with torch.inference_mode():
        assert count(model, torch.zeros(1, 3, 5, 5)) == expected


# --- the price list of a search ----------------------------------------------------------------


@given(
    spatial_dims=st.integers(1, 3),
    groups=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(*[st.integers(1, 3)] * 3),
    stride=st.integers(1, 2),
)
def test_the_price_of_a_convolution_is_what_the_counter_counts(
    spatial_dims, groups, channels, kernel, stride
):
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[spatial_dims - 1]
    inside, outside = (groups * number for number in channels)
    kernel = kernel[:spatial_dims]
    model = convolution(inside, outside, kernel, stride, groups=groups)
    x = torch.zeros(1, inside, *(5, 6, 7)[:spatial_dims])
    price = conv_macs(inside, outside, kernel, model(x).shape[2:], groups)
    assert price == count(model, x).macs


def test_the_price_of_a_linear_layer_and_of_a_transposed_convolution():
    assert conv_macs(8, 5, (), ()) == count(nn.Linear(8, 5), torch.zeros(1, 8)).macs
    transposed, x = nn.ConvTranspose2d(4, 6, 3, stride=2), torch.zeros(1, 4, 5, 7)
    assert conv_macs(4, 6, (3, 3), x.shape[2:]) == count(transposed, x).macs


def test_channels_that_groups_cannot_split_are_an_error():
    with pytest.raises(ValueError, match="multiples of groups=3"):
        conv_macs(6, 4, (3, 3), (8, 8), groups=3)
