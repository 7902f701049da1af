import pytest
import torch
from small_denoisers import build_dit, build_unet

from vismodels.methods.quest.config import (
    LAYER_SETS,
    VARIANTS,
    ActivationQuantConfig,
    QuantizationSettings,
)
from vismodels.methods.quest.freezing import frozen
from vismodels.methods.quest.layer_sets import parameter_share, select_layers
from vismodels.methods.quest.quantize import activation_quantizers, quantize_, quantized_layers
from vismodels.methods.quest.tuned import select_tuned

SETS = LAYER_SETS["paper"]
TLA, CMA = VARIANTS["paper"]


def quantized(build=build_unet, **options):
    model = build()
    quantize_(model, QuantizationSettings(split_shortcuts=False, **options))
    return model


def trained_in(model, stage):
    """Return the names of the parameters that have gradients in a stage, and what is tuned."""
    with frozen(model), select_tuned(model, stage, SETS) as tuned:
        names = {name for name, each in model.named_parameters() if each.requires_grad}
    return names, tuned


def scale_names(model, temporal):
    layers = select_layers(model, SETS.temporal)
    return {
        f"{name}.scale"
        for name in activation_quantizers(model)
        if any(name.startswith(f"{layer}.") for layer in layers) == temporal
    }


@pytest.mark.parametrize("build", [build_unet, build_dit])
@pytest.mark.parametrize(("stage", "temporal"), [(TLA, True), (CMA, False)], ids=["tla", "cma"])
def test_stages_train_their_layers_and_their_scales(build, stage, temporal):
    model = quantized(build)
    layers = select_layers(model, SETS.temporal if temporal else SETS.sensitive)
    expected = {
        f"{layer}.{name}"
        for layer in layers
        for name in ("weight", "bias")
        if getattr(model.get_submodule(layer), name) is not None
    }
    names, tuned = trained_in(model, stage)
    assert names == expected | scale_names(model, temporal)
    assert tuned.layers == layers
    assert tuned.share == parameter_share(model, layers)
    assert tuned.fixed == set(quantized_layers(model)) - set(layers)


def test_full_trains_every_parameter_and_fixes_no_weight():
    model = quantized()
    names, tuned = trained_in(model, VARIANTS["full"][0].model_copy(update={"relative_scales": 0}))
    assert names == {name for name, _ in model.named_parameters()}
    assert (tuned.share, tuned.fixed) == (1, frozenset())


def test_temporal_trains_the_layers_of_the_time_and_every_scale():
    model = quantized()
    names, tuned = trained_in(model, VARIANTS["temporal"][0])
    layers = select_layers(model, SETS.temporal)
    assert tuned.layers == layers
    assert len(tuned.scales) == len(activation_quantizers(model))
    weights = {name for name in names if not name.endswith(".log_factor")}
    assert {name.rpartition(".")[0] for name in weights} == set(layers)


def test_scales_only_trains_no_weight():
    model = quantized()
    names, tuned = trained_in(model, VARIANTS["scales_only"][0])
    assert all(name.endswith(".log_factor") for name in names)
    assert len(tuned.scales) == len(activation_quantizers(model)) == len(names)
    assert (tuned.share, tuned.weights, tuned.layers) == (0, (), ())


def test_relative_scales_are_factors_meanwhile():
    model = quantized()
    before = {n: each.scale.detach().clone() for n, each in activation_quantizers(model).items()}
    with frozen(model), select_tuned(model, VARIANTS["selective"][0], SETS) as tuned:
        for factor in tuned.scales:
            factor.data += torch.tensor(2.0).log()
    for name, quantizer in activation_quantizers(model).items():
        assert quantizer.log_factor is None
        assert torch.allclose(quantizer.scale, 2 * before[name])
        assert quantizer.scale.requires_grad


def test_weights_that_hold_trained_scales_are_not_fixed():
    model = quantized(activations=ActivationQuantConfig(granularity="channel"))
    folded = {name for name, layer in quantized_layers(model).items() if layer.folds_channels}
    _, tuned = trained_in(model, VARIANTS["scales_only"][0])
    assert tuned.fixed == set(quantized_layers(model)) - folded
    _, tuned = trained_in(model, TLA)
    temporal = set(select_layers(model, SETS.temporal))
    assert tuned.fixed == set(quantized_layers(model)) - temporal
