"""Configurations of the multi-level activation: heads, training, inference, scoring.

Hu et al. (2018), arXiv 1810.09488. Its training settings are not published in any text we could
read; defaults are those of the network's own paper (Isensee et al. 2017), marked as such.
"""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from vismodels.arms import Seeds, WithoutNulls, check_runs
from vismodels.config import Config, suggestion
from vismodels.data.brain_cases import SEMI_SYNTHETIC_NOTE
from vismodels.data.label_schemes import SCHEME_NAMES
from vismodels.data.manifest import SetName, is_generated
from vismodels.methods.multilevel_activation.names import Decode, Loss, SigmoidLoss, SoftmaxLoss
from vismodels.metrics.bounds import Bound
from vismodels.metrics.segmentation import EmptyRule

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Chance = Annotated[float, Field(ge=0, le=1)]
Size = tuple[PositiveInt, PositiveInt, PositiveInt]


# --- data ----------------------------------------------------------------------------------------


class CasesConfig(Config):
    """Which cases are learned from and scored."""

    card: SetName

    @property
    def note(self) -> str:
        """What every record of scores on these cases says to its reader."""
        return SEMI_SYNTHETIC_NOTE if is_generated(self.card) else ""


# --- networks and heads --------------------------------------------------------------------------


class TrunkConfig(Config):
    """The network below the head: Isensee's residual U-Net, or MONAI's SegResNet."""

    kind: Literal["residual_unet3d", "segresnet"] = "residual_unet3d"
    width: PositiveInt = 16  # channels of the finest level
    depth: Annotated[int, Field(ge=2)] = 5  # levels; of the U-Net alone
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3


class MultiLevelConfig(Config):
    """One logit; see `heads.MultiLevelHead`."""

    kind: Literal["multilevel"]
    steepness: PositiveFloat = 10.0
    spacing: PositiveFloat = 0.5
    decode: Decode = "activation"
    loss: Loss = "ordinal+nested_dice"


class SoftmaxConfig(Config):
    """A logit for each level; see `heads.SoftmaxHead`."""

    kind: Literal["softmax"]
    loss: SoftmaxLoss = "cross_entropy+region_dice"


class SigmoidRegionsConfig(Config):
    """A logit for each region; see `heads.SigmoidRegionsHead`."""

    kind: Literal["sigmoid_regions"]
    loss: SigmoidLoss = "bce+region_dice"


HeadConfig = Annotated[
    MultiLevelConfig | SoftmaxConfig | SigmoidRegionsConfig, Field(discriminator="kind")
]


class ModelVariant(Config):
    """One row of the table: a head, its learning rate, on how many seeds it is trained."""

    runs: PositiveInt = 1
    learning_rate: PositiveFloat
    head: HeadConfig
    trunk: TrunkConfig | None = None  # where it differs from that of all


Models = Annotated[dict[Name, ModelVariant], WithoutNulls()]


# --- training ------------------------------------------------------------------------------------


class TrainingSettings(Config):
    """How every model is trained; all see the same patches in the same order."""

    iterations: PositiveInt
    batch_size: PositiveInt = 2
    patch: Size = (128, 128, 128)  # voxels
    brain_share: Chance = 0.25  # of patches around any voxel of the brain; others around a level
    jitter: NonNegativeInt = 6  # voxels between a patch's middle and the voxel it was drawn for
    flip: tuple[Chance, Chance, Chance] = (0.5, 0.5, 0.5)
    gain: NonNegativeFloat = 0.1  # standard deviation of each modality's factor, about 1
    offset: NonNegativeFloat = 0.1  # and of what is added to it
    weight_decay: NonNegativeFloat = 1.0e-5
    warmup: NonNegativeInt = 0
    schedule: Literal["poly", "exponential"] = "exponential"
    decay: Annotated[float, Field(gt=0, le=1)] = 0.985  # exponential: factor of each epoch
    epoch: PositiveInt = 100  # iterations
    max_gradient_norm: PositiveFloat | None = None
    class_weights: bool = False  # of levels: inverse square root of their frequency
    validate_every: PositiveInt
    validation_patches: PositiveInt = 16  # fixed ones, of the validation cases

    @model_validator(mode="after")
    def _warmup_ends(self) -> "TrainingSettings":
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be below iterations ({self.iterations})")
        return self


class TrainConfig(Config):
    """The stage `train`: one model, one seed."""

    cases: CasesConfig
    trunk: TrunkConfig
    variant: ModelVariant
    training: TrainingSettings

    @property
    def network(self) -> TrunkConfig:
        """The trunk of this model."""
        return self.variant.trunk or self.trunk


# --- segmenting and scoring ----------------------------------------------------------------------


class InferenceSettings(Config):
    """How a whole volume is segmented, and how the files are written."""

    window: Size = (128, 128, 128)
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    batch: PositiveInt = 1  # windows at a time
    flips: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    scheme: str | None = None  # of the labels in the files; None for that of the cases

    @model_validator(mode="after")
    def _scheme_is_known(self) -> "InferenceSettings":
        if self.scheme is not None and self.scheme not in SCHEME_NAMES:
            raise ValueError(
                f"scheme is {self.scheme!r}, which is none{suggestion(self.scheme, SCHEME_NAMES)}"
            )
        return self


class SegmentConfig(Config):
    """The stage `segment`: the test cases by one model of one seed."""

    cases: CasesConfig
    variant: ModelVariant
    inference: InferenceSettings


class ScoringSettings(Config):
    """How segmentations are scored, and what the report shows of them."""

    empty_rule: EmptyRule = "brats2018"
    bootstrap: PositiveInt = 10_000
    reference: Name  # the model that the others are compared with, case by case
    shown: tuple[Name, ...]  # models beside the truth
    cases: tuple[str, ...]  # that the report shows
    bounds: tuple[Bound, ...] = ()


class ProblemConfig(Config):
    """Cases and models that are compared with one another."""

    if_present: bool = False  # left out where `data_root` has no folder of the cases
    cases: CasesConfig
    networks: Name | None = None  # problem whose trained networks are used; None to train its own
    trunk: TrunkConfig | None = None
    models: Models
    training: TrainingSettings | None = None
    inference: InferenceSettings
    scoring: ScoringSettings

    @model_validator(mode="after")
    def _networks_come_from_one_place(self) -> "ProblemConfig":
        stated = [name for name in ("trunk", "training") if getattr(self, name) is not None]
        if self.networks is None and len(stated) < 2:
            raise ValueError(
                "trunk and training are needed to train networks; give both, or name the problem "
                "whose `networks` are used"
            )
        if self.networks is not None and stated:
            raise ValueError(
                f"{' and '.join(stated)} would do nothing: the networks are those of the problem "
                f"{self.networks!r}; leave them out"
            )
        return self

    @model_validator(mode="after")
    def _models_are_there(self) -> "ProblemConfig":
        for name in (self.scoring.reference, *self.scoring.shown):
            if name not in self.models:
                raise ValueError(
                    f"scoring names the model {name!r}, which is none"
                    f"{suggestion(name, self.models)}"
                )
        return self


Problems = Annotated[dict[Name, ProblemConfig], WithoutNulls()]


class MultiLevelActivationConfig(Config):
    """The section `multilevel_activation`."""

    seeds: Seeds
    problems: Annotated[Problems, Field(min_length=1)]

    @model_validator(mode="after")
    def _networks_are_trained(self) -> "MultiLevelActivationConfig":
        for name, problem in self.problems.items():
            if problem.networks is None:
                continue
            source = self.problems.get(problem.networks)
            if source is None or source.networks is not None:
                trained = [n for n, each in self.problems.items() if each.networks is None]
                raise ValueError(
                    f"{name}.networks is {problem.networks!r}, which trains none"
                    f"{suggestion(problem.networks, trained)}"
                )
            for model, variant in problem.models.items():
                theirs = source.models.get(model)
                fewer = {"runs": variant.runs}
                if (
                    theirs is None
                    or theirs.runs < variant.runs
                    or theirs.model_copy(update=fewer) != variant
                ):
                    raise ValueError(
                        f"{name}.models.{model} is not a model that {problem.networks!r} trains on "
                        f"{variant.runs} seeds; repeat its settings, with at most as many runs"
                    )
        return self

    @model_validator(mode="after")
    def _seeds_suffice(self) -> "MultiLevelActivationConfig":
        for name, problem in self.problems.items():
            check_runs(
                self.seeds, {f"{name}.models.{m}": v.runs for m, v in problem.models.items()}
            )
        return self


class ScoreConfig(Config):
    """The stage `score`: what is scored belongs to it, so that a shorter list makes it stale."""

    seeds: tuple[NonNegativeInt, ...]
    cases: CasesConfig
    models: Models
    scoring: ScoringSettings


FiguresConfig = MultiLevelActivationConfig
