import subprocess
import sys

import nafnet_transcript as transcript
import pytest
import torch

from vismodels.files import FileError, atomic_folder, read_json, write_json
from vismodels.methods.nafdpm.config import DiffusionConfig, NetworkConfig
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.methods.nafdpm.storage import SETTINGS, load_pipeline, save_pipeline

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
IN_A_NEW_PROCESS = """
import sys, torch
torch.set_num_threads(1)
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
pipeline = NAFDPMPipeline.from_pretrained(sys.argv[1], local_files_only=True)
image = torch.linspace(0, 1, 40 * 50).view(1, 1, 40, 50)
torch.save(pipeline(image, num_steps=2).images, sys.argv[2])
"""


def make(denoiser=True):
    sizes = NetworkConfig(width=4, blocks=(1,), denoiser=denoiser, levels="page")
    diffusion = DiffusionConfig(order=2, final_sigma="zero", time_scale=1000)
    model = PredictAndRefine(1, sizes, diffusion, train_size=40)
    transcript.awaken_(model.predictor)
    if denoiser:
        transcript.awaken_(model.denoiser, seed=1)
    return NAFDPMPipeline.from_model(model, "binarization", 40, threshold=0.4)


def test_a_pipeline_comes_back_in_a_new_process(tmp_path):
    pipeline = make()
    save_pipeline(pipeline, tmp_path / "pipeline")
    result = tmp_path / "result.pt"
    subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, tmp_path / "pipeline", result], check=True
    )
    image = torch.linspace(0, 1, 40 * 50).view(1, 1, 40, 50)
    expected = pipeline(image, num_steps=2).images
    found = torch.load(result, weights_only=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # other order of sums


@pytest.mark.parametrize("denoiser", [True, False])
def test_a_loaded_pipeline_is_the_saved_one(denoiser, tmp_path):
    pipeline = make(denoiser)
    with atomic_folder(tmp_path / "pipeline") as folder:
        save_pipeline(pipeline, folder)
    again = load_pipeline(tmp_path / "pipeline")
    assert again.config["page_levels"]
    assert all(again.config[name] == pipeline.config[name] for name in SETTINGS)
    same = {key: again.scheduler.config[key] for key in pipeline.scheduler.config if key[0] != "_"}
    assert same.items() <= pipeline.scheduler.config.items()
    assert again.predictor.config.train_size == 40
    assert (again.denoiser is None) == (not denoiser)
    image = torch.linspace(0, 1, 40 * 50).view(40, 50)
    assert torch.equal(again.restore(image, soft=True), pipeline.restore(image, soft=True))


def test_saving_twice_and_after_loading_writes_the_same_bytes(tmp_path):
    pipeline = make()
    save_pipeline(pipeline, tmp_path / "first")
    save_pipeline(pipeline, tmp_path / "second")
    save_pipeline(load_pipeline(tmp_path / "first"), tmp_path / "third")
    files = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.*")]
    assert len(files) == 6
    for file in files:
        expected = (tmp_path / "first" / file).read_bytes()
        assert (tmp_path / "second" / file).read_bytes() == expected, file
        assert (tmp_path / "third" / file).read_bytes() == expected, file
        assert str(tmp_path).encode() not in expected, file


def test_a_changed_file_is_noticed(tmp_path):
    with atomic_folder(tmp_path / "pipeline") as folder:
        save_pipeline(make(), folder)
    config = tmp_path / "pipeline" / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("dpmsolver++", "dpmsolver"))
    with pytest.raises(FileError, match=r"changed: scheduler/scheduler_config\.json"):
        load_pipeline(tmp_path / "pipeline")


def test_tensors_that_are_missing_are_noticed(tmp_path):
    save_pipeline(make(), tmp_path)
    (tmp_path / "denoiser" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileError, match=r"denoiser: holds no \.safetensors file"):
        load_pipeline(tmp_path)


def test_a_folder_of_something_else_is_an_error(tmp_path):
    save_pipeline(make(), tmp_path)
    index = read_json(tmp_path / "model_index.json")
    write_json(tmp_path / "model_index.json", index | {"_class_name": "OtherPipeline"})
    with pytest.raises(FileError, match="'OtherPipeline', expected 'NAFDPMPipeline'"):
        load_pipeline(tmp_path)
    with pytest.raises(FileError, match="no such folder"):
        load_pipeline(tmp_path / "nothing")
