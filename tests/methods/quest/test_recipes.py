import copy

import pytest
import torch
from small_denoisers import build_dit, build_unet, calls_of, output_of
from small_pipelines import stable_diffusion

from vismodels.methods.quest.calibration_set import collect
from vismodels.methods.quest.config import (
    PRESETS,
    ActivationQuantConfig,
    FinetuningConfig,
    QuantizationSettings,
    ReconstructionConfig,
    WeightQuantConfig,
    recipe,
)
from vismodels.methods.quest.recipes import quantize_pipeline_, remove_checkpoints
from vismodels.training import loop

STEPS = (900, 600, 300, 100) * 4
BUDGET = {
    "reconstruction": ReconstructionConfig(iterations=4, batch_size=8),
    "finetuning": FinetuningConfig(iterations=4, batch_size=8),
}


@pytest.mark.parametrize(
    ("name", "units", "fits", "stages"),
    [
        ("rtn", False, False, []),
        ("mse", False, False, []),
        ("reconstructed", True, False, []),
        ("closed_form", False, True, []),
        ("tla", True, False, ["tla"]),
        ("tla_cma", True, False, ["tla", "cma"]),
        ("selective", False, True, ["selective"]),
        ("full", False, True, ["full"]),
    ],
)
def test_recipes_do_what_their_names_say(name, units, fits, stages):
    model = build_dit()
    calls = calls_of(model, STEPS)
    expected = output_of(model, calls)
    report = quantize_pipeline_(model, recipe(name, **BUDGET), calls)
    assert (bool(report.units), bool(report.fits)) == (units, fits)
    assert [stage.name for stage in report.stages] == stages
    assert report.iterations == (4 if stages else 0)
    assert len(report.layers) == 21 + 2  # two attentions
    found = output_of(model, calls)
    assert not torch.equal(found, expected)
    assert (found - expected).square().mean() < 0.1 * expected.square().mean()


def test_extremes_and_searched_ranges_differ():
    scales = []
    for name in ("rtn", "mse"):
        model = build_unet()
        quantize_pipeline_(model, recipe(name), calls_of(model, STEPS))
        scales.append(model.mid_block.resnets[0].conv2.weight_quantizers[0].scale)
    assert (scales[1] <= scales[0] * (1 + 1e-6)).all()
    assert (scales[1] < 0.99 * scales[0]).any()


def test_rounding_learned_with_scales_of_channels_outlives_the_recipe():
    """After the whole recipe, the float network's outputs are nearer than with nearest rounding."""
    activations = ActivationQuantConfig(bits=8, ranges="minmax", granularity="channel")
    settings = QuantizationSettings(
        weights=WeightQuantConfig(bits=4), activations=activations, edge_bits=8
    )
    budget = ReconstructionConfig(iterations=60, batch_size=16, learning_rate=5e-2)

    def error(name):
        model = build_dit()
        calls = calls_of(model, STEPS)
        expected = output_of(model, calls)
        quantize_pipeline_(model, recipe(name, settings, reconstruction=budget), calls)
        return (output_of(model, calls) - expected).square().mean()

    assert error("reconstructed") < 0.5 * error("mse")


def test_a_pipeline_is_quantized_and_samples():
    pipeline = stable_diffusion()
    calls = [{"prompt": ["a red ball"], "num_inference_steps": 2, "output_type": "latent"}]
    calibration = collect(pipeline, calls)
    quantize_pipeline_(pipeline, recipe("selective", **BUDGET), calibration)
    assert pipeline.unet.quantization.splits  # shortcuts were found
    generator = torch.Generator().manual_seed(0)
    assert pipeline(**calls[0], generator=generator).images.isfinite().all()


def test_errors_of_epsilon_ask_the_scheduler():
    pipeline = stable_diffusion()
    calls = [{"prompt": ["a red ball"], "num_inference_steps": 2, "output_type": "latent"}]
    calibration = collect(pipeline, calls)
    budget = FinetuningConfig(iterations=2, batch_size=2, prediction="epsilon")
    asked = recipe("selective", finetuning=budget)
    with pytest.raises(ValueError, match="needs a pipeline, whose scheduler it asks"):
        quantize_pipeline_(copy.deepcopy(pipeline.unet), asked, calibration)
    assert quantize_pipeline_(pipeline, asked, calibration).iterations == 2


def test_another_pool_can_be_given():
    model = build_dit()
    calls = calls_of(model, STEPS)
    pool = calls_of(model, (500,) * 8)
    seen = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(set(kwargs["timestep"].tolist())), with_kwargs=True
    )
    quantize_pipeline_(model, recipe("selective", **BUDGET), calls, pool=pool)
    assert seen[-4:] == [{500}] * 4


class Killed(Exception):
    pass


def test_a_killed_call_goes_on_and_leaves_nothing_once_cleared(tmp_path, monkeypatch):
    def run(folder=None):
        model = build_dit()
        chosen = recipe("tla_cma", PRESETS["w4a8"], **BUDGET)
        quantize_pipeline_(model, chosen, calls_of(model, STEPS), checkpoint_dir=folder)
        return model.state_dict()

    expected, saved, save = run(), [], loop.save_resume

    def dies(path, state):
        save(path, state)
        saved.append(path)
        if len(saved) == 6:  # after five units and one stage
            raise Killed

    monkeypatch.setattr(loop, "save_resume", dies)
    with pytest.raises(Killed):
        run(tmp_path / "run")
    found = run(tmp_path / "run")
    assert all(torch.equal(each, expected[name]) for name, each in found.items())
    assert len(saved) == 7
    remove_checkpoints(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
