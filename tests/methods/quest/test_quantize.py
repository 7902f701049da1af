import copy

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from small_denoisers import build_dit, build_pixart, build_unet, calls_of, output_of
from small_pipelines import build, call_of
from torch import nn
from torch.nn import functional as F

from vismodels.methods.quest.attention import QuantizedAttnProcessor
from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.config import (
    PRESETS,
    ActivationQuantConfig,
    QuantizationSettings,
    WeightQuantConfig,
)
from vismodels.methods.quest.layers import QuantizedLayer
from vismodels.methods.quest.quantize import (
    activation_quantizers,
    dequantize_,
    enable_,
    enabled,
    quantize_,
    quantized_layers,
    report,
)
from vismodels.methods.quest.shortcuts import find_splits

BUILDS = {"unet": build_unet, "dit": build_dit}


def settings_of(granularity="tensor", **options):
    return QuantizationSettings(
        weights=WeightQuantConfig(ranges="minmax"),  # quickly found
        activations=ActivationQuantConfig(ranges="minmax", granularity=granularity),
        **options,
    )


W4A4, CHANNEL, GROUPS = settings_of(), settings_of("channel"), settings_of(time_groups=2)


def quantized(kind, settings=W4A4, calibrated=True):
    model = BUILDS[kind]()
    calls = calls_of(model)
    lines = quantize_(model, settings, find_splits(model, **calls.arguments()))
    if calibrated:
        calibrate_(model, calls)
    return model, calls, lines


# --- what is quantized ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BUILDS)
def test_every_layer_and_attention_is_quantized_and_reported(kind):
    plain = BUILDS[kind]()
    model, _, lines = quantized(kind, calibrated=False)
    layers = [n for n, m in plain.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [line.name for line in lines if line.kind != "attention"] == layers
    attentions = [n for n, m in plain.named_modules() if type(m).__name__ == "Attention"]
    assert [line.name for line in lines if line.kind == "attention"] == attentions
    assert attentions
    weights = sum(plain.get_submodule(n).weight.numel() for n in layers)
    biases = sum(p.numel() for n in layers if (p := plain.get_submodule(n).bias) is not None)
    assert sum(line.parameters for line in lines) == weights + biases
    assert report(model) == lines


def test_a_pixart_transformer_is_quantized_and_calibrated():
    model = build_pixart()
    calls = calls_of(model)
    expected = output_of(model, calls)
    lines = quantize_(model, W4A4)
    assert {"adaln_single.linear", "caption_projection.linear_1"} <= {each.name for each in lines}
    assert {line.kind for line in lines} == {"conv", "linear", "attention"}
    assert [line.name for line in lines if line.activation_bits == 8] == [
        "pos_embed.proj",
        "proj_out",
    ]
    calibrate_(model, calls)
    error = (output_of(model, calls) - expected).square().mean()
    assert 0 < error < 0.05 * expected.square().mean()


def test_first_and_last_layers_and_probabilities_have_eight_bits():
    for kind, edges in (
        ("unet", {"conv_in", "conv_out"}),
        ("dit", {"pos_embed.proj", "proj_out_2"}),
    ):
        _, _, lines = quantized(kind, calibrated=False)
        assert {line.name for line in lines if line.activation_bits == 8} == edges
        assert {line.softmax_bits for line in lines} == {None, 8}
        assert {line.weight_bits for line in lines} == {None, 4}


def test_only_shortcuts_that_join_have_two_parts():
    model, _, lines = quantized("unet", calibrated=False)
    split = [line.name for line in lines if line.parts == 2]
    assert split == [f"up_blocks.{b}.resnets.{r}.conv_shortcut" for b in (0, 1) for r in (0, 1)]
    other = quantized("unet", QuantizationSettings(split_shortcuts=False), calibrated=False)[2]
    assert {line.parts for line in other} == {1}
    assert len(activation_quantizers(model)) == len(split) + len(lines) + 3 * sum(
        line.kind == "attention" for line in lines
    )


def test_skipped_layers_and_attention_stay_float():
    settings = QuantizationSettings(skip=(r".*\.ff\..*",), softmax_bits=None, split_shortcuts=False)
    model, _, lines = quantized("unet", settings)
    assert not any(".ff." in line.name or line.kind == "attention" for line in lines)
    assert all(type(each) is AttnProcessor2_0 for each in model.attn_processors.values())
    feed_forward = "mid_block.attentions.0.transformer_blocks.0.ff.net.2"
    assert type(model.get_submodule(feed_forward)) is nn.Linear


@pytest.mark.parametrize("settings", [W4A4, CHANNEL, GROUPS])
@pytest.mark.parametrize("kind", BUILDS)
def test_what_enters_the_kernels_has_no_more_levels_than_its_bits(kind, settings, monkeypatch):
    model, calls, lines = quantized(kind, settings)
    seen = []
    for name in ("linear", "conv2d"):
        plain = getattr(F, name)

        def spy(x, weight, *args, plain=plain, **options):
            seen.append((x, weight))
            return plain(x, weight, *args, **options)

        monkeypatch.setattr(F, name, spy)
    called = []
    for name, layer in quantized_layers(model).items():
        layer.register_forward_hook(lambda module, args, output, name=name: called.append(name))
    output_of(model, calls.select(torch.tensor([0, 1])))
    lines = {line.name: line for line in lines}
    assert len(called) == len(seen)
    assert set(called) == set(quantized_layers(model))
    for name, (x, weight) in zip(called, seen, strict=True):
        line, layer = lines[name], quantized_layers(model)[name]
        rows = (
            x.movedim(layer.input_axis, 0).flatten(1) if layer.folds_channels else x.flatten()[None]
        )
        assert max(len(row.unique()) for row in rows) <= line.parts * 2**line.activation_bits
        most = max(len(row.unique()) for row in weight.flatten(1))
        assert most <= line.parts * 2**line.weight_bits


# --- and back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [W4A4, CHANNEL, GROUPS, PRESETS["w8a8"]])
@pytest.mark.parametrize("kind", BUILDS)
def test_switched_off_it_is_the_float_network_to_the_bit(kind, settings):
    plain = BUILDS[kind]()
    model, calls, _ = quantized(kind, settings)
    expected = output_of(plain, calls)
    assert not torch.allclose(output_of(model, calls), expected, atol=1e-4)
    with enabled(model, weights=False, activations=False):
        assert torch.equal(output_of(model, calls), expected)
    assert not torch.allclose(output_of(model, calls), expected, atol=1e-4)


@pytest.mark.parametrize("kind", BUILDS)
def test_dequantization_gives_back_the_float_network(kind):
    plain = BUILDS[kind]()
    model, calls, _ = quantized(kind)
    dequantize_(model)
    assert {n: type(m) for n, m in model.named_modules()} == {
        n: type(m) for n, m in plain.named_modules()
    }
    assert list(model.state_dict()) == list(plain.state_dict())
    assert torch.equal(output_of(model, calls), output_of(plain, calls))


def test_a_network_can_be_quantized_again():
    model, calls, _ = quantized("unet")
    expected = output_of(model, calls)
    dequantize_(model)
    quantize_(model, W4A4, find_splits(model, **calls.arguments()))
    calibrate_(model, calls)
    assert torch.equal(output_of(model, calls), expected)


def test_parameters_stay_the_same_objects():
    model = build_unet()
    before = dict(model.named_parameters())
    quantize_(model, QuantizationSettings(split_shortcuts=False))
    after = dict(model.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert model.dtype == torch.float32


# --- switches ------------------------------------------------------------------------------------


def test_weights_and_activations_are_switched_apart():
    model, calls, _ = quantized("unet")
    results = []
    for weights in (False, True):
        for activations in (False, True):
            enable_(model, weights=weights, activations=activations)
            results.append(output_of(model, calls))
    assert len({tuple(each.flatten().tolist()) for each in results}) == 4


def test_switches_come_back_as_they_were():
    model, _, _ = quantized("unet", calibrated=False)
    odd = next(iter(activation_quantizers(model).values()))
    odd.enabled = False
    with pytest.raises(KeyError), enabled(model, weights=False, activations=True):
        assert odd.enabled
        raise KeyError
    assert not odd.enabled
    assert all(layer.quantizes_weight for layer in quantized_layers(model).values())


# --- state and copies ----------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [W4A4, CHANNEL, GROUPS])
@pytest.mark.parametrize("kind", BUILDS)
def test_a_state_dict_makes_a_fresh_network_the_same_to_the_bit(kind, settings):
    model, calls, _ = quantized(kind, settings)
    fresh = BUILDS[kind](seed=1)
    quantize_(fresh, settings, find_splits(fresh, **calls.arguments()))
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(output_of(fresh, calls), output_of(model, calls))


def test_a_network_without_values_is_quantized_and_loaded():
    model, calls, _ = quantized("unet")
    with torch.device("meta"):
        empty = build_unet()
    quantize_(empty, W4A4, find_splits(build_unet(), **calls.arguments()))
    assert all(each.is_meta for each in empty.state_dict().values())
    empty.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(output_of(empty, calls), output_of(model, calls))


def test_a_copy_is_a_quantized_network_of_its_own():
    model, calls, _ = quantized("unet")
    expected = output_of(model, calls)
    twin = copy.deepcopy(model)
    assert torch.equal(output_of(twin, calls), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(output_of(model, calls), expected)


def test_a_network_in_half_precision_keeps_its_scales():
    model, calls, _ = quantized("unet")
    before = {n: each.scale.clone() for n, each in activation_quantizers(model).items()}
    model.bfloat16()
    assert all(
        torch.equal(each.scale, before[n]) for n, each in activation_quantizers(model).items()
    )
    inputs = {k: v.bfloat16() if v.is_floating_point() else v for k, v in calls.inputs.items()}
    assert output_of(model, type(calls)(inputs)).dtype == torch.bfloat16


# --- in a pipeline -------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [W4A4, CHANNEL, GROUPS])
def test_a_stock_pipeline_samples_with_it(settings):
    pipeline = build("sd")
    calls = calls_of(pipeline.unet)
    arguments = {"prompt": ["a red cube"], **call_of("sd", steps=2), "output_type": "latent"}

    def sample():
        return pipeline(**arguments, generator=torch.Generator().manual_seed(0)).images

    expected = sample()
    quantize_(pipeline.unet, settings, find_splits(pipeline.unet, **calls.arguments()))
    calibrate_(pipeline.unet, calls)
    found = sample()
    assert found.isfinite().all()
    assert not torch.allclose(found, expected, atol=1e-3)
    with enabled(pipeline.unet, weights=False, activations=False):
        assert torch.equal(sample(), expected)
    dequantize_(pipeline.unet)
    assert torch.equal(sample(), expected)


def test_eight_bits_err_less_than_four():
    def error(name):
        model, calls, _ = quantized("unet", PRESETS[name])
        with enabled(model, weights=False, activations=False):
            expected = output_of(model, calls)
        return (output_of(model, calls) - expected).square().mean()

    assert error("w8a8") < 0.02 * error("w4a4")


# --- refusals ------------------------------------------------------------------------------------


def test_a_quantized_network_is_not_quantized_twice():
    model, _, _ = quantized("dit", calibrated=False)
    with pytest.raises(ValueError, match="quantized already; dequantize_ it first"):
        quantize_(model, W4A4)


def test_joined_shortcuts_without_splits_are_refused_and_nothing_is_changed():
    model = build_unet()
    with pytest.raises(ValueError, match=r"give splits, as shortcuts\.find_splits returns them"):
        quantize_(model, W4A4)
    assert not any(isinstance(m, QuantizedLayer | QuantizedAttnProcessor) for m in model.modules())


def test_a_split_of_an_unknown_layer_is_refused():
    with pytest.raises(ValueError, match=r"no layer to split is called 'conv_inn'.*conv_in"):
        quantize_(build_unet(), W4A4, {"conv_inn": 2})


def test_a_network_without_known_edges_is_refused():
    with pytest.raises(ValueError, match="name its first and last layer"):
        quantize_(nn.Sequential(nn.Linear(2, 2)), W4A4)
    plain = QuantizationSettings(edge_layers=("0",))
    assert quantize_(nn.Sequential(nn.Linear(2, 2)), plain)[0].activation_bits == 8


def test_a_layer_is_no_network_and_a_network_has_layers():
    with pytest.raises(ValueError, match=r"put it into an nn\.Sequential"):
        quantize_(nn.Linear(2, 2), W4A4)
    with pytest.raises(ValueError, match="no layer to quantize"):
        quantize_(nn.Sequential(nn.SiLU()), W4A4)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv3d, nn.ConvTranspose2d])
def test_layers_of_another_kind_are_refused_by_name_or_skipped(kind):
    model = nn.ModuleDict({"flat": nn.Linear(2, 3), "temporal": kind(2, 3, 1)})
    message = rf"has {kind.__name__}: temporal \(1 in all\); name them in skip"
    with pytest.raises(ValueError, match=message):
        quantize_(model, W4A4.model_copy(update={"edge_layers": ("flat",)}))
    assert type(model["flat"]) is nn.Linear
    options = {"edge_layers": ("flat",), "skip": ("temporal",)}
    (line,) = quantize_(model, W4A4.model_copy(update=options))
    assert line.name == "flat"
    assert type(model["temporal"]) is kind


def test_layers_with_hooks_of_their_own_are_refused():
    model = build_dit()
    model.proj_out_1.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="proj_out_1: a Linear with hooks"):
        quantize_(model, W4A4)


def test_other_attention_processors_are_refused():
    with pytest.raises(ValueError, match="products of a FluxAttnProcessor cannot be quantized"):
        quantize_(build("flux").transformer, QuantizationSettings(edge_layers=("x_embedder",)))


def test_other_networks_are_quantized_with_float_attention():
    model = build("flux").transformer
    settings = QuantizationSettings(
        softmax_bits=None, edge_layers=("x_embedder", "proj_out"), edge_bits=8
    )
    lines = quantize_(model, settings)
    assert {line.kind for line in lines} == {"linear"}
    assert [line.name for line in lines if line.activation_bits == 8] == ["x_embedder", "proj_out"]
