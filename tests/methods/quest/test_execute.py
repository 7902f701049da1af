from types import SimpleNamespace

import pytest
import torch
from small_denoisers import build_dit, build_unet, calls_of, output_of
from torch import nn

from vismodels.methods.quest import execute
from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    QuantizationSettings,
    WeightQuantConfig,
)
from vismodels.methods.quest.execute import ExecutedLayer, ExecutionReport, execute_int8_
from vismodels.methods.quest.layers import QuantizedConv2d, QuantizedLinear
from vismodels.methods.quest.packed import PackedConv2d, PackedLayer, PackedLinear, pack_
from vismodels.methods.quest.quantize import (
    activation_quantizers,
    enable_,
    quantize_,
    quantized_layers,
)
from vismodels.methods.quest.shortcuts import find_splits
from vismodels.quantization.int8 import Int8Support, probe

pytestmark = pytest.mark.skipif(not probe().available, reason="no 8-bit kernels here")

WEIGHTS = WeightQuantConfig(ranges="minmax")  # takes a tenth of the time of the search
TENSOR = ActivationQuantConfig(ranges="minmax")
CHANNEL = ActivationQuantConfig(ranges="minmax", granularity="channel")
EXACT = Int8Support(True)


def packed_layer(layer, generator, activations=TENSOR, weights=WEIGHTS, split=None, groups=1):
    """Return a packed layer with measured ranges, and an input."""
    is_linear = isinstance(layer, nn.Linear)
    x = torch.randn(3, 6, *[1 if is_linear else 7] * (0 if is_linear else 2), generator=generator)
    cls = QuantizedLinear if is_linear else QuantizedConv2d
    quantized = cls.from_float(layer, weights, activations, time_groups=groups, split=split)
    for group in range(groups):
        parts = x.split([each.stop - each.start for each in quantized.parts], 1)
        for quantizer, part in zip(quantized.activation_quantizers, parts, strict=True):
            ends = quantizer.rows(part).aminmax(dim=1)
            quantizer.set_range_(*(end / (group + 1) for end in ends), group)
    quantized.initialize_weights_()
    return (PackedLinear if is_linear else PackedConv2d).of(quantized), x


def settings_of(activations=TENSOR, weights=WEIGHTS, **options):
    return QuantizationSettings(weights=weights, activations=activations, **options)


def network(settings, build=build_unet):
    model = build()
    calls = calls_of(model)
    splits = find_splits(model, **calls.arguments()) if build is build_unet else None
    quantize_(model, settings, splits)
    calibrate_(model, calls)
    return model, calls


def close(a, b):
    """Both sum the same integers; float32 keeps seven digits of the largest."""
    torch.testing.assert_close(a, b, rtol=0, atol=2e-6 * float(b.abs().max()))


# --- a layer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("activations", [TENSOR, CHANNEL, ActivationQuantConfig(symmetric=True)])
@pytest.mark.parametrize("split", [None, 2])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Linear(6, 5),
        lambda: nn.Linear(6, 5, bias=False),
        lambda: nn.Conv2d(6, 5, 3, padding=1),
        lambda: nn.Conv2d(6, 5, 3, stride=2, dilation=2, padding="valid"),
        lambda: nn.Conv2d(6, 5, 1, bias=False),
    ],
)
def test_an_executed_layer_computes_what_the_quantized_one_does(
    layer, split, activations, generator
):
    packed, x = packed_layer(layer(), generator, activations, split=split)
    close(ExecutedLayer(packed, EXACT)(x), packed(x).detach())


@pytest.mark.parametrize("activations", [TENSOR, CHANNEL])
def test_a_grouped_convolution_is_executed(activations, generator):
    packed, x = packed_layer(nn.Conv2d(6, 4, 3, groups=2, padding=1), generator, activations)
    close(ExecutedLayer(packed, EXACT)(x), packed(x).detach())


@pytest.mark.parametrize("group", [0, 1, torch.tensor([1, 0, 1]), torch.tensor([1, 1, 1])])
def test_samples_are_executed_in_their_time_groups(group, generator):
    packed, x = packed_layer(nn.Conv2d(6, 4, 3, padding=1), generator, groups=2)
    executed = ExecutedLayer(packed, EXACT)
    executed.activation_quantizers[0].group = group
    close(executed(x), packed(x).detach())


def test_eight_bit_weights_are_rounded_to_seven_where_sums_saturate(generator):
    eight = ActivationQuantConfig(bits=8, ranges="minmax")
    weights = WeightQuantConfig(bits=8, ranges="minmax")
    packed, x = packed_layer(nn.Linear(6, 5), generator, eight, weights)
    limited = ExecutedLayer(packed, Int8Support(True, saturates=True))
    assert limited.limited == 63
    y = packed(x).detach()
    assert 0 < float((limited(x) - y).abs().max()) < 0.05 * float(y.abs().max())


def test_four_bit_weights_are_exact_even_so(generator):
    packed, x = packed_layer(nn.Linear(6, 5), generator, ActivationQuantConfig(bits=8))
    executed = ExecutedLayer(packed, Int8Support(True, saturates=True))
    assert executed.limited is None
    close(executed(x), packed(x).detach())


@pytest.mark.parametrize(
    ("layer", "activations", "reason"),
    [
        (lambda: nn.Linear(6, 5), ActivationQuantConfig(bits=10), "at most 8 bits, got 10"),
        (lambda: nn.Conv2d(6, 5, 3, padding="same"), TENSOR, "its padding is 'same', of zeros"),
        (lambda: nn.Conv2d(6, 5, 3, padding=1, padding_mode="circular"), TENSOR, "of circular"),
    ],
)
def test_what_the_kernels_cannot_compute_is_refused(layer, activations, reason, generator):
    packed, _ = packed_layer(layer(), generator, activations)
    with pytest.raises(ValueError, match=reason):
        ExecutedLayer(packed, EXACT)


# --- a network -----------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [build_unet, build_dit])
def test_all_layers_of_a_network_are_executed(build):
    model, calls = network(settings_of(), build)
    names = tuple(quantized_layers(model))
    report = execute_int8_(model)
    assert report.executed == names
    assert not (report.kept or report.limited)
    assert report.speed_ratio is None
    assert not any(isinstance(module, PackedLayer) for module in model.modules())
    assert output_of(model, calls).isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [
        settings_of(softmax_bits=None, time_groups=2),
        settings_of(CHANNEL, softmax_bits=None),
    ],
)
def test_every_layer_of_a_network_gets_and_gives_what_it_did(settings):
    """Layer by layer: a code that a rounding moves by one would hide an error of the next."""
    model, calls = network(settings)
    pack_(model)
    seen = {}

    def record(name):
        def hook(module, args, output):
            seen[name] = (args[0].clone(), output.clone(), module.activation_quantizers[0].group)

        return hook

    layers = quantized_layers(model)
    handles = [layer.register_forward_hook(record(name)) for name, layer in layers.items()]
    output_of(model, calls)
    for handle in handles:
        handle.remove()
    execute_int8_(model)
    assert seen.keys() == layers.keys()
    for name, (x, y, group) in seen.items():
        executed = model.get_submodule(name)
        for quantizer in executed.activation_quantizers:
            quantizer.group = group
        close(executed(x), y)


def test_time_groups_are_chosen_by_the_timestep():
    model, calls = network(settings_of(time_groups=2))
    execute_int8_(model)
    together = output_of(model, calls)
    singly = [output_of(model, calls.select(torch.tensor([place]))) for place in range(len(calls))]
    close(together, torch.cat(singly))
    late = int(model.quantization.groups_of(calls.timesteps[-1:]))
    assert {quantizer.group for quantizer in activation_quantizers(model).values()} == {late}


def test_layers_with_float_inputs_stay_packed_and_are_reported():
    model, calls = network(settings_of())
    enable_(model, activations=False)
    pack_(model)
    before = output_of(model, calls)
    report = execute_int8_(model)
    assert not report.executed
    assert set(report.kept) == set(quantized_layers(model))
    assert set(report.kept.values()) == {"its input is not quantized"}
    assert torch.equal(output_of(model, calls), before)


def test_without_kernels_the_network_stays_packed_for_that_reason(monkeypatch):
    monkeypatch.setattr(execute, "probe", lambda: Int8Support(False, reason="no kernels"))
    model, calls = network(settings_of())
    before = output_of(model, calls)
    report = execute_int8_(model)
    assert set(report.kept.values()) == {"no kernels"}
    assert torch.equal(output_of(model, calls), before)


def test_layers_on_another_device_stay_packed_for_that_reason(caplog):
    model, _ = network(settings_of())
    pack_(model)
    model.to("meta")
    report = execute_int8_(model)
    assert not report.executed
    assert set(report.kept) == set(quantized_layers(model))
    assert set(report.kept.values()) == {
        "8-bit kernels run on the processor, and its weight is on meta; move the network there "
        "first"
    }
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{len(report.kept)} layers stay in float (")
    assert message.endswith("weight is on meta; move the network there first")


@pytest.mark.parametrize("kind", [RuntimeError, NotImplementedError])
def test_layers_whose_kernel_cannot_be_prepared_stay_packed_for_that_reason(kind, monkeypatch):
    def refuse(*args, **kwargs):
        raise kind("could not create a primitive\nException raised from make at ideep.hpp:1")

    monkeypatch.setattr(execute, "Int8Conv2d", refuse)
    model, calls = network(settings_of())
    convolutions = {n for n, m in quantized_layers(model).items() if isinstance(m, nn.Conv2d)}
    report = execute_int8_(model)
    assert set(report.kept) == convolutions
    assert set(report.kept.values()) == {
        "torch cannot prepare its kernel: could not create a primitive"
    }
    assert report.executed
    assert output_of(model, calls).isfinite().all()


def test_limited_layers_are_reported_with_their_bits(monkeypatch):
    monkeypatch.setattr(execute, "probe", lambda: Int8Support(True, saturates=True))
    weights = WeightQuantConfig(bits=8, ranges="minmax")
    activations = ActivationQuantConfig(bits=8, ranges="minmax")
    model, _ = network(settings_of(activations, weights))
    report = execute_int8_(model)
    assert set(report.limited.values()) == {7}
    assert len(report.limited) == len(report.executed)
    assert "layers are executed with weights of 7 bits" in str(report)


def test_speed_is_that_of_the_faster_float_layout_by_ours(monkeypatch):
    # A clock that stands still but for these calls: executed 3 s, default 6 s, channels last 4 s.
    times = iter([0, 0, 0, 0, 3, 10, 16, 20, 24])  # the first round is not measured
    monkeypatch.setattr(execute, "time", SimpleNamespace(process_time=lambda: next(times)))
    model, calls = network(settings_of())
    report = execute_int8_(model, calls.arguments(), rounds=1)
    assert report.speed_ratio == pytest.approx(4 / 3)
    assert "faster than float: 1.33 x its speed" in str(report)


def test_a_report_says_what_is_not_faster_and_why_layers_are_not_executed():
    report = ExecutionReport(("a",), {"b": "too many bits", "c": "too many bits"}, {}, 0.784)
    assert str(report).splitlines() == [
        "1 layers run on 8-bit integers, 2 in float",
        "  too many bits: b, c",
        "not faster than float: 0.78 x its speed",
    ]


def test_a_float_network_is_refused():
    with pytest.raises(ValueError, match="is not quantized"):
        execute_int8_(build_unet())
