"""Trained pipelines as stages left them: by name and seed, and with other settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.methods.nafdpm.storage import SETTINGS, load_pipeline
from vismodels.results import SCORES, read_scores

PIPELINE = "pipeline"  # folder within that of a stage


def load_pipelines(
    folders: Sequence[Path], device: torch.device | str = "cpu"
) -> dict[str, dict[int, NAFDPMPipeline]]:
    """Return name -> seed -> pipeline of the folders that the training stages wrote.

    Raises:
        FileError: if a folder is damaged.
    """
    pipelines: dict[str, dict[int, NAFDPMPipeline]] = {}
    for folder in folders:
        (record,) = read_scores(folder / SCORES)
        loaded = load_pipeline(folder / PIPELINE, device)
        pipelines.setdefault(record.variant, {})[record.seed or 0] = loaded
    return pipelines


def with_settings(pipeline: NAFDPMPipeline, **settings: Any) -> NAFDPMPipeline:
    """Return a pipeline of the same networks with other settings; those that are None stay.

    Args:
        pipeline: left as it is.
        settings: keyword arguments of `NAFDPMPipeline`.
    """
    kept = {name: pipeline.config[name] for name in SETTINGS}
    changed = {name: value for name, value in settings.items() if value is not None}
    return NAFDPMPipeline(**pipeline.components, **(kept | changed))
