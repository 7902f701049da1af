import copy

import pytest
import torch
from small_denoisers import build_dit, build_unet, calls_of, output_of
from torch import nn

from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.closed_form import fit_in_closed_form_
from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    ClosedFormConfig,
    QuantizationSettings,
)
from vismodels.methods.quest.quantize import quantize_, quantized_layers
from vismodels.methods.quest.shortcuts import find_splits

STEPS = (900, 700, 500, 300, 100) * 6
BOTH, NEITHER = ClosedFormConfig(), ClosedFormConfig(compensate=False, gptq=False)
GPTQ, LEAST_SQUARES = ClosedFormConfig(compensate=False), ClosedFormConfig(gptq=False)


def calibrated(build=build_dit, split=False, **options):
    """Return a calibrated network, its float copy and calls."""
    model = build()
    teacher, calls = copy.deepcopy(model), calls_of(model, STEPS)
    splits = find_splits(model, **calls.arguments()) if split else None
    quantize_(model, QuantizationSettings(split_shortcuts=split, **options), splits)
    calibrate_(model, calls)
    return model, teacher, calls


def error_of(model, teacher, calls):
    return (output_of(model, calls) - output_of(teacher, calls)).square().mean().item()


@pytest.mark.parametrize(
    ("build", "config"),
    [(build_unet, BOTH), (build_dit, BOTH), (build_dit, GPTQ), (build_dit, LEAST_SQUARES)],
)
def test_the_output_comes_nearer_to_the_float_networks(build, config):
    model, teacher, calls = calibrated(build)
    before = error_of(model, teacher, calls)
    fit_in_closed_form_(model, teacher, calls, config)
    assert error_of(model, teacher, calls) < 0.95 * before


def test_other_samples_gain_as_well():
    model, teacher, calls = calibrated()
    others = calls_of(model, STEPS, seed=1)
    before = error_of(model, teacher, others)
    fit_in_closed_form_(model, teacher, calls)
    assert error_of(model, teacher, others) < 0.8 * before


def test_every_layer_is_fitted_in_the_order_in_which_they_run():
    model, teacher, calls = calibrated()
    ran = []
    for name, layer in quantized_layers(model).items():
        layer.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    output_of(model, calls)
    reports = fit_in_closed_form_(model, teacher, calls)
    assert [report.name for report in reports] == list(dict.fromkeys(ran))
    assert all(report.after <= report.before * 1.01 for report in reports)


def test_weights_stand_on_the_grid_of_their_quantizers():
    activations = ActivationQuantConfig(granularity="channel")
    model, teacher, calls = calibrated(build_unet, split=True, activations=activations)
    before = error_of(model, teacher, calls)
    fit_in_closed_form_(model, teacher, calls)
    for layer in quantized_layers(model).values():
        assert torch.allclose(layer.quantized_weight(), layer.folded_weight(), atol=1e-6)
    assert error_of(model, teacher, calls) < before


@pytest.mark.parametrize("each", [31, 32])
def test_few_samples_of_a_timestep_are_warned_of(each, caplog):
    model = build_dit()
    teacher, calls = copy.deepcopy(model), calls_of(model, (900, 100) * each)
    quantize_(model, QuantizationSettings(split_shortcuts=False))
    fit_in_closed_form_(model, teacher, calls, NEITHER)
    messages = [record.getMessage() for record in caplog.records]
    few = "31 samples of a timestep are few to fit weights to; take at least 32 prompts"
    assert messages == ([few] if each == 31 else [])


def test_time_groups_are_those_of_the_samples():
    model, teacher, calls = calibrated(time_groups=3)
    before = error_of(model, teacher, calls)
    fit_in_closed_form_(model, teacher, calls, batch_size=7)
    assert error_of(model, teacher, calls) < before


def test_neither_step_changes_nothing():
    model, teacher, calls = calibrated()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    reports = fit_in_closed_form_(model, teacher, calls, NEITHER)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert all(report.after == report.before for report in reports)


class Convolutions(nn.Module):
    """Layers that read their inputs in all ways a convolution can."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Conv2d(2, 4, 3, padding=1)
        self.strided = nn.Conv2d(4, 4, 3, stride=2, dilation=2, padding=2)
        self.grouped = nn.Conv2d(4, 6, 3, groups=2, padding="same")
        self.circular = nn.Conv2d(6, 2, 3, padding=1, padding_mode="circular", bias=False)

    def forward(self, sample, timestep):
        return self.circular(self.grouped(self.strided(self.plain(sample))))


def convolutions():
    generator = torch.Generator().manual_seed(0)
    model = Convolutions()
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    sample = torch.randn(20, 2, 9, 9, generator=generator)
    return model, CalibrationSet({"sample": sample, "timestep": torch.arange(20)})


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_errors_of_rows_are_errors_of_convolutions(granularity):
    model, calls = convolutions()
    teacher = copy.deepcopy(model)
    activations = ActivationQuantConfig(granularity=granularity)
    settings = QuantizationSettings(activations=activations, edge_layers=("plain",))
    quantize_(model, settings)
    calibrate_(model, calls)
    with torch.no_grad():
        expected = (model(**calls.arguments()) - teacher(**calls.arguments())).square().mean()
        reports = fit_in_closed_form_(model, teacher, calls, NEITHER)
        # Of the last layer the rows are all outputs, in the same order in both networks.
        assert reports[-1].before == pytest.approx(expected.item(), rel=1e-4)
        reports = fit_in_closed_form_(model, teacher, calls)
        found = (model(**calls.arguments()) - teacher(**calls.arguments())).square().mean()
    assert reports[-1].after == pytest.approx(found.item(), rel=1e-4)
    assert found < 0.85 * expected


def test_rows_are_limited_and_the_same_in_both_networks():
    model, calls = convolutions()
    teacher = copy.deepcopy(model)
    quantize_(model, QuantizationSettings(edge_layers=("plain",), edge_bits=16))
    calibrate_(model, calls)
    few = NEITHER.model_copy(update={"rows": 60})
    report = fit_in_closed_form_(model, teacher, calls, few, batch_size=6)[0]
    whole = fit_in_closed_form_(model, teacher, calls, NEITHER, batch_size=6)[0]
    # Rows that did not belong together would be as far apart as outputs are.
    assert report.before == pytest.approx(whole.before, rel=0.3)
    assert report.before != whole.before
