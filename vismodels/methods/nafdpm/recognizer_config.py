"""Configuration of the recognizers of NAF-DPM: the critic in its OCR loss, and the judge.

Defaults are the sizes and the rate of the authors' code, which takes the network from Randika et
al. (ICDAR 2021, arXiv 2105.07983).
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from vismodels.config import Config
from vismodels.data.manifest import SetName
from vismodels.data.ranges import Range


class RecognizerNetworkConfig(Config):
    """Sizes of the network; see `nn.crnn.CRNN`."""

    image_channels: Literal[1, 3] = 3
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=7, max_length=7)] = (
        *(64, 128, 256, 256),
        *(512, 512, 512),
    )
    hidden: PositiveInt = 256
    recurrent_layers: PositiveInt = 2
    normalized: tuple[Annotated[int, Field(ge=0, le=6)], ...] = (4, 5)


class ReadingAugmentationConfig(Config):
    """How crops of clean pages are worn, so that restored ones can be read; see `word_batches`."""

    probability: Annotated[float, Field(ge=0, le=1)] = 0.0  # of blur, and of noise, for each crop
    blur: Range = (0.0, 0.0)  # standard deviation of the Gaussian, pixels
    noise: Range = (0.0, 0.0)  # standard deviation, of the range [0, 1]


class RecognizerTrainingConfig(Config):
    """How a recognizer is trained."""

    iterations: PositiveInt
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1.0e-4
    warmup: NonNegativeInt = 0
    # The first iterations learn evenly spaced characters: CTC alone reads nothing for long.
    aligned_iterations: NonNegativeInt = 0
    max_gradient_norm: PositiveFloat
    validate_every: PositiveInt
    augmentation: ReadingAugmentationConfig = ReadingAugmentationConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> "RecognizerTrainingConfig":
        for name in ("warmup", "aligned_iterations"):
            if getattr(self, name) >= self.iterations:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) must be below iterations ({self.iterations})"
                )
        return self


class RecognizerConfig(Config):
    """The stage `recognizer`: one recognizer, with the pages that it learns from."""

    pages: Annotated[tuple[SetName, ...], Field(min_length=1)]
    split: Literal["train", "judge"]
    validation_pages: PositiveInt  # the last pages of the split, which are not learned from
    network: RecognizerNetworkConfig = RecognizerNetworkConfig()
    training: RecognizerTrainingConfig
