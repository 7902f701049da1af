import copy

import pytest
import torch
from small_denoisers import build_dit, build_unet, calls_of, output_of

from vismodels.methods.quest.calibration import calibrate_
from vismodels.methods.quest.config import (
    ActivationQuantConfig,
    FinetuningConfig,
    QuantizationSettings,
)
from vismodels.methods.quest.finetuning import finetune_, teacher_outputs
from vismodels.methods.quest.quantize import activation_quantizers, quantize_, quantized_layers
from vismodels.methods.quest.tuned import SCALES
from vismodels.training import loop

STEPS = (900, 600, 300, 100) * 5
FAST = {"batch_size": 8, "layer_set": "wide"}


def tuning(variant, iterations=30, **options):
    return FinetuningConfig(variant=variant, iterations=iterations, **{**FAST, **options})


def calibrated(build=build_dit, **options):
    """Return a calibrated network, its float copy and calls."""
    model = build()
    teacher, calls = copy.deepcopy(model), calls_of(model, STEPS)
    quantize_(model, QuantizationSettings(split_shortcuts=False, **options))
    calibrate_(model, calls)
    return model, teacher, calls


def error_of(model, teacher, calls):
    return (output_of(model, calls) - output_of(teacher, calls)).square().mean().item()


def state_of(model):
    return {name: each.clone() for name, each in model.state_dict().items()}


@pytest.mark.parametrize(
    ("build", "variant"),
    [(build_unet, "selective"), (build_dit, "selective"), (build_dit, "full")],
)
def test_the_output_comes_nearer_to_the_teachers(build, variant):
    model, teacher, calls = calibrated(build)
    before = error_of(model, teacher, calls)
    (report,) = finetune_(model, teacher, calls, tuning(variant, weight_rate=3e-3))
    assert error_of(model, teacher, calls) < 0.8 * before
    assert (report.name, report.iterations) == (variant, 30)
    assert report.log.iterations == list(range(1, 31))


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_scales_alone_can_be_trained(granularity):
    model, teacher, calls = calibrated(activations=ActivationQuantConfig(granularity=granularity))
    before, start = error_of(model, teacher, calls), state_of(model)
    (report,) = finetune_(model, teacher, calls, tuning("scales_only"))
    assert error_of(model, teacher, calls) < before
    assert report.share == 0
    changed = {n for n, each in model.state_dict().items() if not torch.equal(each, start[n])}
    assert changed
    assert {name.rpartition(".")[2] for name in changed} == {"scale"}


def test_the_paper_trains_two_stages_one_after_the_other():
    model, teacher, calls = calibrated()
    start = state_of(model)
    config = tuning("paper", 5, layer_set="paper", weight_rate=1e-4)
    tla, cma = finetune_(model, teacher, calls, config)
    assert [(r.name, r.iterations) for r in (tla, cma)] == [("tla", 2), ("cma", 3)]
    assert tla.scales + cma.scales == len(activation_quantizers(model))
    assert min(tla.log.curves["local"]) > 0
    assert min(cma.log.curves["local"]) > 0
    for name, each in quantized_layers(model).items():
        tuned = ".ff." in name or "to_" in name or "norm" in name or "timestep" in name
        tuned = (tuned and "to_out" not in name) or name == "proj_out_1"
        assert torch.equal(each.weight, start[f"{name}.weight"]) != tuned, name


def test_the_sum_of_terms_is_the_papers():
    model, teacher, calls = calibrated()
    (report,) = finetune_(model, teacher, calls, tuning("tla", 1))
    curves = {name: curve[0] for name, curve in report.log.curves.items()}
    assert curves["loss"] == pytest.approx(curves["local"] + curves["global"])


@pytest.mark.parametrize("variant", ["selective", "tla"])
def test_the_first_global_term_is_the_error_of_the_batch(variant):
    model, teacher, calls = calibrated()
    start, batches = copy.deepcopy(model), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: batches.append(kwargs["hidden_states"]), with_kwargs=True
    )
    (report,) = finetune_(model, teacher, calls, tuning(variant, 1))
    rows = [
        next(i for i, each in enumerate(calls.inputs["hidden_states"]) if torch.equal(each, x))
        for x in batches[0]
    ]
    expected = error_of(start, teacher, calls.select(torch.tensor(rows)))
    weight = 2 if variant == "tla" else 1
    assert report.log.curves["global"][0] == pytest.approx(weight * expected, rel=1e-4)


def test_outputs_computed_beforehand_stand_for_the_teacher():
    found = []
    for beforehand in (False, True):
        model, teacher, calls = calibrated()
        source = teacher_outputs(teacher, calls, 8) if beforehand else teacher
        finetune_(model, source, calls, tuning("selective", 3))
        found.append(state_of(model))
    assert all(torch.equal(each, found[1][name]) for name, each in found[0].items())


def test_outputs_that_do_not_fit_are_refused():
    model, teacher, calls = calibrated()
    outputs = teacher_outputs(teacher, calls)
    with pytest.raises(ValueError, match="tla compares outputs of layers"):
        finetune_(model, outputs, calls, tuning("tla", 1))
    with pytest.raises(ValueError, match="each of 20 samples of the pool, got 19"):
        finetune_(model, outputs[1:], calls, tuning("selective", 1))


def test_everything_else_is_frozen_and_has_its_gradient_switch_back():
    model, teacher, calls = calibrated(build_unet)
    model.train()
    start = state_of(model)
    finetune_(model, teacher, calls, tuning("tla", 2, weight_rate=1e-3))
    for name, each in model.state_dict().items():
        if name.rpartition(".")[2] not in SCALES and "time_emb" not in name:
            assert torch.equal(each, start[name]), name
    assert all(each.requires_grad and each.grad is None for each in model.parameters())
    assert all(module.training for module in model.modules())
    assert all(layer._kept is None for layer in quantized_layers(model).values())


def test_ranges_of_weights_stay():
    model, teacher, calls = calibrated()
    start = state_of(model)
    finetune_(model, teacher, calls, tuning("full", 3))
    kept = [n for n in start if "weight_quantizers" in n or "zero_point" in n]
    assert kept
    assert all(torch.equal(model.state_dict()[name], start[name]) for name in kept)


@pytest.mark.parametrize("variant", ["selective", "paper"])
def test_the_teacher_is_not_changed(variant):
    model, teacher, calls = calibrated()
    before = state_of(teacher)
    finetune_(model, teacher, calls, tuning(variant, 4))
    assert all(torch.equal(each, before[name]) for name, each in teacher.state_dict().items())
    assert all(each.grad is None for each in teacher.parameters())


def test_without_local_losses_the_teacher_runs_once_over_the_pool():
    model, teacher, calls = calibrated()
    ran = []
    teacher.register_forward_pre_hook(
        lambda _, args, kwargs: ran.append(len(kwargs["timestep"])), with_kwargs=True
    )
    finetune_(model, teacher, calls, tuning("selective", 9))
    assert ran == [8, 8, 4]


# --- batches -------------------------------------------------------------------------------------


def timesteps_of(config):
    """Return the timesteps of the samples of each iteration."""
    model, teacher, calls = calibrated()
    seen = []
    handle = model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["timestep"].tolist()), with_kwargs=True
    )
    finetune_(model, teacher, calls, config)
    handle.remove()
    return seen


def test_batches_mix_timesteps():
    assert all(len(set(batch)) > 1 for batch in timesteps_of(tuning("selective", 6)))


def test_the_code_takes_one_timestep_after_another_then_all_in_turn():
    seen = timesteps_of(tuning("code", 16))
    assert all(len(set(batch)) == 1 for batch in seen)
    first, second = [900, 900, 600, 600, 300, 300, 100, 100], [900, 600, 300, 100] * 2
    assert [batch[0] for batch in seen] == first + second


def test_a_number_of_iterations_that_timesteps_do_not_divide_is_no_problem():
    seen = timesteps_of(tuning("selective", 7, timesteps="sequential"))
    assert [batch[0] for batch in seen] == [900, 900, 600, 600, 300, 300, 100]


def test_weights_of_samples_go_with_epsilon_and_change_the_loss():
    losses = []
    for weights in (torch.ones(20), torch.full((20,), 0.25)):
        model, teacher, calls = calibrated()
        config = tuning("selective", 1, prediction="epsilon")
        (report,) = finetune_(model, teacher, calls, config, sample_weights=weights)
        losses.append(report.log.curves["loss"][0])
    assert losses[1] == pytest.approx(losses[0] / 4)


@pytest.mark.parametrize(
    ("prediction", "weights", "message"),
    [
        ("epsilon", None, "weights of samples go with prediction: epsilon"),
        ("output", torch.ones(20), "weights of samples go with prediction: epsilon"),
        ("epsilon", torch.ones(3), "a weight for each of 20 samples"),
    ],
)
def test_weights_that_do_not_fit_are_refused(prediction, weights, message):
    model, teacher, calls = calibrated()
    config = tuning("selective", 1, prediction=prediction)
    with pytest.raises(ValueError, match=message):
        finetune_(model, teacher, calls, config, sample_weights=weights)


# --- seeds and interruptions ---------------------------------------------------------------------


def test_a_seed_decides_all():
    found = []
    for seed in (0, 0, 1):
        model, teacher, calls = calibrated()
        finetune_(model, teacher, calls, tuning("selective", 3), seed=seed)
        found.append(state_of(model))
    same, again, other = found
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert not all(torch.equal(same[name], other[name]) for name in same)


class Killed(Exception):
    pass


@pytest.mark.parametrize(("variant", "saves"), [("selective", 1), ("paper", 4), ("code", 3)])
def test_a_killed_run_goes_on_bit_by_bit(tmp_path, monkeypatch, variant, saves):
    def run(folder):
        model, teacher, calls = calibrated()
        config = tuning(variant, 12)
        options = {"checkpoint_dir": folder, "checkpoint_every": 2}
        return model, finetune_(model, teacher, calls, config, **options)

    whole, reports = run(tmp_path / "whole")
    saved, save = [], loop.save_resume

    def dies(path, state):
        save(path, state)
        saved.append(path)
        if len(saved) == saves:
            raise Killed

    monkeypatch.setattr(loop, "save_resume", dies)
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    resumed, again = run(tmp_path / "killed")
    expected = state_of(whole)
    assert all(torch.equal(each, expected[name]) for name, each in resumed.state_dict().items())
    assert [r.log.curves for r in again] == [r.log.curves for r in reports]
