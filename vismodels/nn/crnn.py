"""A convolutional recurrent network that reads one word (Shi et al. 2015, arXiv 1507.05717).

In the sizes of Randika et al., "Unknown-box approximation to improve optical character recognition
performance" (ICDAR 2021, arXiv 2105.07983), which NAF-DPM takes its critic from.
"""

from collections.abc import Sequence

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from vismodels.registry import register_architecture

CONVOLUTIONS = 7
# What follows each convolution and its ReLU: (rows, columns) that are pooled into one.
POOLS = ((2, 2), (2, 2), None, (2, 1), None, (2, 1), None)
COLUMNS_PER_FRAME = 4
SMALLEST = 32  # height and width that every layer accepts
GATES = 4  # of an LSTM: input, forget, cell, output

MODEL_CARD = """\
---
{{ card_data }}
---

A word recognizer of the Python package vismodels. Input: crops of words, black on white in [0, 1],
(B, C, 32, W). Output: log-probabilities (B, W // 4 - 1, classes); class 0 is the blank of CTC.
"""


@register_architecture(
    "crnn",
    task="text-recognition",
    input_shape=(3, 32, 128),
    minimum_size=SMALLEST,
    source="Shi et al. 2015, An end-to-end trainable neural network for image-based sequence "
    "recognition; sizes of Randika et al. 2021",
)
class CRNN(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="vismodels",
    license="apache-2.0",
    tags=["text-recognition"],
    model_card_template=MODEL_CARD,
):
    """Seven convolutions, a bidirectional LSTM over the columns, and a class for each of them.

    Six 3x3 convolutions with ReLUs shrink the columns by 4 and the rows by 16, a 2x2 convolution
    without padding makes one row of the two that are left of 32, and one column less. Of higher
    images the rows that are left are averaged. 8,755,681 parameters with the defaults, of which
    96 classes would be 8,755,168, the published number.

    Args:
        image_channels: 3 for RGB, 1 for grey.
        classes: the blank of CTC and the symbols.
        widths: output channels of the seven convolutions.
        hidden: width of the LSTM in each direction.
        recurrent_layers: of the LSTM.
        normalized: which convolutions, from 0, batch normalization follows; published: two. With
            all but the first a short training gets further.

    Raises:
        ValueError: for a size below 1, another number of widths, or an unknown convolution.
        TypeError: if `widths` or `normalized` is neither a list nor a tuple.
    """

    def __init__(
        self,
        image_channels: int = 3,
        classes: int = 97,
        widths: Sequence[int] = (64, 128, 256, 256, 512, 512, 512),
        hidden: int = 256,
        recurrent_layers: int = 2,
        normalized: Sequence[int] = (4, 5),
    ) -> None:
        super().__init__()
        for sizes in (widths, normalized):
            if not isinstance(sizes, (list, tuple)):
                raise TypeError(
                    f"expected a list or a tuple, which is stored with the weights, got {sizes!r}"
                )
        if len(widths) != CONVOLUTIONS:
            raise ValueError(f"expected {CONVOLUTIONS} widths, got {len(widths)}: {tuple(widths)}")
        if min(image_channels, classes, hidden, recurrent_layers, *widths) < 1:
            raise ValueError(
                f"sizes must be at least 1, got image_channels={image_channels}, "
                f"classes={classes}, widths={tuple(widths)}, hidden={hidden}, "
                f"recurrent_layers={recurrent_layers}"
            )
        unknown = sorted(set(normalized) - set(range(CONVOLUTIONS)))
        if unknown:
            raise ValueError(
                f"normalized counts convolutions from 0 to {CONVOLUTIONS - 1}, got {unknown}"
            )
        self.image_channels = image_channels
        layers: list[nn.Module] = []
        for index, (before, width) in enumerate(
            zip((image_channels, *widths[:-1]), widths, strict=True)
        ):
            last = index == CONVOLUTIONS - 1
            layers.append(nn.Conv2d(before, width, 2 if last else 3, padding=0 if last else 1))
            if index in normalized:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU())
            if (pool := POOLS[index]) is not None:
                layers.append(nn.MaxPool2d(pool))
        self.convolutions = nn.Sequential(*layers)
        self.recurrence = nn.LSTM(
            widths[-1], hidden, recurrent_layers, batch_first=True, bidirectional=True
        )
        self.classifier = nn.Linear(2 * hidden, classes)
        self.initialize_()

    @torch.no_grad()
    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew.

        He-normal convolutions; Xavier-uniform gates and classifier, orthogonal recurrent gates;
        biases are zero, those of the forget gates one. With PyTorch's own, smaller LSTM weights a
        training of 400 iterations read three times as many characters wrong.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        for layer in self.convolutions:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
        for name, parameter in self.recurrence.named_parameters():
            gates = parameter.chunk(GATES)
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
                if name.startswith("bias_ih"):
                    nn.init.ones_(gates[1])
                continue
            for gate in gates:
                if name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(gate, generator=generator)
                else:
                    nn.init.orthogonal_(gate, generator=generator)
        nn.init.xavier_uniform_(self.classifier.weight, generator=generator)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return the log-probability of each class in each frame.

        Args:
            image: (B, C, H, W) in [0, 1], black on white; H is 32 by custom and at least that, W at
                least 8.

        Returns:
            (B, T, classes) with T = W // 4 - 1; `frame_centers` says what the frames look at.

        Raises:
            ValueError: if `image` has another shape.
            TypeError: if `image` is not floating point.
        """
        if image.ndim != 4 or image.shape[1] != self.image_channels:
            raise ValueError(
                f"expected images (B, {self.image_channels}, H, W), got shape {tuple(image.shape)}"
            )
        if not image.is_floating_point():
            raise TypeError(f"expected values in [0, 1], got {image.dtype}; divide by 255 first")
        features = self.convolutions(image)
        frames, _ = self.recurrence(features.mean(dim=2).transpose(1, 2).contiguous())
        logits: Tensor = self.classifier(frames)
        return logits.log_softmax(dim=2)


def frame_centers(width: int) -> list[int]:
    """Return the column of the image that each frame of a `CRNN` is centred on.

    Args:
        width: of the image, pixels.
    """
    return [COLUMNS_PER_FRAME * (frame + 1) for frame in range(width // COLUMNS_PER_FRAME - 1)]
