import json
import shutil

import pytest
import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import constants
from small_pipelines import build, call_of
from torch.testing import assert_close
from transformers.utils import logging as transformers_logging

from vismodels.diffusion.published import load_pipeline
from vismodels.files import FileError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with a small Stable Diffusion in the folder sd."""
    folder = tmp_path_factory.mktemp("data") / "Daten ü"
    build("sd").save_pretrained(folder / "sd")
    return folder


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def copied(root, tmp_path):
    """The folder of a copy, to be changed."""
    return shutil.copytree(root / "sd", tmp_path / "sd")


def image_of(pipeline):
    generator = torch.Generator().manual_seed(3)
    call = {"output_type": "pt", "generator": generator, **call_of("sd")}
    return pipeline(["a red ball"], **call).images


def test_a_folder_gives_the_images_of_its_pipeline(root):
    expected = image_of(build("sd"))
    for source in ("sd", str(root / "sd")):
        assert_close(image_of(load_pipeline(source, root)), expected, atol=1e-6, rtol=0)


def test_networks_are_in_evaluation_mode_and_of_the_type_that_is_asked_for(root):
    pipeline = load_pipeline("sd", root, torch.bfloat16)
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {weight.dtype for part in networks for weight in part.parameters()} == {torch.bfloat16}
    assert not any(part.training for part in networks)


@pytest.mark.parametrize("library", [diffusers_logging, transformers_logging])
def test_loading_and_calling_show_no_bar_and_leave_the_libraries_bars_alone(root, library, capfd):
    assert library.is_progress_bar_enabled()
    image_of(load_pipeline("sd", root))
    assert "it/s" not in "".join(capfd.readouterr())
    assert library.is_progress_bar_enabled()


def test_a_bar_that_is_off_stays_off(root):
    diffusers_logging.disable_progress_bar()
    try:
        load_pipeline("sd", root)
        assert not diffusers_logging.is_progress_bar_enabled()
    finally:
        diffusers_logging.enable_progress_bar()


def test_a_safety_checker_is_neither_needed_nor_loaded(copied):
    path = copied / "model_index.json"
    index = json.loads(path.read_text())
    assert "safety_checker" in index
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    path.write_text(json.dumps(index | {"requires_safety_checker": True}))
    pipeline = load_pipeline("sd", copied.parent)
    assert pipeline.safety_checker is None
    assert_close(image_of(pipeline), image_of(build("sd")), atol=1e-6, rtol=0)


def test_a_missing_folder_is_named_with_what_to_do(tmp_path):
    with pytest.raises(FileError, match=rf"{tmp_path}/a/b/c: no such folder; .*owner/name"):
        load_pipeline("a/b/c", tmp_path)


def test_a_repository_out_of_reach_is_named_with_the_folder_to_put_it_in(tmp_path, no_network):
    with pytest.raises(FileError) as caught:
        load_pipeline("nobody/nothing-at-all", tmp_path)
    assert f"put the pipeline into {tmp_path}/nobody/nothing-at-all" in str(caught.value)
    assert "hf download nobody/nothing-at-all" in str(caught.value)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(FileError, match=r"owner/name holds no model_index\.json"):
        load_pipeline("owner/name", tmp_path)


def test_a_damaged_folder_is_refused(copied):
    next((copied / "unet").glob("*.safetensors")).write_bytes(b"damaged")
    with pytest.raises(FileError, match="sd cannot be loaded as a pipeline of diffusers"):
        load_pipeline("sd", copied.parent)
