import copy

import pytest
import torch
from small_denoisers import build_dit, build_unet, calls_of, output_of
from torch.nn import functional as F

from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    QuantizationSettings,
    WeightQuantConfig,
)
from vismodels.methods.quest.layers import kept_weights
from vismodels.methods.quest.packed import PackedLayer, PackedWeight, pack_
from vismodels.methods.quest.quantize import (
    activation_quantizers,
    dequantize_,
    enable_,
    quantize_,
    quantized_layers,
    report,
)
from vismodels.methods.quest.quantizers import WeightQuantizer
from vismodels.methods.quest.shortcuts import find_splits

FOUR = WeightQuantConfig(ranges="minmax")  # takes a tenth of the time of the search
TENSOR = ActivationQuantConfig(ranges="minmax")
CHANNEL = ActivationQuantConfig(ranges="minmax", granularity="channel")
FORMS = {
    "tensor": QuantizationSettings(weights=FOUR, activations=TENSOR),
    "channel": QuantizationSettings(weights=FOUR, activations=CHANNEL),
    "time groups": QuantizationSettings(weights=FOUR, activations=TENSOR, time_groups=2),
    "three bits": QuantizationSettings(
        weights=WeightQuantConfig(bits=3, ranges="minmax"), activations=TENSOR
    ),
}


def quantized(form="tensor", build=build_unet):
    """Return a calibrated network, and calls of it at several timesteps."""
    model = build()
    calls = calls_of(model)
    splits = find_splits(model, **calls.arguments()) if build is build_unet else None
    quantize_(model, FORMS[form], splits)
    calibrate_(model, calls)
    return model, calls


# --- a weight ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_packed_weight_is_what_its_quantizer_makes_of_it(bits, generator):
    weight = torch.randn(5, 3, 3, generator=generator)
    quantizer = WeightQuantizer(WeightQuantConfig(bits=bits), 5)
    quantizer.initialize_(weight)
    packed = PackedWeight.of(quantizer, weight)
    assert packed.packed.numel() == -(-45 * bits // 8)
    assert torch.equal(packed.codes(), quantizer.codes(weight))
    assert torch.equal(packed(), quantizer(weight))


def test_ranges_of_a_packed_weight_are_its_own(generator):
    weight = torch.randn(2, 3, generator=generator)
    quantizer = WeightQuantizer(WeightQuantConfig(), 2)
    quantizer.initialize_(weight)
    packed = PackedWeight.of(quantizer, weight)
    before = packed()
    quantizer.initialize_(10 * weight)
    assert torch.equal(packed(), before)


def test_scales_stay_float32_when_the_network_changes_its_type():
    packed = PackedWeight(WeightQuantConfig(), (2, 3)).half()
    assert packed.scale.dtype == torch.float32
    assert packed.packed.dtype == torch.uint8


# --- a network -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_packed_network_puts_out_the_same_bits(form):
    model, calls = quantized(form)
    before = output_of(model, calls)
    pack_(model)
    assert torch.equal(output_of(model, calls), before)


def test_a_packed_transformer_puts_out_the_same_bits():
    model, calls = quantized(build=build_dit)
    before = output_of(model, calls)
    pack_(model)
    assert torch.equal(output_of(model, calls), before)


def test_no_float_copy_of_a_quantized_weight_is_left():
    model, _ = quantized()
    shapes = {layer.weight.shape for layer in quantized_layers(model).values()}
    pack_(model)
    layers = quantized_layers(model)
    assert all(layer.weight is None and layer._kept is None for layer in layers.values())
    floats = [t for t in model.state_dict().values() if t.is_floating_point() and t.ndim > 1]
    assert not {tensor.shape for tensor in floats} & shapes
    assert not any(tensor.ndim > 2 for tensor in floats)


def test_what_is_packed_while_weights_are_kept_lets_go_of_them():
    model, calls = quantized()
    before = output_of(model, calls)
    with kept_weights(model):
        pack_(model)
    assert all(layer._kept is None for layer in quantized_layers(model).values())
    assert torch.equal(output_of(model, calls), before)


def test_weights_of_a_packed_network_can_be_kept_for_a_while():
    model, calls = quantized()
    pack_(model)
    before = output_of(model, calls)
    with kept_weights(model):
        assert torch.equal(output_of(model, calls), before)


def test_the_report_of_a_packed_network_is_that_of_the_quantized_one():
    model, _ = quantized()
    before = report(model)
    pack_(model)
    assert report(model) == before


def test_trained_factors_of_scales_are_multiplied_in():
    model, calls = quantized()
    for quantizer in activation_quantizers(model).values():
        quantizer.relative_().data.fill_(0.1)
    before = output_of(model, calls)
    pack_(model)
    assert not any("log_factor" in name for name in model.state_dict())
    assert torch.equal(output_of(model, calls), before)


def test_packing_twice_changes_nothing():
    model, calls = quantized()
    pack_(model)
    layers, before = quantized_layers(model), output_of(model, calls)
    pack_(model)
    assert quantized_layers(model) == layers
    assert torch.equal(output_of(model, calls), before)


def test_a_layer_in_several_places_stays_shared():
    model = build_unet()
    model.mid_block.resnets[1] = model.mid_block.resnets[0]
    calls = calls_of(model)
    quantize_(model, FORMS["tensor"], find_splits(model, **calls.arguments()))
    pack_(model)
    assert isinstance(model.mid_block.resnets[0].conv1, PackedLayer)
    assert model.mid_block.resnets[1].conv1 is model.mid_block.resnets[0].conv1


@pytest.mark.parametrize("form", ["tensor", "channel"])
def test_a_dequantized_network_has_the_rounded_weights(form):
    model, calls = quantized(form)
    enable_(model, activations=False)
    before = output_of(model, calls)
    pack_(model)
    dequantize_(model)
    assert model.state_dict().keys() == build_unet().state_dict().keys()
    # Attention is fused again, and a folded scale is multiplied in and divided by.
    torch.testing.assert_close(output_of(model, calls), before, rtol=1e-4, atol=1e-5)


def test_a_network_on_the_meta_device_has_the_same_keys_and_shapes():
    model, _ = quantized("time groups")
    pack_(model)
    with torch.device("meta"):
        empty = build_unet()
    quantize_(empty, FORMS["time groups"], model.quantization.splits)
    pack_(empty)
    assert {name: (t.shape, t.dtype) for name, t in empty.state_dict().items()} == {
        name: (t.shape, t.dtype) for name, t in model.state_dict().items()
    }


# --- half precision ------------------------------------------------------------------------------

HALF = [torch.bfloat16, torch.float16]


def cast(model, calls, dtype):
    """Return a copy of a network, and its calls, in another type."""
    inputs = {n: t.to(dtype) if t.is_floating_point() else t for n, t in calls.inputs.items()}
    return copy.deepcopy(model).to(dtype), CalibrationSet(inputs)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("build", [build_unet, build_dit])
@pytest.mark.parametrize("form", ["tensor", "channel"])
def test_a_packed_network_computes_in_another_type(form, build, dtype):
    model, calls = quantized(form, build)
    expected = output_of(model, calls)
    pack_(model)
    half, inputs = cast(model, calls, dtype)
    output = output_of(half, inputs)
    assert output.dtype == dtype
    # Codes of 4 bits that half precision moves by one; a wrong weight would be off by 1.
    assert (output - expected).square().mean() < 0.1 * expected.square().mean()


@pytest.mark.parametrize("dtype", HALF)
def test_weights_are_rounded_from_their_float32_values_to_the_type_of_the_input(dtype, generator):
    model, _ = quantized()
    pack_(model)
    layer = copy.deepcopy(model.time_embedding.linear_1).to(dtype)
    weight, bias = layer.quantized_weight(), layer.bias
    assert torch.equal(weight, model.time_embedding.linear_1.quantized_weight())
    x = torch.randn(3, layer.in_features, generator=generator).to(dtype)
    expected = F.linear(layer.quantized_input(x), weight.to(dtype), bias)
    assert torch.equal(layer(x), expected)
    single = layer(x.float())  # of a network whose other parts are float32
    assert single.dtype == torch.float32
    assert torch.equal(single, F.linear(layer.quantized_input(x.float()), weight, bias.float()))


@pytest.mark.parametrize("dtype", HALF)
def test_a_dequantized_network_stays_in_its_type(dtype):
    model, calls = quantized()
    pack_(model)
    half, inputs = cast(model, calls, dtype)
    dequantize_(half)
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}
    assert output_of(half, inputs).isfinite().all()


# --- refusals ------------------------------------------------------------------------------------


def test_a_float_network_is_refused():
    with pytest.raises(ValueError, match="is not quantized"):
        pack_(build_unet())


def test_weights_that_are_not_quantized_at_present_are_refused_by_name():
    model, _ = quantized()
    model.conv_in.quantizes_weight = False
    with pytest.raises(ValueError, match=r"conv_in: .*its quantizer switched off"):
        pack_(model)


def test_another_type_than_float32_is_refused():
    model, _ = quantized()
    with pytest.raises(ValueError, match=r"from float32; got torch\.bfloat16"):
        pack_(model.bfloat16())


def test_float_weights_of_a_packed_network_cannot_be_had():
    model, calls = quantized()
    pack_(model)
    enable_(model, weights=False)
    with pytest.raises(ValueError, match="no weight but the quantized one"):
        output_of(model, calls)


def test_ranges_of_a_packed_layer_stay():
    model, _ = quantized()
    pack_(model)
    with pytest.raises(ValueError, match="ranges for good"):
        model.conv_in.initialize_weights_()
