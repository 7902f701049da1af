"""Images of a pipeline, each with noise of its own, and how close two sets of them are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vismodels.data.prompts import LabelledPrompt
from vismodels.methods.quest.workflow_config import SamplingConfig
from vismodels.metrics.generation import FRECHET_DISTANCE, IMAGE_MSE, frechet_distance
from vismodels.metrics.quantized import AGREEMENT
from vismodels.metrics.scenes import LOWEST_ACCURACY, MEAN_ACCURACY
from vismodels.results import Value, mean_value
from vismodels.seeding import derive_seed


class Reading(Protocol):
    """What a judge says of N images."""

    @property
    def labels(self) -> Mapping[str, Tensor]:
        """Attribute -> (N,) int64; empty if it only has features."""

    @property
    def features(self) -> Tensor:
        """(N, F) pooled."""


class Judge(Protocol):
    """Reads images."""

    def read(self, images: Tensor) -> Reading:
        """Return what is in (N, 3, H, W) images in [0, 1]."""


@dataclass(frozen=True)
class Images:
    """Images and what was read in them."""

    pixels: Tensor  # (N, 3, H, W) in [0, 1]
    reading: Reading


def calls(
    prompts: Sequence[LabelledPrompt],
    sampling: SamplingConfig,
    *names: str | int,
    seed: int,
    steps: int | None = None,
) -> list[dict[str, Any]]:
    """Return the arguments of the pipeline's calls, a generator for each image.

    An image depends on its prompt, its number and the names, not on the batch it is made in.

    Args:
        prompts: one for each image: classes, or texts, which are left out where all are empty.
        sampling: steps, guidance, images in one call.
        names: what the images are for.
        seed: of the noise.
        steps: calls of the denoiser; None for those of `sampling`.
    """
    seeds = [derive_seed(seed, "quest", *names, number) for number in range(len(prompts))]
    made = []
    for start in range(0, len(prompts), sampling.batch_size):
        part = slice(start, start + sampling.batch_size)
        call: dict[str, Any] = {
            "num_inference_steps": steps or sampling.num_inference_steps,
            "generator": [torch.Generator().manual_seed(each) for each in seeds[part]],
        }
        classes = [prompt.class_label for prompt in prompts[part] if prompt.class_label is not None]
        if classes:
            call |= {"class_labels": classes, "guidance_scale": sampling.guidance_scale}
        elif any(prompt.text for prompt in prompts):
            call["prompt"] = [prompt.text for prompt in prompts[part]]
            call["guidance_scale"] = sampling.guidance_scale
        else:
            call["batch_size"] = len(seeds[part])
        made.append(call)
    return made


def generate(pipeline: Any, judge: Judge, arguments: Sequence[Mapping[str, Any]]) -> Images:
    """Return the images of these calls of a pipeline, and what the judge reads in them."""
    # Not "pt": the pipelines of latent diffusion give arrays whatever is asked for.
    parts = [pipeline(**call, output_type="np", return_dict=False)[0] for call in arguments]
    pixels = torch.from_numpy(np.concatenate(parts)).float().permute(0, 3, 1, 2).contiguous()
    return Images(pixels, judge.read(pixels))


def closeness(images: Images, reference: Images, prompts: Sequence[LabelledPrompt]) -> list[Value]:
    """Return how close images are to those of the float model, and how well they show the prompts.

    Args:
        images: of the prompts.
        reference: the float model's, of the same prompts and noise.
        prompts: with labels where these are known; the same ones of every prompt.
    """
    names = [f"{number:04d}" for number in range(len(prompts))]
    difference = 2 * (images.pixels - reference.pixels)  # values in [-1, 1]
    mse = difference.square().mean((1, 2, 3)).tolist()
    distance = frechet_distance(images.reading.features.numpy(), reference.reading.features.numpy())
    values = [
        Value(FRECHET_DISTANCE, distance),
        mean_value(IMAGE_MSE, {n: round(v, 6) for n, v in zip(names, mse, strict=True)}),
    ]
    read, known = images.reading.labels, reference.reading.labels
    if known:
        same = torch.stack([read[name] == known[name] for name in known]).all(0)
        values.append(Value(AGREEMENT, 100 * same.float().mean().item()))
    if known and prompts[0].labels:
        told = {name: torch.tensor([p.labels[name] for p in prompts]) for name in prompts[0].labels}
        right = {name: (read[name] == told[name]).float().mean().item() for name in told}
        values += [
            Value(MEAN_ACCURACY, 100 * sum(right.values()) / len(right)),
            Value(LOWEST_ACCURACY, 100 * min(right.values())),
        ]
    return values
