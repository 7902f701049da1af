"""The judge of scenes: a timm network that reads every attribute, with features to compare by.

Its pooled `forward_features` are the space of distances between sets of images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from vismodels.metrics.scenes import attribute_values
from vismodels.results import Value
from vismodels.synthetic.scene_captions import VALUES, Attributes
from vismodels.synthetic.scenes import EDGE


@dataclass(frozen=True)
class Reading:
    """What the judge says of N images, on the CPU.

    Args:
        labels: attribute -> (N,) int64, positions in `scene_captions.VALUES`.
        shares: attribute -> (N, values), probabilities.
        features: (N, F) pooled.
    """

    labels: Mapping[str, Tensor]
    shares: Mapping[str, Tensor]
    features: Tensor


class SceneJudge(nn.Module, PyTorchModelHubMixin):
    """A backbone of timm, and a linear head for each attribute on its pooled features.

    Args:
        backbone: name in timm; it starts from random weights.
    """

    def __init__(self, backbone: str = "test_resnet") -> None:
        super().__init__()
        network: Any = timm.create_model(backbone, pretrained=False, num_classes=0)
        self.backbone: nn.Module = network
        width = int(network.num_features)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, len(known)) for name, known in VALUES.items()}
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return attribute -> logits, (B, values).

        Args:
            images: (B, 3, 32, 32) in [0, 1].

        Raises:
            ValueError: for images of another shape.
        """
        return self.classify(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features, (B, F), of images as for `forward`."""
        if images.ndim != 4 or images.shape[1:] != (3, EDGE, EDGE):
            raise ValueError(
                f"expected (B, 3, {EDGE}, {EDGE}) in [0, 1], got {tuple(images.shape)}; the judge "
                "reads scenes only"
            )
        pooled: Tensor = self.backbone(2 * images - 1)  # without classes: pooled forward_features
        return pooled

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Return attribute -> logits, (B, values), of pooled features."""
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, images: Tensor, batch_size: int = 200) -> Reading:
        """Return what is in the images; the judge is in evaluation mode meanwhile.

        Args:
            images: (N, 3, 32, 32) in [0, 1], on any device, at least one.
            batch_size: images at a time.
        """
        device, training = next(self.parameters()).device, self.training
        self.eval()
        parts = torch.split(images, batch_size)
        features = torch.cat([self.features(part.to(device)) for part in parts])
        logits = self.classify(features)
        self.train(training)
        return Reading(
            labels={name: values.argmax(1).cpu() for name, values in logits.items()},
            shares={name: values.softmax(1).cpu() for name, values in logits.items()},
            features=features.cpu(),
        )


def reading_values(reading: Reading, contents: Sequence[Attributes]) -> list[Value]:
    """Return how often each attribute was read as it should be; see `metrics.scenes`.

    Args:
        reading: of N images; they are named by their numbers.
        contents: of N captions.

    Raises:
        ValueError: if the numbers differ.
    """
    labels = [content.labels for content in contents]
    return attribute_values(
        {name: found.tolist() for name, found in reading.labels.items()},
        {name: [each[name] for each in labels] for name in VALUES},
        [f"{number:04d}" for number in range(len(contents))],
    )
