import copy

import pytest
import torch
from small_denoisers import build_dit, build_unet, calls_of, output_of
from torch import nn

from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    QuantizationSettings,
    WeightQuantConfig,
)
from vismodels.methods.quest.packed import pack_
from vismodels.methods.quest.quantize import (
    activation_quantizers,
    enabled,
    quantize_,
    quantized_layers,
)


def settings(ranges="minmax", **options):
    own = {key: options.pop(key) for key in ("granularity", "momentum") if key in options}
    return QuantizationSettings(
        weights=WeightQuantConfig(ranges="minmax"),
        activations=ActivationQuantConfig(ranges=ranges, **own),
        split_shortcuts=False,
        **options,
    )


def calibrated(options, timesteps=(900, 900, 100, 100), build=build_unet, **arguments):
    model = build()
    quantize_(model, options)
    calls = calls_of(model, timesteps)
    calibrate_(model, calls, **arguments)
    return model, calls


def ends(quantizer, group=0):
    """Return what the codes of a quantizer stand for at both ends of their range."""
    spec, scale, zero = quantizer.spec, quantizer.scale[group], quantizer.zero_point[group]
    return (spec.minimum - zero) * scale, (spec.maximum - zero) * scale


def inputs_of(model, name, calls):
    """Return what enters a layer of the float network."""
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    with enabled(model, weights=False, activations=False):
        output_of(model, calls)
    handle.remove()
    return seen[0]


FEED_FORWARD = "mid_block.attentions.0.transformer_blocks.0.ff.net.2"


def test_extremes_are_those_of_the_float_network():
    model, calls = calibrated(settings())
    seen = inputs_of(model, FEED_FORWARD, calls)
    quantizer = model.get_submodule(FEED_FORWARD).activation_quantizers[0]
    assert quantizer.scale.item() == pytest.approx((seen.max() - seen.min()).item() / 15)
    low, high = ends(quantizer)
    assert abs(low - seen.min()) <= 0.5 * quantizer.scale + 1e-6
    assert abs(high - seen.max()) <= 0.5 * quantizer.scale + 1e-6


def test_extremes_do_not_depend_on_batches():
    one, other = (calibrated(settings(), batch_size=size)[0] for size in (1, 4))
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(first, second, rtol=1e-4)


def test_searched_ranges_err_less_than_extremes():
    def error(ranges):
        model, calls = calibrated(settings(ranges))
        seen = inputs_of(model, FEED_FORWARD, calls)
        quantizer = model.get_submodule(FEED_FORWARD).activation_quantizers[0]
        return (quantizer(seen) - seen).abs().pow(2.4).mean()

    assert error("mse") < error("minmax")


@pytest.mark.parametrize("ranges", ["mse", "percentile"])
def test_no_range_goes_beyond_the_extremes_and_edges_are_not_searched(ranges):
    plain, searched = calibrated(settings())[0], calibrated(settings(ranges))[0]
    pairs = {
        name: (quantizer.scale, activation_quantizers(searched)[name].scale)
        for name, quantizer in activation_quantizers(plain).items()
    }
    assert all((found <= widest * (1 + 1e-5)).all() for widest, found in pairs.values())
    smaller = {name for name, (widest, found) in pairs.items() if (found < 0.999 * widest).all()}
    assert len(smaller) >= 3
    assert not any("conv_in" in name or "probabilities" in name for name in smaller)


def test_running_extremes_are_means_of_batches():
    model, calls = calibrated(settings(momentum=0.5), batch_size=2)
    first, second = (
        (seen.max() - seen.min()).item() for seen in inputs_of(model, FEED_FORWARD, calls).split(2)
    )
    quantizer = model.get_submodule(FEED_FORWARD).activation_quantizers[0]
    assert quantizer.scale.item() == pytest.approx((first + second) / 2 / 15, rel=1e-4)


def test_each_time_group_is_measured_on_its_own_samples():
    model, calls = calibrated(settings(time_groups=2))
    seen = inputs_of(model, FEED_FORWARD, calls)
    quantizer = model.get_submodule(FEED_FORWARD).activation_quantizers[0]
    for group, own in enumerate(seen.split(2)):
        assert quantizer.scale[group].item() == pytest.approx(
            (own.max() - own.min()).item() / 15, rel=1e-4
        )


def test_groups_are_equally_spaced_among_the_timesteps():
    model, _ = calibrated(settings(time_groups=3), timesteps=(900, 700, 500, 300, 100))
    assert model.quantization.timesteps.tolist() == [900, 500, 100]


def test_scales_of_channels_are_measured_and_change_the_ranges_of_weights():
    model, calls = calibrated(settings(granularity="channel"))
    layer = model.get_submodule(FEED_FORWARD)
    seen = inputs_of(model, FEED_FORWARD, calls).flatten(0, 1)
    spans = (seen.amax(0).clamp_min(0) - seen.amin(0).clamp_max(0)) / 15
    assert torch.allclose(layer.activation_quantizers[0].scale[0], spans, rtol=1e-4)
    before = layer.weight_quantizers[0].scale.clone()
    layer.initialize_weights_()
    assert torch.equal(layer.weight_quantizers[0].scale, before)


def test_quantized_weights_change_what_is_measured():
    float_weights = calibrated(settings())[0]
    quantized_weights = calibrated(settings(), with_quantized_weights=True)[0]
    scales = [
        model.get_submodule(FEED_FORWARD).activation_quantizers[0].scale.item()
        for model in (float_weights, quantized_weights)
    ]
    assert scales[0] != pytest.approx(scales[1], rel=1e-3)


def test_a_packed_network_is_measured_behind_the_weights_that_it_has():
    packed, other = build_unet(), build_unet()
    calls = calls_of(packed)
    for model in (packed, other):
        quantize_(model, settings())
    pack_(packed)
    calibrate_(packed, calls)
    calibrate_(other, calls, with_quantized_weights=True)
    assert all(layer.quantizes_weight for layer in quantized_layers(packed).values())
    found = activation_quantizers(packed)
    for name, quantizer in activation_quantizers(other).items():
        assert torch.equal(found[name].scale, quantizer.scale)
    assert torch.equal(output_of(packed, calls), output_of(other, calls))


def test_calibrated_activations_err_less_than_guessed_ones():
    model = build_dit()
    calls = calls_of(model)
    expected = output_of(model, calls)
    quantize_(model, settings())
    before = (output_of(model, calls) - expected).square().mean()
    calibrate_(model, calls)
    assert (output_of(model, calls) - expected).square().mean() < 0.5 * before


def test_modes_switches_and_observers_come_back():
    model = build_unet().train()
    quantize_(model, settings())
    calibrate_(model, calls_of(model))
    assert all(module.training for module in model.modules())
    assert all(layer.quantizes_weight for layer in quantized_layers(model).values())
    for quantizer in activation_quantizers(model).values():
        assert quantizer.enabled
        assert quantizer.observe is None


# --- refusals ------------------------------------------------------------------------------------


def test_more_groups_than_timesteps_are_refused():
    with pytest.raises(ValueError, match="2 timesteps cannot set 3 time groups"):
        calibrated(settings(time_groups=3))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.forgotten = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, sample, timestep):
        return self.used(sample)


def test_a_layer_that_does_not_run_is_named_and_nothing_is_changed():
    model = Unused()
    quantize_(model, QuantizationSettings(edge_layers=("used",)))
    before = {name: each.clone() for name, each in model.state_dict().items()}
    calls = CalibrationSet({"sample": torch.ones(3, 2), "timestep": torch.ones(3)})
    with pytest.raises(
        ValueError, match=r"no activation came by forgotten.*name the layers in skip"
    ):
        calibrate_(model, calls)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert all(each.observe is None for each in activation_quantizers(model).values())


def test_a_range_without_end_is_refused_and_nothing_is_changed():
    model = build_unet()
    quantize_(model, settings("mse"))
    before = {name: each.clone() for name, each in model.state_dict().items()}
    calls = calls_of(model)
    calls.inputs["sample"][1, 0, 0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"the activation of conv_in.* is not finite"):
        calibrate_(model, calls)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_scales_that_packed_weights_hold_are_not_measured_anew_and_nothing_is_changed():
    model, calls = calibrated(settings(granularity="channel"))
    pack_(model)
    before, expected = copy.deepcopy(model.state_dict()), output_of(model, calls)
    others = calls_of(model, seed=1)
    with pytest.raises(ValueError, match=r"time_embedding.*holds the scales.*before it is packed"):
        calibrate_(model, others, with_quantized_weights=True)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert torch.equal(output_of(model, calls), expected)


def test_a_float_network_is_refused():
    model = build_dit()
    with pytest.raises(ValueError, match="not quantized; call quantize_ first"):
        calibrate_(model, calls_of(model))
