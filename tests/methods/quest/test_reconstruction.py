import copy

import pytest
import torch
from small_denoisers import build_dit, build_unet, calls_of, output_of

from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    QuantizationSettings,
    ReconstructionConfig,
    WeightQuantConfig,
)
from vismodels.methods.quest.quantize import enabled, quantize_, quantized_layers
from vismodels.methods.quest.quantizers import WeightQuantizer
from vismodels.methods.quest.reconstruction import reconstruct_, unit_error
from vismodels.methods.quest.shortcuts import find_splits
from vismodels.methods.quest.unit_data import calls_of as unit_calls
from vismodels.methods.quest.unit_data import outputs_of
from vismodels.methods.quest.units import find_units, layers_of
from vismodels.training import loop

STEPS = (900, 700, 500, 300, 100) * 3
SHORT = ReconstructionConfig(iterations=12, batch_size=8, learning_rate=0.02)
LONG = SHORT.model_copy(update={"iterations": 120, "learning_rate": 0.05})
COARSE = WeightQuantConfig(bits=3, ranges="minmax")


def quantized(build=build_dit, split=False, **options):
    """Return a quantized network, its float copy and calls."""
    model = build()
    teacher, calls = copy.deepcopy(model), calls_of(model, STEPS)
    splits = find_splits(model, **calls.arguments()) if split else None
    settings = QuantizationSettings(weights=COARSE, split_shortcuts=split, **options)
    quantize_(model, settings, splits)
    return model, teacher, calls


def weights_of(model):
    return {name: layer.weight.detach().clone() for name, layer in quantized_layers(model).items()}


def error_with_quantized_weights(model, teacher, calls):
    with enabled(model, weights=True, activations=False):
        return (output_of(model, calls) - output_of(teacher, calls)).square().mean().item()


def test_errors_of_units_and_of_the_network_fall():
    model, teacher, calls = quantized()
    before = error_with_quantized_weights(model, teacher, calls)
    reports = reconstruct_(model, teacher, calls, LONG)
    assert [report.name for report in reports] == list(find_units(model, calls))
    blocks = [report for report in reports if report.layers > 1]
    assert all(report.learned < 0.8 * report.nearest for report in blocks)
    assert error_with_quantized_weights(model, teacher, calls) < 0.8 * before


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_weights_stand_on_the_grid_of_their_quantizers(granularity):
    activations = ActivationQuantConfig(granularity=granularity)
    model, teacher, calls = quantized(activations=activations)
    scales = {n: layer.weight_quantizers[0].scale for n, layer in quantized_layers(model).items()}
    reconstruct_(model, teacher, calls, SHORT)
    for name, layer in quantized_layers(model).items():
        assert isinstance(layer.weight_quantizers[0], WeightQuantizer)
        assert layer.weight_quantizers[0].scale is scales[name]
        assert torch.allclose(layer.quantized_weight(), layer.folded_weight(), atol=1e-6)


def test_weights_move_by_one_step_at_most():
    model, teacher, calls = quantized()
    before = weights_of(model)
    reconstruct_(model, teacher, calls, SHORT.model_copy(update={"learning_rate": 0.2}))
    further = 0
    for name, layer in quantized_layers(model).items():
        quantizer = layer.weight_quantizers[0]
        scale = quantizer.scale.view(-1, *[1] * (layer.weight.ndim - 1))
        moved = (layer.weight - before[name]).abs() / scale
        assert moved.max() <= 1 + 1e-4
        further += (moved > 0.51).sum().item()
    assert further > 20  # otherwise nothing but nearest rounding has happened


def test_both_parts_of_a_split_shortcut_are_learned():
    model, teacher, calls = quantized(build_unet, split=True)
    before = weights_of(model)
    many = SHORT.model_copy(update={"iterations": 8, "learning_rate": 0.3})
    reconstruct_(model, teacher, calls, many)
    layers = {n: each for n, each in quantized_layers(model).items() if len(each.parts) == 2}
    assert layers
    moved = {0: 0, 1: 0}
    for name, layer in layers.items():
        for place, part in enumerate(layer.parts):
            scale = layer.weight_quantizers[place].scale.view(-1, 1, 1, 1)
            steps = (layer.weight - before[name])[:, part].abs() / scale
            moved[place] += (steps > 0.51).sum().item()
    assert min(moved.values()) > 0


def test_inputs_come_from_the_network_quantized_so_far():
    model, teacher, calls = quantized()
    reconstruct_(model, teacher, calls, SHORT)
    last = find_units(model, calls)[-1]
    layer = layers_of(model, last)[last]
    with enabled(model, weights=True, activations=False):
        entered = unit_calls(model, last, calls)
        found = entered.run(layer, torch.arange(len(calls)))
    reports = reconstruct_(
        model, teacher, calls, SHORT.model_copy(update={"iterations": 1, "learning_rate": 1e-9})
    )
    expected = unit_error(found, outputs_of(teacher, last, calls)).item()
    assert reports[-1].nearest == pytest.approx(expected, rel=1e-4)


def test_inputs_of_the_float_network_are_an_option():
    errors = []
    for quantized_inputs in (True, False):
        model, teacher, calls = quantized()
        options = {"quantized_inputs": quantized_inputs, "iterations": 1}
        reports = reconstruct_(model, teacher, calls, SHORT.model_copy(update=options))
        errors.append([report.nearest for report in reports])
    assert errors[0][0] == errors[1][0]  # nothing is quantized before the first unit
    assert errors[0][1] > errors[1][1]  # errors of the input are not counted


def test_a_seed_decides_all():
    found = []
    for seed in (0, 0, 1):
        model, teacher, calls = quantized()
        reconstruct_(model, teacher, calls, SHORT, seed=seed)
        found.append(weights_of(model))
    same, again, other = found
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert not all(torch.equal(same[name], other[name]) for name in same)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_bit_by_bit(tmp_path, monkeypatch):
    def run(folder):
        model, teacher, calls = quantized()
        options = {"checkpoint_dir": folder, "checkpoint_every": 4}
        return model, reconstruct_(model, teacher, calls, SHORT, **options)

    whole, reports = run(tmp_path / "whole")
    calls, save = [], loop.save_resume

    def dies(path, state):
        save(path, state)
        calls.append(path)
        if len(calls) == 5:  # within the second unit
            raise Killed

    monkeypatch.setattr(loop, "save_resume", dies)
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    resumed, again = run(tmp_path / "killed")
    expected = weights_of(whole)
    assert all(torch.equal(each, expected[n]) for n, each in weights_of(resumed).items())
    assert [r.log.curves for r in again] == [r.log.curves for r in reports]
    # Complete units were loaded: of five with three checkpoints each, ten and a bit were left.
    assert len(calls) - 5 == 3 * 5 - 5


def test_everything_but_weights_comes_back():
    model, teacher, calls = quantized()
    model.train()
    before = {n: p.clone() for n, p in model.named_parameters() if not n.endswith("weight")}
    reconstruct_(model, teacher, calls, SHORT)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is None
        assert name not in before or torch.equal(parameter, before[name])
    assert all(module.training for module in model.modules())
    assert all(each.enabled for layer in quantized_layers(model).values()
               for each in layer.activation_quantizers)  # fmt: skip


def test_the_penalty_begins_after_the_warmup():
    model, teacher, calls = quantized()
    options = {"iterations": 10, "warmup": 0.5}
    report = reconstruct_(model, teacher, calls, SHORT.model_copy(update=options))[0]
    assert report.log.curves["penalty"][:5] == [0] * 5
    assert min(report.log.curves["penalty"][5:]) > 0


def test_errors_of_units_sum_over_channels():
    ones = torch.ones(2, 3, 4, 5)
    assert unit_error(ones, 0 * ones).item() == 3
    assert unit_error(ones[:, :, :, 0], 0 * ones[:, :, :, 0]).item() == 4  # channels last
    assert unit_error(ones[:, :, 0, 0], 0 * ones[:, :, 0, 0]).item() == 3
