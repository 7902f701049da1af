"""Published pipelines of diffusers, from a local folder or the hub."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from vismodels.files import FileError, read_json

INDEX = "model_index.json"
REPOSITORY = r"[\w.-]+/[\w.-]+"  # of the hub


def load_pipeline(source: str, data_root: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Return a pipeline of diffusers, on the CPU.

    It has no progress bar and no safety checker, which would replace images by black ones. Weights
    come from safetensors files.

    Args:
        source: a folder, looked for below `data_root` first, or a repository of the hub.
        data_root: where relative folders lie.
        dtype: of all networks.

    Raises:
        FileError: if the folder or the repository cannot be had, or is no pipeline.
    """
    folder = _find_folder(source, data_root)
    checker: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False}
    with _without_bars():
        try:
            index = folder / INDEX if folder else hf_hub_download(source, INDEX)
            pipeline: Any = DiffusionPipeline.from_pretrained(
                source if folder is None else folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=folder is not None,
                **(checker if "safety_checker" in read_json(index) else {}),
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise FileError(
                f"{folder or source} cannot be loaded as a pipeline of diffusers: {error}; "
                f"{_how_to_get(source, data_root)}"
            ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _find_folder(source: str, data_root: Path) -> Path | None:
    """Return the local folder of a pipeline; None for a repository of the hub."""
    folder = data_root / source
    if folder.is_dir():
        if not (folder / INDEX).is_file():
            raise FileError(
                f"{folder} holds no {INDEX}, so it is no pipeline of diffusers; give a folder "
                "written by save_pretrained"
            )
        return folder
    if not re.fullmatch(REPOSITORY, source):
        raise FileError(f"{folder}: no such folder; {_how_to_get(source, data_root)}")
    return None


def _how_to_get(source: str, data_root: Path) -> str:
    """Return what to do about a pipeline that is not there."""
    if not re.fullmatch(REPOSITORY, source):
        return "give a folder written by save_pretrained, or a repository of the hub (owner/name)"
    return (
        f"without a network, put the pipeline into {data_root / source} (where there is one: "
        f"hf download {source} --local-dir {source})"
    )


@contextmanager
def _without_bars() -> Iterator[None]:
    """Switch the progress bars of loading off while the block runs."""
    libraries: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()
