"""Examine the machine and the installation: what `vismodels doctor` prints."""

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NEEDED = (
    "accelerate", "diffusers", "huggingface_hub", "monai", "nibabel", "pooch", "rapidfuzz",
    "safetensors", "scipy", "skimage", "sklearn", "timm", "transformers", "yaml",
)  # fmt: skip
WORKFLOW = ("jinja2", "matplotlib", "nilearn", "pandas", "psutil", "pygments", "snakemake")
FREE_SPACE_GB = 2.0  # results of the default run and room to work


@dataclass(frozen=True)
class Check:
    """One line of the examination."""

    name: str
    good: bool
    text: str


def examine() -> list[Check]:
    """Return the checks in reading order; nothing is changed and no check raises."""
    return [
        Check("machine", True, f"{platform.platform()}, {os.cpu_count()} cores"),
        Check("python", sys.version_info >= (3, 11), f"{platform.python_version()} (needs 3.11)"),
        _attempt("torch and torchvision", _torch),
        _attempt("opencv", _opencv),
        _attempt("library", lambda: _imports(NEEDED)),
        _attempt("workflows", lambda: _imports(WORKFLOW)),
        _attempt("disk", _free_space),
    ]


def _attempt(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except Exception as error:  # whatever is wrong with an installation is the finding
        return Check(name, False, f"{type(error).__name__}: {error}")


def _torch() -> str:
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    torchvision.ops.nms(boxes, torch.ones(1), 0.5)  # fails if the two releases do not match
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{torch.__version__} and {torchvision.__version__}, {gpu}"


def _opencv() -> str:
    from vismodels.data.cv import opencv

    installed = sorted(
        {
            name
            for distribution in importlib.metadata.distributions()
            if (name := (distribution.metadata["Name"] or "").lower()).startswith("opencv-")
        }
    )
    if len(installed) != 1:
        raise ImportError(
            f"exactly one OpenCV package must be installed, found {installed}: they share one "
            "folder; uninstall all of them and install opencv-python again"
        )
    return f"{installed[0]} {opencv().__version__}"


def _imports(modules: tuple[str, ...]) -> str:
    for module in modules:
        importlib.import_module(module)
    return ", ".join(modules)


def _free_space() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    text = f"{free:.1f} GB free in the working directory (needs {FREE_SPACE_GB:.0f})"
    if free < FREE_SPACE_GB:
        raise OSError(text)
    return text
