"""What is read in images: whether the concept is there, what else is right, features to compare by.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 4.4: CLIPScore and the similarity of
DINOv2 features. Of generated scenes a judge knows every attribute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.data.prompts import ConceptPrompt, ConceptPrompts
from vismodels.metrics.steering import CLIP_SCORE, CONCEPT_PRESENCE
from vismodels.nn.modes import evaluation_mode
from vismodels.nn.timm_features import load_timm_features
from vismodels.results import Metric


@dataclass(frozen=True)
class Reading:
    """What was read in N images.

    Args:
        presence: (N,) of the concept, in the unit of the reader's metric.
        others: (N,) percent of the other attributes that are as the caption says; None if unknown.
        features: (N, F).
    """

    presence: Tensor
    others: Tensor | None
    features: Tensor


class Reader(Protocol):
    """Reads images of prompts about a concept."""

    @property
    def presence_metric(self) -> Metric:
        """The metric of `Reading.presence`."""

    def read(
        self, images: Tensor, prompts: Sequence[ConceptPrompt], about: ConceptPrompts
    ) -> Reading:
        """Return what is in (N, 3, H, W) images in [0, 1], of N prompts about a concept."""


class LabelReading(Protocol):
    """What a judge of labelled images says: attribute -> (N,) labels; (N, F) features."""

    @property
    def labels(self) -> Mapping[str, Tensor]:
        """Attribute -> (N,) int64."""

    @property
    def features(self) -> Tensor:
        """(N, F)."""


class Judge(Protocol):
    """A classifier of several attributes."""

    def read(self, images: Tensor) -> LabelReading:
        """Return labels and features of (N, 3, H, W) images in [0, 1]."""


class JudgeReader:
    """Reads with a judge of exact attributes.

    Args:
        judge: reads the attributes that the prompts' labels name.
    """

    presence_metric = CONCEPT_PRESENCE

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def read(
        self, images: Tensor, prompts: Sequence[ConceptPrompt], about: ConceptPrompts
    ) -> Reading:
        """Return presence and correctness in percent; see `Reader`.

        Raises:
            ValueError: if the prompts have no labels.
        """
        if about.attribute is None or about.present is None:
            raise ValueError(
                f"prompts about {about.concept!r} have no labels to judge by; read them with CLIP"
            )
        found = self.judge.read(images)
        presence = found.labels[about.attribute] == about.present
        rest = [name for name in prompts[0].labels if name != about.attribute]
        right = [
            found.labels[name] == torch.tensor([prompt.labels[name] for prompt in prompts])
            for name in rest
        ]
        others = 100 * torch.stack(right).float().mean(0)
        return Reading(100 * presence.float(), others, found.features)


class ClipReader:
    """Reads with CLIP, and compares by the features of another network.

    Args:
        clip: a `CLIPModel` of transformers.
        processor: its `CLIPProcessor`.
        features: (N, 3, H, W) images in [0, 1] -> (N, F).
        batch_size: images at a time.
    """

    presence_metric = CLIP_SCORE

    def __init__(
        self, clip: Any, processor: Any, features: nn.Module, *, batch_size: int = 16
    ) -> None:
        self.clip, self.processor, self.features = clip.eval(), processor, features.eval()
        self.batch_size = batch_size

    @torch.no_grad()
    def read(
        self, images: Tensor, prompts: Sequence[ConceptPrompt], about: ConceptPrompts
    ) -> Reading:
        """Return the cosine of image and words, and features; see `Reader`."""
        device = next(self.clip.parameters()).device
        tokens = self.processor(text=[about.words], return_tensors="pt", padding=True).to(device)
        text = _embedding(self.clip.get_text_features(**tokens))
        scores, features = [], []
        with evaluation_mode(self.features):
            for part in torch.split(images, self.batch_size):
                pictures = [_as_bytes(image) for image in part]
                inputs = self.processor(images=pictures, return_tensors="pt").to(device)
                seen = _embedding(self.clip.get_image_features(**inputs))
                scores.append(F.cosine_similarity(seen, text).float().cpu())
                features.append(self.features(part.to(device)).float().cpu())
        return Reading(torch.cat(scores), None, torch.cat(features))


def load_clip_reader(clip: str, features: str, device: torch.device | str = "cpu") -> ClipReader:
    """Return a reader with published weights, from the hub or its local copy.

    Args:
        clip: a CLIP model of transformers: repository or folder.
        features: a pretrained network of timm.
        device: where to compute.

    Raises:
        FileError: if the network of timm cannot be had.
    """
    from transformers import CLIPModel, CLIPProcessor

    model: Any = CLIPModel.from_pretrained(clip)
    return ClipReader(
        model.to(device),
        CLIPProcessor.from_pretrained(clip),
        load_timm_features(features, device),
    )


def _embedding(output: Any) -> Tensor:
    """Return the embedding: newer versions of transformers wrap it."""
    embedding: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return embedding


def _as_bytes(image: Tensor) -> Any:
    return (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
