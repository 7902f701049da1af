"""Configurations of LinEAS and of the steering methods it is compared with.

Rodriguez et al. (2025), "LinEAS: End-to-end learning of activation steering with a distributional
loss", arXiv 2503.10679. Defaults are the paper's for text-to-image (Sec. 4.4); where its authors'
code differs, the comment says which one is followed.
"""

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from vismodels.config import Config

# Which positions of an activation a map moves: all, all by the shift of their mean, the last token.
Mode = Literal["all", "avg", "last"]
# How the positions of an activation become numbers per unit; see `pooling`.
Pooling = Literal["mean", "mean_std", "min", "max", "median", "last", "all"]
Reduction = Literal["mean", "sum"]
Scaling = Literal["none", "target_std"]
Gradient = Literal["full", "last"]
Noise = Literal["fresh", "shared"]
Estimator = Literal["mean", "gaussian", "linear", "iti"]
Mask = Literal["none", "pooled", "positions"]

SMALLEST_BATCH = 4  # below it sorting compares noise; the authors' code refuses it too


def _is_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_is_pattern)]
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1)]
NORMS: tuple[str, ...] = ("unet.*norm.*",)  # every normalization layer of the UNet, Sec. 4.4


class CallConfig(Config):
    """How the pipeline is called while maps are learnt."""

    num_inference_steps: PositiveInt = 1  # a one-step model, Sec. 4.4
    guidance_scale: NonNegativeFloat = 0.0


class SparsityConfig(Config):
    """The sparse group lasso, Sec. 3.2; see `proximal`."""

    gamma: NonNegativeFloat = 0.0
    shift_gamma: NonNegativeFloat | None = None  # of the shifts; null: as of the scales
    l1: NonNegativeFloat = 1.0
    group: NonNegativeFloat = 1.0  # 0: the lasso alone
    # code: learning rate times gamma, times the root of the units for groups: the proximal step of
    # the objective as the paper writes it. paper: Algorithm 1 literally, without both factors.
    thresholds: Literal["code", "paper"] = "code"


class OptimizerConfig(Config):
    """How the maps are moved, Sec. 3.3 and 4.4."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 1.0e-4
    dampening: Annotated[float, Field(ge=0, le=1)] = (
        0.0  # share of the rate that is left at the end
    )
    weight_decay: NonNegativeFloat = 0.01  # of adamw, PyTorch's; towards the identity


class LayersConfig(Config):
    """Where maps are inserted, and on what they act; common to all methods."""

    layers: Patterns = NORMS
    mode: Mode = "all"
    pooling: Pooling = "mean"
    noise: Noise = "fresh"
    call: CallConfig = CallConfig()


class FitConfig(LayersConfig):
    """How LinEAS learns its maps."""

    target_layers: Patterns | None = None  # where distributions are compared; null: where maps are
    iterations: PositiveInt = 1000
    batch_size: PositiveInt = 4
    force_small_batch: bool = False
    reduction: Reduction = "mean"  # the code's, which the learning rates belong to; sum: Eq. (3)
    scaling: Scaling = "none"
    gradient: Gradient = "full"
    optimizer: OptimizerConfig = OptimizerConfig()
    sparsity: SparsityConfig = SparsityConfig()
    post_iterations: NonNegativeInt = 0  # of the fit of what sparsity left, Appendix F
    post_threshold: NonNegativeFloat = 0.0  # up to which a number counts as the identity's

    @model_validator(mode="after")
    def _batch_can_be_sorted(self) -> "FitConfig":
        if self.batch_size < SMALLEST_BATCH and not self.force_small_batch:
            raise ValueError(
                f"batch_size is at least {SMALLEST_BATCH}, since fewer prompts say little about a "
                f"distribution, got {self.batch_size}; force_small_batch overrides this"
            )
        return self


class ActConfig(LayersConfig):
    """How the closed-form baselines estimate their maps; see `estimators`."""

    estimator: Estimator = "linear"
    # sequential: each layer sees source activations that the maps before it have moved. The
    # published Linear-AcT is sequential; Mean-AcT, CAA and ITI-c are fitted at once.
    order: Literal["at_once", "sequential"] = "sequential"
    # Only values between the smallest and the largest seen are moved. pooled: of the pooled source
    # values, as published; positions: of the values at all positions, which are what is moved.
    mask: Mask = "none"
    batch_size: PositiveInt = 4  # prompts in one call; results do not depend on it
    multiplier: PositiveFloat = 1.0  # of ITI-c, in deviations along the normal

    @model_validator(mode="after")
    def _one_number_for_each_unit(self) -> "ActConfig":
        if self.pooling == "mean_std":
            raise ValueError(
                "closed-form maps need numbers of the units themselves: pooling is not mean_std"
            )
        return self
