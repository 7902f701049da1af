import shutil

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, LCMScheduler
from huggingface_hub import constants
from safetensors.torch import save_file
from small_pipelines import PIPELINES, TARGET, build, call_of

from vismodels.files import FileError
from vismodels.methods.lineas.config import OutsidePipeline
from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.outside import load_outside_pipeline

OTHER = 1  # seed of other weights


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with a folder of each small pipeline."""
    folder = tmp_path_factory.mktemp("data") / "Daten ü"
    for name in PIPELINES:
        build(name).save_pretrained(folder / name)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def hub(monkeypatch, no_network, root, tmp_path):
    """Repositories that have been fetched before: a pipeline owner/sdxl, weights in owner/other."""
    for repository in ("sdxl", "other"):
        kept = tmp_path / "hub" / f"models--owner--{repository}"
        write_weights(kept / "snapshots" / "0a" / "unet.bin", tensors_of())
        (kept / "refs").mkdir()
        (kept / "refs" / "main").write_text("0a")
    shutil.copytree(
        root / "sdxl", tmp_path / "hub/models--owner--sdxl/snapshots/0a", dirs_exist_ok=True
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def load(root, source="sdxl", dtype="float32", **changes):
    config = OutsidePipeline(kind="diffusers", source=str(source), dtype=dtype, **changes)
    return load_outside_pipeline(config, root)


def write_weights(file, tensors):
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        save_file(tensors, file)
    else:
        torch.save(tensors, file)


def tensors_of(seed=OTHER, name="sdxl"):
    return dict(build(name, seed=seed).unet.state_dict())


def with_other_unet():
    pipeline = build("sdxl")
    pipeline.unet.load_state_dict(tensors_of())
    return pipeline


def images(pipeline, name):
    return generate(pipeline, TARGET[:2], seeds=[3, 4], batch_size=2, call=call_of(name))


# --- folders -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PIPELINES)
def test_a_folder_below_the_data_root_gives_the_images_of_its_pipeline(root, name):
    assert torch.equal(images(load(root, name), name), images(build(name), name))


def test_a_folder_may_be_absolute(root, tmp_path):
    assert type(load(tmp_path, root / "sd")) is type(build("sd"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_networks_have_the_type_that_is_asked_for(root, dtype):
    pipeline = load(root, dtype=dtype)
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    types = {weight.dtype for part in networks for weight in part.parameters()}
    assert types == {getattr(torch, dtype)}
    assert not any(part.training for part in networks)


def test_a_missing_folder_is_named_with_what_to_do(tmp_path):
    with pytest.raises(FileError, match=rf"{tmp_path}/models/x/y: no such folder; .*owner/name"):
        load(tmp_path, "models/x/y")
    with pytest.raises(FileError, match=r"/elsewhere: no such folder; give"):
        load(tmp_path, tmp_path / "elsewhere")


def test_a_repository_out_of_reach_is_named_with_the_folder_to_put_it_in(tmp_path, no_network):
    with pytest.raises(FileError) as caught:
        load(tmp_path, "nobody/nothing-at-all")
    message = str(caught.value)
    assert f"put the pipeline into {tmp_path}/nobody/nothing-at-all" in message
    assert "hf download nobody/nothing-at-all" in message


# diffusers 0.42 gives the hub an argument that it no longer takes
@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")
def test_pipelines_and_weights_of_the_hub_are_had_by_their_names(hub, tmp_path):
    pipeline = load(tmp_path, "owner/sdxl")
    assert torch.equal(images(pipeline, "sdxl"), images(build("sdxl"), "sdxl"))
    pipeline = load(tmp_path, "owner/sdxl", denoiser="owner/other:unet.bin")
    assert torch.equal(images(pipeline, "sdxl"), images(with_other_unet(), "sdxl"))


# --- other denoisers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unet.safetensors", "unet.bin", "unet.pt"])
def test_other_weights_replace_all_of_the_denoiser_and_nothing_else(root, tmp_path, name):
    write_weights(tmp_path / name, tensors_of())
    pipeline = load(root, denoiser=str(tmp_path / name))
    for key, tensor in tensors_of().items():
        assert torch.equal(pipeline.unet.state_dict()[key], tensor), key
    for key, tensor in build("sdxl").vae.state_dict().items():
        assert torch.equal(pipeline.vae.state_dict()[key], tensor), key


def test_other_weights_take_the_type_that_is_asked_for(root, tmp_path):
    half = {key: tensor.half() for key, tensor in tensors_of().items()}
    write_weights(tmp_path / "fp16.bin", half)
    pipeline = load(root, dtype="bfloat16", denoiser=str(tmp_path / "fp16.bin"))
    key = "conv_in.weight"
    assert torch.equal(pipeline.unet.state_dict()[key], half[key].to(torch.bfloat16))


def test_a_transformer_is_a_denoiser_too(root, tmp_path):
    expected = build("flux", seed=OTHER).transformer.state_dict()
    write_weights(tmp_path / "flux.safetensors", dict(expected))
    pipeline = load(root, "flux", denoiser=str(tmp_path / "flux.safetensors"))
    assert all(
        torch.equal(tensor, expected[key])
        for key, tensor in pipeline.transformer.state_dict().items()
    )


@pytest.mark.parametrize("denoiser", ["owner/name:weights.bin", "owner/name/weights.bin"])
def test_a_file_of_the_hub_may_lie_below_the_data_root(root, tmp_path, no_network, denoiser):
    write_weights(tmp_path / "owner/name/weights.bin", tensors_of())
    pipeline = load(tmp_path, root / "sdxl", denoiser=denoiser)
    assert torch.equal(pipeline.unet.state_dict()["conv_in.bias"], tensors_of()["conv_in.bias"])


def test_a_file_out_of_reach_is_named_with_the_place_to_put_it(root, tmp_path, no_network):
    with pytest.raises(FileError) as caught:
        load(tmp_path, root / "sdxl", denoiser="nobody/nothing-at-all:unet.bin")
    message = str(caught.value)
    assert f"put the file into {tmp_path}/nobody/nothing-at-all/unet.bin" in message
    assert "hf download nobody/nothing-at-all unet.bin" in message
    with pytest.raises(FileError, match=r"unet\.bin: no such file; .*owner/name:file"):
        load(tmp_path, root / "sdxl", denoiser="unet.bin")


def without_bias(tensors):
    del tensors["conv_in.bias"]


def with_another(tensors):
    tensors["conv_on.bias"] = torch.zeros(4)


def of_another_shape(tensors):
    tensors["conv_in.bias"] = torch.zeros(5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_bias, r"\(1 missing: conv_in\.bias\)"),
        (with_another, r"\(1 unknown: conv_on\.bias\)"),
        (of_another_shape, r"\(1 of another shape: conv_in\.bias\)"),
        (dict.clear, r"\(\d+ missing: (\S+, ){2}\S+\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_and_named(root, tmp_path, change, message):
    tensors = tensors_of()
    change(tensors)
    write_weights(tmp_path / "x.safetensors", tensors)
    with pytest.raises(FileError, match=rf"does not fit the unet of StableDiff.* {message}; give"):
        load(root, denoiser=str(tmp_path / "x.safetensors"))


def test_weights_of_another_architecture_are_refused(root, tmp_path):
    write_weights(tmp_path / "sd.bin", tensors_of(name="sd"))
    with pytest.raises(FileError, match=r"missing: add_embedding.*; \d+ of another shape"):
        load(root, denoiser=str(tmp_path / "sd.bin"))


class Harmful:
    def __reduce__(self):
        return (print, ("code of a pickle has run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Harmful(), "cannot be read as weights"),
        ([torch.zeros(1)], "holds no mapping from names to tensors"),
        ({"state_dict": {"a": torch.zeros(1)}}, "holds no mapping from names to tensors"),
    ],
)
def test_a_pickle_of_more_than_tensors_is_refused_unrun(root, tmp_path, capsys, content, message):
    torch.save(content, tmp_path / "x.bin")
    with pytest.raises(FileError, match=message):
        load(root, denoiser=str(tmp_path / "x.bin"))
    assert "has run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["x.bin", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_damaged_file_is_refused(root, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match="cannot be read as weights"):
        load(root, denoiser=str(tmp_path / name))


# --- schedulers --------------------------------------------------------------------------------


def test_a_pipeline_keeps_its_scheduler_unless_told_otherwise(root):
    assert isinstance(load(root).scheduler, DDIMScheduler)


@pytest.mark.parametrize(
    ("name", "expected", "steps", "call", "timesteps"),
    [
        ("lcm", LCMScheduler, 1, {"timesteps": [399]}, [399]),  # DMD2's
        ("euler_trailing", EulerDiscreteScheduler, 4, {}, [999, 749, 499, 249]),  # Lightning's
    ],
)
def test_distilled_denoisers_have_their_schedulers(
    root, tmp_path, name, expected, steps, call, timesteps
):
    shutil.copytree(root / "sdxl", tmp_path / "sdxl")
    own = DDIMScheduler(timestep_spacing="leading", steps_offset=1, beta_end=0.012)
    own.save_pretrained(tmp_path / "sdxl" / "scheduler")
    pipeline = load(tmp_path, scheduler=name)
    assert isinstance(pipeline.scheduler, expected)
    assert pipeline.scheduler.config.beta_end == 0.012
    made = generate(
        pipeline, TARGET[:2], seeds=[0, 1], batch_size=2, call=call_of("sdxl", steps, **call)
    )
    assert pipeline.scheduler.timesteps.tolist() == timesteps
    assert 0 <= made.min() < made.max() <= 1
