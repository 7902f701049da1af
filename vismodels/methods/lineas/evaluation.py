"""Steered images against the unsteered ones and against what perfect removal would give.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 4.4: presence of the concept, similarity
to the unsteered image of the same noise. The counterfactual, the image of the prompt without the
concept from the same noise, is ours, and so is the area by which methods are compared at matched
presence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vismodels.data.prompts import ConceptPrompt, ConceptPrompts
from vismodels.methods.lineas.generation import generate
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.prompting import PromptMethod
from vismodels.methods.lineas.readers import Reader, Reading
from vismodels.metrics.steering import (
    COUNTERFACTUAL_AREA,
    COUNTERFACTUAL_COSINE,
    COUNTERFACTUAL_MSE,
    IMAGE_AREA,
    IMAGE_COSINE,
    OTHER_ATTRIBUTES,
    area,
    fidelity,
    remaining_share,
)
from vismodels.results import Metric, Value, mean_value
from vismodels.seeding import derive_seed


@dataclass(frozen=True)
class Point:
    """What a method does at one strength; all (N,), on the CPU.

    Args:
        strength: from 0, unsteered, to 1.
        presence: of the concept, in the reader's unit.
        others: percent of the other attributes that are right; None if unknown.
        counterfactual_cosine: of features, with the counterfactual's.
        counterfactual_mse: of RGB in [0, 1].
        image_cosine: of features, with the unsteered image's.
    """

    strength: float
    presence: Tensor
    others: Tensor | None
    counterfactual_cosine: Tensor
    counterfactual_mse: Tensor
    image_cosine: Tensor

    def values(self, presence: Metric) -> list[Value]:
        """Return the scores with one item for each prompt."""
        columns: dict[Metric, Tensor | None] = {
            presence: self.presence,
            OTHER_ATTRIBUTES: self.others,
            COUNTERFACTUAL_COSINE: self.counterfactual_cosine,
            COUNTERFACTUAL_MSE: self.counterfactual_mse,
            IMAGE_COSINE: self.image_cosine,
        }
        return [
            mean_value(metric, {f"{n:03d}": round(v, 5) for n, v in enumerate(column.tolist())})
            for metric, column in columns.items()
            if column is not None
        ]


class Evaluation:
    """Prompts, noise, and the unsteered images that all methods are compared with.

    Args:
        pipeline: of diffusers, unsteered.
        reader: of its images.
        about: the concept.
        prompts: that ask for it; see `inducing` for those that do not.
        seed: of the noise, one start for each prompt, the same for all methods.
        batch_size: images in one call.
        call: further arguments of the pipeline.

    Raises:
        ValueError: for fewer than two prompts, since chance is told by other prompts' images.
    """

    def __init__(
        self,
        pipeline: Any,
        reader: Reader,
        about: ConceptPrompts,
        prompts: Sequence[ConceptPrompt],
        *,
        seed: int,
        batch_size: int,
        call: Mapping[str, Any],
    ) -> None:
        if len(prompts) < 2:
            raise ValueError(f"expected two prompts or more, got {len(prompts)}")
        self.pipeline, self.reader, self.about = pipeline, reader, about
        self.prompts, self.batch_size, self.call = list(prompts), batch_size, dict(call)
        self.seeds = [
            derive_seed(seed, "lineas", "evaluation", about.concept, number)
            for number in range(len(prompts))
        ]
        self.unsteered = self.images()
        self.counterfactual = self._generate([prompt.without for prompt in prompts])
        self.seen = self._read(self.unsteered)
        self.ideal = self._read(self.counterfactual)
        self.chance = _cosine(self.ideal.features, _of_others(self.ideal.features)).mean().item()

    def images(self, method: Maps | PromptMethod | None = None, strength: float = 1.0) -> Tensor:
        """Return the images of the prompts under a method, (N, 3, H, W) in [0, 1]."""
        texts = [prompt.text for prompt in self.prompts]
        return self._generate(texts, method, strength)

    def point(self, method: Maps | PromptMethod, strength: float) -> Point:
        """Return what a method does at a strength."""
        return self.point_of(self.images(method, strength), strength)

    def point_of(self, images: Tensor, strength: float) -> Point:
        """Return what is to be said of images of the prompts that were made at a strength."""
        reading = self._read(images)
        return Point(
            strength,
            reading.presence,
            reading.others,
            _cosine(reading.features, self.ideal.features),
            (images - self.counterfactual).square().mean((1, 2, 3)),
            _cosine(reading.features, self.seen.features),
        )

    def start(self) -> Point:
        """Return the point of strength 0."""
        return self.point_of(self.unsteered, 0.0)

    def ideal_point(self) -> Point:
        """Return the point of the counterfactual: the prompt without the concept."""
        return self.point_of(self.counterfactual, 1.0)

    def curve(self, method: Maps | PromptMethod, strengths: Sequence[float]) -> list[Point]:
        """Return the points of a method at rising strengths above 0."""
        return [self.point(method, strength) for strength in sorted(strengths)]

    def areas(self, points: Sequence[Point]) -> list[Value]:
        """Return the areas under fidelity over what remains of the concept.

        Strength 0, where all of it remains, adds nothing to them. They are undefined where prompts
        that ask for the concept do not bring it.
        """
        unsteered, without = (each.presence.mean().item() for each in (self.seen, self.ideal))
        if unsteered <= without:
            return [Value(COUNTERFACTUAL_AREA, None), Value(IMAGE_AREA, None)]
        curves: dict[Metric, list[tuple[float, float]]] = {
            COUNTERFACTUAL_AREA: [],
            IMAGE_AREA: [],
        }
        for point in points:
            share = remaining_share(point.presence.mean().item(), unsteered, without)
            for metric, cosine in (
                (COUNTERFACTUAL_AREA, point.counterfactual_cosine),
                (IMAGE_AREA, point.image_cosine),
            ):
                kept = fidelity(cosine.mean().item(), self.chance)
                curves[metric].append((share, kept))
        return [Value(metric, area(curve)) for metric, curve in curves.items()]

    def _generate(
        self,
        texts: Sequence[str],
        method: Maps | PromptMethod | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        return generate(
            self.pipeline,
            texts,
            method,
            strength,
            seeds=self.seeds,
            batch_size=self.batch_size,
            call=self.call,
        )

    def _read(self, images: Tensor) -> Reading:
        return self.reader.read(images, self.prompts, self.about)


def inducing(prompts: Sequence[ConceptPrompt]) -> list[ConceptPrompt]:
    """Return prompts for bringing a concept in: without it, and with it as the counterfactual."""
    return [replace(prompt, text=prompt.without, without=prompt.text) for prompt in prompts]


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    return F.cosine_similarity(first, second, dim=1)


def _of_others(rows: Tensor) -> Tensor:
    """Return the rows moved on by half their number, so that each meets another prompt's."""
    return torch.roll(rows, len(rows) // 2, dims=0)
