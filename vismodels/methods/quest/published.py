"""Published pipelines of diffusers, what they are asked for, and a reader of features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from vismodels.data.prompts import LabelledPrompt
from vismodels.diffusion.published import load_pipeline
from vismodels.files import FileError
from vismodels.methods.quest.workflow_config import PublishedDenoiser
from vismodels.nn.timm_features import load_timm_features
from vismodels.seeding import numpy_generator

PARTS = ("calibration", "pool", "validation", "test")


@dataclass(frozen=True)
class FeatureReading:
    """What is read in images of which nothing else is known."""

    features: Tensor  # (N, F)
    labels: Mapping[str, Tensor] = field(default_factory=dict)


class FeatureJudge:
    """Reads features alone.

    Args:
        features: (N, 3, H, W) images in [0, 1] -> (N, F).
        batch_size: images at a time.
    """

    def __init__(self, features: nn.Module, batch_size: int = 32) -> None:
        self.features, self.batch_size = features.eval(), batch_size

    @torch.no_grad()
    def read(self, images: Tensor) -> FeatureReading:
        """Return the features of (N, 3, H, W) images in [0, 1], on the CPU."""
        device = next(self.features.parameters()).device
        parts = torch.split(images, self.batch_size)
        return FeatureReading(torch.cat([self.features(part.to(device)).cpu() for part in parts]))


def load_published(
    config: PublishedDenoiser, data_root: Path, device: torch.device | str = "cpu"
) -> Any:
    """Return the pipeline, in single precision, with its own scheduler or DDIM.

    Args:
        config: which one.
        data_root: a relative `source` is looked for below it first.
        device: where to compute.

    Raises:
        FileError: if the folder or the repository cannot be had, or is no pipeline.
    """
    pipeline = load_pipeline(config.source, data_root)
    if config.scheduler == "ddim":
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    return pipeline.to(device)


def load_published_judge(
    config: PublishedDenoiser, device: torch.device | str = "cpu"
) -> FeatureJudge:
    """Return a reader of the features of a pretrained network.

    Raises:
        FileError: if the network cannot be had.
    """
    return FeatureJudge(load_timm_features(config.features, device))


def read_published_prompts(
    config: PublishedDenoiser, data_root: Path, part: str, count: int, seed: int
) -> list[LabelledPrompt]:
    """Return what a part of the images is asked for.

    Texts: each line of the file belongs to one part, whatever the seed; a quarter to each. Classes:
    all of them in turn, in an order of its own for each part, so that none is more frequent than
    another by more than one. Neither: empty prompts. Of one seed and part, the first ones of a
    longer list are the shorter list.

    Args:
        config: which pipeline.
        data_root: where a relative file lies.
        part: one of `PARTS`.
        count: how many.
        seed: of the order.

    Raises:
        FileError: if the file cannot be read as text, or its part has too few lines.
    """
    if config.classes is not None:
        order = numpy_generator(seed, "published_classes", part).permutation(config.classes)
        labels = [int(order[number % config.classes]) for number in range(count)]
        return [LabelledPrompt("", class_label=label) for label in labels]
    if config.prompts is None:
        return [LabelledPrompt("")] * count
    file = data_root / config.prompts
    lines = _read_lines(file)
    split = numpy_generator(0, "published_prompts").permutation(len(lines))
    own = split[PARTS.index(part) :: len(PARTS)]
    if count > len(own):
        raise FileError(
            f"{file}: {count} {part} prompts are asked for, the part has {len(own)}, a quarter of "
            f"{len(lines)} different lines; give a longer file, or lower counts.{part}"
        )
    order = numpy_generator(seed, "published_prompts", part).permutation(len(own))
    return [LabelledPrompt(lines[int(own[number])]) for number in order[:count]]


def _read_lines(file: Path) -> Sequence[str]:
    """Return the different lines of a text file, without those that are empty."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{file} cannot be read as prompts: {error}; put a text file there, in UTF-8, one "
            "prompt a line"
        ) from error
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
