import os
import shutil

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from small_scenes import MODEL
from transformers.utils import logging

from vismodels.checkpoint import tensor_digest
from vismodels.diffusion.sampling import sample
from vismodels.files import FileError, atomic_folder, folder_digests, read_json, write_json
from vismodels.synthetic.scene_config import SceneModelConfig
from vismodels.synthetic.scene_latents import PatchVAE
from vismodels.synthetic.scene_pipeline import (
    build_pipeline,
    build_scheduler,
    draw_noise,
    generate,
    load_scene_model,
    save_scene_model,
)

PROMPTS = [
    "a small red circle on a gray background",
    "a large blue cross on a cyan background with an orange star",
    "a large pink square on a black background, at night",
]
NETWORKS = ("vae", "text_encoder", "unet")


def images(pipeline, **options):
    return generate(pipeline, PROMPTS, draw_noise(pipeline, 3, 0, "test"), **options)


@pytest.fixture
def folder(untrained_pipeline, tmp_path):
    with atomic_folder(tmp_path / "model") as temporary:
        save_scene_model(untrained_pipeline, temporary)
    return tmp_path / "model"


# --- parts -------------------------------------------------------------------------------------


def test_the_default_networks_are_as_large_as_measured():
    pipeline = build_pipeline(SceneModelConfig(), 0)
    assert isinstance(pipeline, StableDiffusionPipeline)
    assert sum(p.numel() for p in pipeline.unet.parameters()) == 1_358_412
    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == 32
    assert pipeline.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.heads == 4


def test_weights_depend_on_the_seed_and_leave_the_global_generator_alone(untrained_pipeline):
    state = torch.get_rng_state()
    same, other = build_pipeline(MODEL, 0), build_pipeline(MODEL, 1)
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("text_encoder", "unet"):
        expected = tensor_digest(getattr(untrained_pipeline, name))
        assert tensor_digest(getattr(same, name)) == expected
        assert tensor_digest(getattr(other, name)) != expected


def test_the_last_timestep_holds_no_signal():
    scheduler = build_scheduler()
    assert scheduler.alphas_cumprod[-1] == 0
    for steps, timesteps in ((1, [999]), (2, [999, 499]), (4, [999, 749, 499, 249])):
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == timesteps


# --- images ------------------------------------------------------------------------------------


def test_images_are_in_range_and_repeatable(untrained_pipeline):
    first = images(untrained_pipeline)
    assert first.shape == (3, 3, 32, 32)
    assert 0 <= first.min() < first.max() <= 1
    assert torch.equal(images(untrained_pipeline), first)


@pytest.mark.parametrize("num_steps", [1, 4])
def test_the_pipelines_call_is_the_sampler_of_the_library(untrained_pipeline, num_steps):
    pipe = untrained_pipeline
    tokens = pipe.tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipe.text_encoder(tokens)[0]
        latents = sample(
            lambda noisy, t: pipe.unet(noisy, t, states).sample,
            build_scheduler(),
            draw_noise(pipe, 3, 0, "test"),
            num_steps,
        )
        expected = (pipe.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    assert torch.equal(images(pipe, num_steps=num_steps), expected)


def test_one_step_is_minus_the_prediction(untrained_pipeline):
    """At zero terminal SNR v is minus the clean signal (Lin et al. 2024, Sec. 3.2)."""
    scheduler, v = build_scheduler(), torch.randn(2, 12, 8, 8)
    (clean,) = [sample(lambda noisy, t: v, scheduler, torch.randn_like(v), 1)]
    torch.testing.assert_close(clean, -v)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_images_do_not_depend_on_the_batch(untrained_pipeline, batch_size):
    whole = images(untrained_pipeline, num_steps=4)
    parts = images(untrained_pipeline, num_steps=4, batch_size=batch_size)
    torch.testing.assert_close(parts, whole, atol=2e-6, rtol=0)  # sums in another order


def test_noise_of_an_image_depends_on_its_number_only(untrained_pipeline):
    few, many = (draw_noise(untrained_pipeline, count, 0, "a") for count in (2, 5))
    assert torch.equal(many[:2], few)
    assert not torch.equal(draw_noise(untrained_pipeline, 2, 0, "b"), few)
    assert not torch.equal(draw_noise(untrained_pipeline, 2, 1, "a"), few)
    assert not torch.equal(few[0], few[1])


def test_negative_prompts_act_with_guidance(untrained_pipeline):
    guided = images(untrained_pipeline, guidance_scale=3.0)
    negative = images(untrained_pipeline, guidance_scale=3.0, negative_prompt="an orange star")
    assert not torch.equal(guided, negative)
    with pytest.raises(ValueError, match=r"guidance_scale above 1 only, got 0\.0"):
        images(untrained_pipeline, negative_prompt="an orange star")


@pytest.mark.parametrize("count", [0, 2])
def test_prompts_and_noises_must_be_as_many(untrained_pipeline, count):
    noise = draw_noise(untrained_pipeline, 3, 0)
    with pytest.raises(ValueError, match=f"got 3 for {count} prompts"):
        generate(untrained_pipeline, PROMPTS[:count], noise)


# --- folders -----------------------------------------------------------------------------------


def test_a_loaded_pipeline_computes_the_same_bits(untrained_pipeline, folder):
    loaded = load_scene_model(folder)
    assert torch.equal(images(loaded, num_steps=4), images(untrained_pipeline, num_steps=4))
    for name in NETWORKS:
        network = getattr(loaded, name)
        assert not network.training
        assert tensor_digest(network) == tensor_digest(getattr(untrained_pipeline, name))


def test_bytes_depend_neither_on_use_nor_on_loading(untrained_pipeline, folder, tmp_path):
    images(untrained_pipeline)
    save_scene_model(untrained_pipeline, tmp_path / "used")
    loaded = load_scene_model(folder)
    images(loaded)
    save_scene_model(loaded, tmp_path / "loaded")
    digests = folder_digests(folder)
    assert folder_digests(tmp_path / "used") == digests
    assert folder_digests(tmp_path / "loaded") == digests
    text = "".join(path.read_text() for path in folder.rglob("*.json"))
    assert str(tmp_path) not in text


def test_diffusers_alone_reads_the_folder(untrained_pipeline, folder):
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, vae=PatchVAE.from_pretrained(folder / "vae", low_cpu_mem_usage=False)
    )
    assert torch.equal(images(pipeline), images(untrained_pipeline))


def test_nothing_is_printed_and_progress_bars_are_as_before(
    untrained_pipeline, folder, tmp_path, capfd
):
    assert logging.is_progress_bar_enabled()
    images(load_scene_model(folder))
    save_scene_model(untrained_pipeline, tmp_path / "again")
    assert logging.is_progress_bar_enabled()
    assert capfd.readouterr() == ("", "")


def test_damaged_folders_are_noticed(folder):
    with (folder / "unet" / "diffusion_pytorch_model.safetensors").open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write(b"\0\0\0\1")
    with pytest.raises(FileError, match="changed: unet/diffusion_pytorch_model"):
        load_scene_model(folder)


@pytest.mark.parametrize(
    ("part", "message"),
    [("unet", r"unet: holds no \.safetensors"), ("text_encoder", "cannot be loaded as a CLIPText")],
)
def test_missing_weights_are_noticed_without_a_manifest_too(folder, part, message):
    (folder / "manifest.json").unlink()
    for file in (folder / part).glob("*.safetensors"):
        file.unlink()
    with pytest.raises(FileError, match=message):
        load_scene_model(folder)


def test_a_text_encoder_of_other_sizes_is_noticed(folder):
    (folder / "manifest.json").unlink()
    path = folder / "text_encoder" / "config.json"
    write_json(path, read_json(path) | {"num_hidden_layers": 2})
    with pytest.raises(FileError, match="text_encoder does not fit CLIPTextModel: missing_keys"):
        load_scene_model(folder)


def test_a_folder_of_something_else_is_an_error(folder, tmp_path):
    (folder / "manifest.json").unlink()
    index = read_json(folder / "model_index.json")
    for changes in ({"_class_name": "FluxPipeline"}, {"vae": ["diffusers", "AutoencoderKL"]}):
        write_json(folder / "model_index.json", index | changes)
        with pytest.raises(FileError, match="expected 'StableDiffusionPipeline' with 'PatchVAE'"):
            load_scene_model(folder)
    shutil.rmtree(folder)
    with pytest.raises(FileError, match="no such folder"):
        load_scene_model(folder)
