"""Configurations of the stages of the super-resolution example."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from vismodels.arms import Seeds, WithoutNulls
from vismodels.config import Config
from vismodels.data.manifest import SetName
from vismodels.data.windows import Crop
from vismodels.metrics.floors import Floor

CLASSICAL = ("original", "bicubic", "lanczos")  # what the networks are shown beside


class ResidualSRConfig(Config):
    """A residual network on top of bicubic interpolation; see `nn.residual_sr.ResidualSR`."""

    architecture: Literal["residual_sr"]
    channels: PositiveInt
    blocks: PositiveInt


class ESPCNConfig(Config):
    """The efficient sub-pixel network of Shi et al. (2016, arXiv 1609.05158)."""

    architecture: Literal["espcn"]
    bicubic_skip: bool


class NetworkConfig(Config):
    """One row of the table: an architecture and the learning rate that suits it."""

    model: Annotated[ResidualSRConfig | ESPCNConfig, Field(discriminator="architecture")]
    learning_rate: PositiveFloat


Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Networks = Annotated[dict[Name, NetworkConfig], WithoutNulls()]


class TrainingConfig(Config):
    """How every network is trained: the same batches and the same number of iterations."""

    iterations: PositiveInt
    batch_size: PositiveInt
    lr_crop: PositiveInt  # edge of the LR patch, pixels
    warmup: NonNegativeInt  # iterations of linear warm-up; without it ReLUs can die at the start
    max_gradient_norm: PositiveFloat
    validate_every: PositiveInt

    @model_validator(mode="after")
    def _warmup_ends(self) -> "TrainingConfig":
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be below iterations ({self.iterations})")
        return self


class TrainConfig(Config):
    """The stage `train`: one network, one seed.

    What it learns from belongs to it, so that another choice makes the network stale.
    """

    scale: Literal[2, 3, 4]
    train_sets: tuple[SetName, ...]
    validation_sets: tuple[SetName, ...]
    network: NetworkConfig
    training: TrainingConfig


class ScoringConfig(Config):
    """How all networks are scored on all test images."""

    border: NonNegativeInt  # pixels cut from each side before PSNR and SSIM
    gate: float | None  # required gain over bicubic in dB PSNR-Y; null: no gate
    gated_set: SetName
    gated_network: str
    floors: tuple[Floor, ...]
    crops: tuple[Crop, ...]

    @model_validator(mode="after")
    def _crops_differ(self) -> "ScoringConfig":
        names = [crop.image for crop in self.crops]
        if len(set(names)) < len(names):
            raise ValueError(f"crops shows an image twice ({', '.join(names)}); one window each")
        return self


class ScoreConfig(Config):
    """The stage `score`: what is scored belongs to it, so that a shorter list makes it stale."""

    scale: Literal[2, 3, 4]
    seeds: tuple[NonNegativeInt, ...]
    sets: "SetsConfig"
    networks: Networks
    scoring: ScoringConfig


class FiguresConfig(Config):
    """The stage `figures`."""

    networks: Networks
    crops: tuple[Crop, ...]


class SetsConfig(Config):
    """Which sets of photographs serve which purpose: names of data cards, or folders in `sr/`."""

    train: Annotated[tuple[SetName, ...], Field(min_length=1)]
    validation: Annotated[tuple[SetName, ...], Field(min_length=1)]
    test: Annotated[tuple[SetName, ...], Field(min_length=1)]
    test_if_present: tuple[SetName, ...]  # scored when their folder exists under `data_root`


class SuperResolutionConfig(Config):
    """The section `super_resolution`; the scale is that of `photographs`."""

    seeds: Seeds
    sets: SetsConfig
    networks: Networks
    training: TrainingConfig
    scoring: ScoringConfig

    @model_validator(mode="after")
    def _parts_fit(self) -> "SuperResolutionConfig":
        taken = sorted(self.networks.keys() & set(CLASSICAL))
        if taken:
            raise ValueError(f"networks cannot be called {', '.join(taken)}: the table has such")
        if self.scoring.gated_network not in self.networks:
            raise ValueError(
                f"scoring.gated_network is {self.scoring.gated_network!r}, which is none of "
                f"networks ({', '.join(self.networks)})"
            )
        shown = {crop.set for crop in self.scoring.crops}
        gated = {self.scoring.gated_set} if self.scoring.gate is not None else set()
        absent = sorted((shown | gated) - set(self.sets.test))
        if absent:
            raise ValueError(
                f"scoring names {', '.join(absent)}, which is none of sets.test "
                f"({', '.join(self.sets.test)})"
            )
        return self
