"""Pipelines as folders: written byte for byte alike, checked when they are read."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

from vismodels.checkpoint import load_weights, save_weights
from vismodels.files import MANIFEST, FileError, check_manifest, read_json, write_json
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.nn.nafnet import ConditionalNAFNet, NAFNet

INDEX = "model_index.json"  # of a pipeline of diffusers
SETTINGS = ("task", "tile_size", "time_scale", "condition_on_input", "threshold", "page_levels")
Network = TypeVar("Network", NAFNet, ConditionalNAFNet)


def save_pipeline(pipeline: NAFDPMPipeline, folder: Path | str) -> None:
    """Write a pipeline into `folder`; its bytes depend on classes, settings and tensors only.

    Give it a folder of `files.atomic_folder` to make it appear whole and with a manifest.

    Args:
        pipeline: its components go into folders of their own.
        folder: written into; made if need be.
    """
    folder = Path(folder)
    pipeline.save_pretrained(folder)
    for name in ("predictor", "denoiser"):
        if getattr(pipeline, name) is not None:
            save_weights(getattr(pipeline, name), folder / name)
    index = read_json(folder / INDEX)
    index.pop("_name_or_path", None)  # where it was loaded from once
    write_json(folder / INDEX, index)


def load_pipeline(folder: Path | str, device: torch.device | str = "cpu") -> NAFDPMPipeline:
    """Return the pipeline saved in `folder`, on `device`, after checking every file of it.

    Args:
        folder: a local folder written by `save_pipeline`; nothing is fetched.
        device: where the networks go.

    Raises:
        FileError: for a missing or damaged folder, or one of another pipeline.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; give that of a saved pipeline")
    if (folder / MANIFEST).is_file():
        check_manifest(folder)
    index: dict[str, Any] = read_json(folder / INDEX)
    if index.get("_class_name") != NAFDPMPipeline.__name__:
        raise FileError(
            f"{folder / INDEX}: pipeline of class {index.get('_class_name')!r}, expected "
            f"{NAFDPMPipeline.__name__!r}; give the folder of a pipeline written by save_pipeline"
        )
    has_denoiser = index.get("denoiser", [None])[0] is not None
    return NAFDPMPipeline(
        _load(NAFNet, folder / "predictor", device),
        _load(ConditionalNAFNet, folder / "denoiser", device) if has_denoiser else None,
        DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
        **{name: index[name] for name in SETTINGS if name in index},
    )


def _load(cls: type[Network], folder: Path, device: torch.device | str) -> Network:
    """Return a network that computes bit for bit what the saved one did.

    Tensors start anywhere within a safetensors file, which changes the order of a matrix product's
    sums; copies start where new tensors do.
    """
    network = load_weights(cls, folder, device)
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
    return network
