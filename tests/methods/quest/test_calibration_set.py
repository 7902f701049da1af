import pytest
import torch
from diffusers import DiTPipeline
from small_denoisers import build_dit, build_unet, calls_of
from small_pipelines import build, call_of, scheduler, vae

from vismodels.files import FileError
from vismodels.methods.quest.calibration_set import CalibrationSet, collect

PROMPTS = ["a red cube", "a blue ball at night"]


@pytest.fixture(scope="module")
def pipeline():
    return build("sd")


def call(steps, seed=0, **options):
    return {
        "prompt": PROMPTS,
        **call_of("sd", steps=steps),
        "output_type": "latent",
        "generator": torch.Generator().manual_seed(seed),
        **options,
    }


def test_all_steps_of_all_calls_are_captured(pipeline):
    found = collect(pipeline, [call(3, seed) for seed in (0, 1)])
    assert set(found.inputs) == {"sample", "timestep", "encoder_hidden_states"}
    assert found.inputs["sample"].shape == (2 * 3 * 2, 4, 4, 4)
    assert found.timesteps.tolist() == [999, 999, 666, 666, 332, 332] * 2


def test_the_captured_inputs_make_the_sample_of_the_pipeline(pipeline):
    found = collect(pipeline, [call(1)])
    expected = pipeline(**call(1)).images
    with torch.no_grad():
        output = pipeline.unet(**found.arguments()).sample
    pipeline.scheduler.set_timesteps(1)
    noise = found.inputs["sample"]
    latents = pipeline.scheduler.step(output, 999, noise).prev_sample
    assert torch.allclose(latents, expected, atol=1e-5)


def test_guidance_is_captured_with_both_halves(pipeline):
    found = collect(pipeline, [call(1, guidance_scale=3.0)])
    assert len(found) == 4
    samples, texts = found.inputs["sample"], found.inputs["encoder_hidden_states"]
    assert torch.equal(samples[:2], samples[2:])
    assert torch.equal(texts[0], texts[1])  # the empty prompt, twice
    assert not torch.equal(texts[2], texts[3])


def test_kept_steps_are_equally_spaced_from_the_first(pipeline):
    found = collect(pipeline, [call(4)], kept_steps=2)
    assert found.timesteps.unique().flip(0).tolist() == [999, 499]


@pytest.mark.parametrize("kept", [0, 3])
def test_more_steps_than_there_are_cannot_be_kept(pipeline, kept):
    with pytest.raises(ValueError, match=f"a call of 2 steps has no {kept} to keep"):
        collect(pipeline, [call(2)], kept_steps=kept)
    assert not pipeline.unet._forward_pre_hooks


def test_no_call_is_no_calibration(pipeline):
    with pytest.raises(ValueError, match="at least one call"):
        collect(pipeline, [])


def test_calls_of_a_dit_hold_its_classes():
    transformer = build_dit(in_channels=4)
    pipeline = DiTPipeline(transformer=transformer, vae=vae(), scheduler=scheduler())
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"class_labels": [3, 5], "guidance_scale": 1.0, "num_inference_steps": 2}
    found = collect(pipeline, [arguments], component="transformer")
    assert found.inputs["hidden_states"].shape == (4, 4, 8, 8)
    assert found.inputs["class_labels"].tolist() == [3, 5, 3, 5]
    assert found.timesteps.tolist() == [999, 999, 499, 499]


def test_conditions_in_a_dictionary_come_back_in_one():
    pipeline = build("sdxl")
    found = collect(pipeline, [call(1)])
    assert {"added_cond_kwargs.text_embeds", "added_cond_kwargs.time_ids"} < set(found.inputs)
    assert set(found.arguments()["added_cond_kwargs"]) == {"text_embeds", "time_ids"}
    with torch.no_grad():
        assert pipeline.unet(**found.arguments()).sample.isfinite().all()


def test_an_input_that_is_not_of_a_sample_is_refused():
    pipeline = build("flux")
    arguments = {**call_of("flux"), "prompt": PROMPTS, "output_type": "latent"}
    with pytest.raises(ValueError, match="for 2 samples; a calibration set holds"):
        collect(pipeline, [arguments], component="transformer")


def test_samples_are_selected_by_place_or_mask():
    calls = calls_of(build_unet(), (4, 3, 2, 1))
    assert calls.select(torch.tensor([3, 0])).timesteps.tolist() == [1, 4]
    assert calls.select(calls.timesteps > 2).timesteps.tolist() == [4, 3]
    assert [len(batch) for batch in calls.batches(3)] == [3, 1]


def test_a_file_holds_the_bits(tmp_path):
    calls = calls_of(build_unet())
    calls.save(tmp_path / "calls.safetensors")
    loaded = CalibrationSet.load(tmp_path / "calls.safetensors")
    assert {name: each.tolist() for name, each in loaded.inputs.items()} == {
        name: each.tolist() for name, each in calls.inputs.items()
    }


def test_a_missing_or_damaged_file_says_what_to_do(tmp_path):
    with pytest.raises(FileError, match="collect and save it again"):
        CalibrationSet.load(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    with pytest.raises(FileError, match="collect and save it again"):
        CalibrationSet.load(tmp_path / "broken.safetensors")


@pytest.mark.parametrize(
    "inputs",
    [
        {"sample": torch.zeros(2, 1)},
        {"sample": torch.zeros(2, 1), "timestep": torch.zeros(3)},
        {"sample": torch.zeros(0, 1), "timestep": torch.zeros(0)},
    ],
)
def test_inputs_without_timesteps_or_of_several_sizes_are_refused(inputs):
    with pytest.raises(ValueError, match="expected a timestep and as many samples of each"):
        CalibrationSet(inputs)
