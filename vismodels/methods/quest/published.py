"""Published pipelines of diffusers from local folders, their prompts, and a reader of features."""

from pathlib import Path
from typing import Any

from vismodels.data.prompts import LabelledPrompt
from vismodels.methods.quest.images import Judge
from vismodels.methods.quest.workflow_config import PublishedDenoiser


def load_published(config: PublishedDenoiser, data_root: Path, device: Any) -> Any:
    """Return the pipeline."""
    raise NotImplementedError


def load_published_judge(config: PublishedDenoiser, device: Any) -> Judge:
    """Return a reader of features."""
    raise NotImplementedError


def read_published_prompts(
    config: PublishedDenoiser, data_root: Path, part: str, count: int, seed: int
) -> list[LabelledPrompt]:
    """Return the prompts of a part."""
    raise NotImplementedError
