import ast
import importlib
import os
import re
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import torch
from small_pipelines import build

from vismodels.data.brain_cases import MODALITIES
from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.multilevel_activation.config import MultiLevelConfig
from vismodels.methods.multilevel_activation.files import read_segmentation
from vismodels.methods.multilevel_activation.storage import save_segmenter
from vismodels.nn.residual_unet3d import ResidualUNet3D
from vismodels.results import SCORES, Score, write_scores


def blocks(project):
    return re.findall(r"```python\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)


def with_next(project, word):
    """Return the first block of code with a word, and the one after it."""
    found = blocks(project)
    place = next(number for number, block in enumerate(found) if word in block)
    return found[place : place + 2]


def imports(project):
    for block in blocks(project):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ImportFrom):
                yield from ((node.module, alias.name) for alias in node.names)


def test_every_name_that_the_readme_imports_exists(project):
    found = list(imports(project))
    assert len(found) >= 5
    for module, name in found:
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("word", ["reproduce", "test"])
def test_the_two_commands_of_the_readme_are_targets(project, word):
    assert f"make {word} " in (project / "README.md").read_text()
    assert re.search(rf"^{word}:", (project / "Makefile").read_text(), re.MULTILINE)


def test_continuous_integration_calls_the_command_of_the_readme(project):
    assert (project / ".ci/run").read_text().rstrip().endswith("make test")


IMAGE = """
import numpy, torch
generator = torch.Generator().manual_seed(0)
call = {"num_inference_steps": 1, "guidance_scale": 0.0, "generator": generator}
numpy.save("image.npy", pipeline("a blue cube with star", output_type="np", **call).images)
"""


def run(folder, code):
    """Run code in a new process, and return the image that its pipeline made."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code + IMAGE]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "image.npy")


def test_ten_lines_steer_and_fold_an_outside_pipeline_that_a_fresh_process_reloads(
    project, tmp_path
):
    steering, reloading = with_next(project, "methods.lineas")
    code = [line for line in (steering + reloading).splitlines() if line]
    assert len([line for line in code if not line.startswith(("from", "import"))]) <= 10
    sdxl = build("sdxl")
    sdxl.save_pretrained(tmp_path / "pipeline")
    folded = run(tmp_path, steering + 'maps.save_pretrained("maps")\n')
    reloaded = run(tmp_path, 'import sys\nsys.modules["vismodels"] = None\n' + reloading)
    assert np.array_equal(reloaded, folded)

    def image(*maps):
        made = generate(
            sdxl,
            ["a blue cube with star"],
            *maps,
            seeds=[0],
            batch_size=1,
            call={"num_inference_steps": 1, "guidance_scale": 0.0},
        )
        return made.permute(0, 2, 3, 1).numpy()

    hooked, plain = image(Maps.from_pretrained(tmp_path / "maps")), image()
    np.testing.assert_allclose(reloaded, hooked, atol=1e-5, rtol=0)
    assert np.abs(reloaded - plain).max() > 1e-3


def test_modality_files_become_labels_on_their_grid(project, tmp_path, monkeypatch):
    (code,) = [block for block in blocks(project) if "segment_files" in block]
    folder = tmp_path / "results/default/multilevel_activation/train/glioma/multilevel/seed0"
    network = ResidualUNet3D(4, 1, width=2, depth=3)
    network.initialize_(torch.Generator().manual_seed(0))
    save_segmenter(network, MultiLevelConfig(kind="multilevel"), folder)
    write_scores(folder / SCORES, [Score("multilevel_train", "multilevel", [], seed=0)])
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    voxels = np.zeros((30, 36, 33), np.float32)
    voxels[3:24, 3:30, 3:27] = np.random.default_rng(0).uniform(100, 200, (21, 27, 24))
    for modality in MODALITIES:
        nibabel.save(nibabel.Nifti1Image(voxels, lps), tmp_path / f"{modality}.nii.gz")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    labels = nibabel.load(tmp_path / "labels.nii.gz")
    assert labels.shape == voxels.shape
    assert np.array_equal(labels.affine, lps)
    assert read_segmentation(tmp_path / "labels.nii.gz").scheme.name == "brats2023"


def test_a_quantized_pipeline_is_read_back_by_a_fresh_process(project, tmp_path):
    quantizing, reloading = with_next(project, "methods.quest")
    build("sd").save_pretrained(tmp_path / "pipeline")
    quantized = run(tmp_path, quantizing)
    assert np.array_equal(run(tmp_path, reloading), quantized)
    sizes = [
        (tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
        for name in ("w4a4", "pipeline")
    ]
    assert sizes[0] < sizes[1] / 2
