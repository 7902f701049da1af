"""Each named package does its own job, and only one module does it where that matters.

A method that gives a package a new job adds a row.
"""

import ast
from pathlib import Path

import pytest

import vismodels

PACKAGE = Path(vismodels.__file__).parent
JOBS = [  # package, module of ours, what it takes from it
    ("cv2", "data/cv.py", "cv2"),
    ("timm", "training/schedule.py", "timm.scheduler.cosine_lr.CosineLRScheduler"),
    ("skimage", "metrics/image.py", "skimage.metrics.structural_similarity"),
    ("timm", "methods/nafdpm/optimization.py", "timm.utils.model_ema.ModelEmaV3"),
    (
        "diffusers",
        "diffusion/schedules.py",
        "diffusers.schedulers.scheduling_dpmsolver_multistep.DPMSolverMultistepScheduler",
    ),
    ("diffusers", "nn/nafnet.py", "diffusers.models.modeling_utils.ModelMixin"),
    ("rapidfuzz", "metrics/text.py", "rapidfuzz.distance.Levenshtein"),
    ("skimage", "methods/nafdpm/classical.py", "skimage.filters"),
    ("pooch", "cards/fetch.py", "pooch"),
    ("cv2", "synthetic/scenes.py", "vismodels.data.cv.opencv"),
    ("timm", "synthetic/scene_judge.py", "timm"),
    ("timm", "synthetic/scene_training.py", "timm.utils.model_ema.ModelEmaV3"),
    (
        "diffusers",
        "synthetic/scene_pipeline.py",
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion.StableDiffusionPipeline",
    ),
    (
        "transformers",
        "synthetic/scene_pipeline.py",
        "transformers.models.clip.modeling_clip.CLIPTextModel",
    ),
    ("sklearn", "methods/lineas/estimators.py", "sklearn.linear_model.LogisticRegression"),
    ("huggingface_hub", "nn/super_resolution.py", "huggingface_hub.PyTorchModelHubMixin"),
]
ONLY_THERE = {"cv2": "data/cv.py"}


def imported(path):
    """Return the dotted names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(("package", "module", "name"), JOBS)
def test_the_package_does_its_job(package, module, name):
    assert any(
        found == name or found.startswith(f"{name}.") for found in imported(PACKAGE / module)
    )


@pytest.mark.parametrize(("package", "module"), ONLY_THERE.items())
def test_the_package_is_imported_in_one_module(package, module):
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name.partition(".")[0] == package for name in imported(path))
    }
    assert users == {module}


def test_schedules_and_averages_are_not_written_by_hand():
    """timm's schedules and its ModelEmaV3 are the only ones."""
    for path in PACKAGE.rglob("*.py"):
        names = imported(path)
        assert not any("lr_scheduler" in name for name in names), path
        assert not any("AveragedModel" in name for name in names), path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                assert not node.name.endswith(("Ema", "EMA", "LRScheduler")), path
