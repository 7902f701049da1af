"""Published text-to-image pipelines: from a local folder or the hub, with another denoiser.

Distilled denoisers (DMD2, SDXL-Lightning) are published as one file of UNet weights beside the
pipeline they belong to, and need a scheduler of their own.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vismodels.diffusion.published import REPOSITORY, load_pipeline
from vismodels.files import FileError
from vismodels.methods.lineas.config import OutsidePipeline

DENOISERS = ("unet", "transformer")  # what pipelines call it
_SHOWN = 3  # names of tensors in an error


def load_outside_pipeline(
    config: OutsidePipeline, data_root: Path, device: torch.device | str = "cpu"
) -> Any:
    """Return a pipeline of diffusers with its own or another denoiser and scheduler.

    It has no progress bar and no safety checker, which would replace images by black ones. Weights
    come from safetensors files; only `denoiser` may be a pickle, of tensors alone.

    Args:
        config: which one.
        data_root: relative `source` and `denoiser` are looked for below it first.
        device: where to compute.

    Raises:
        FileError: if the folder, the repository or the file cannot be had, or weights do not fit.
    """
    pipeline = load_pipeline(config.source, data_root, getattr(torch, config.dtype))
    if config.denoiser is not None:
        _load_denoiser(pipeline, config.denoiser, data_root)
    pipeline.scheduler = _build_scheduler(config, pipeline.scheduler)
    return pipeline.to(device)


def _load_denoiser(pipeline: Any, weights: str, data_root: Path) -> None:
    """Replace the weights of the pipeline's denoiser, all of them."""
    name = next((name for name in DENOISERS if hasattr(pipeline, name)), None)
    if name is None:
        raise FileError(
            f"{weights}: {type(pipeline).__name__} has no {' or '.join(DENOISERS)} to load it into"
        )
    file = _find_weights(weights, data_root)
    network, tensors = getattr(pipeline, name), _read_tensors(file)
    own = network.state_dict()
    missing, unknown = own.keys() - tensors.keys(), tensors.keys() - own.keys()
    shaped = {key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape}
    problems = [
        f"{len(names)} {kind}: {', '.join(sorted(names)[:_SHOWN])}"
        for kind, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("of another shape", shaped),
        )
        if names
    ]
    if problems:
        raise FileError(
            f"{file} does not fit the {name} of {type(pipeline).__name__} ({'; '.join(problems)}); "
            "give weights of this architecture, with the names of diffusers"
        )
    network.load_state_dict(tensors)


def _find_weights(weights: str, data_root: Path) -> Path:
    """Return the local file, or the one fetched from the hub."""
    repository, _, name = weights.partition(":")
    local = data_root / (f"{repository}/{name}" if name else weights)
    if local.is_file():
        return local
    if not name or not re.fullmatch(REPOSITORY, repository):
        raise FileError(
            f"{local}: no such file; give a file of weights, or one of the hub as owner/name:file"
        )
    try:
        return Path(hf_hub_download(repository, name))
    except (OSError, ValueError) as error:
        raise FileError(
            f"{weights} cannot be fetched: {error}; without a network, put the file into "
            f"{local} (where there is one: hf download {repository} {name} --local-dir "
            f"{repository})"
        ) from error


def _read_tensors(file: Path) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise FileError(
            f"{file} cannot be read as weights: {error}; fetch it again, or give a file of tensors "
            "alone"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise FileError(f"{file} holds no mapping from names to tensors; give a state dict alone")
    return tensors


def _build_scheduler(config: OutsidePipeline, own: Any) -> Any:
    """Return the scheduler that the denoiser was distilled for."""
    if config.scheduler == "lcm":
        return LCMScheduler.from_config(own.config)
    if config.scheduler == "euler_trailing":
        return EulerDiscreteScheduler.from_config(own.config, timestep_spacing="trailing")
    return own
