"""Configurations of LinEAS and of the steering methods it is compared with.

Rodriguez et al. (2025), "LinEAS: End-to-end learning of activation steering with a distributional
loss", arXiv 2503.10679. Defaults are the paper's for text-to-image (Sec. 4.4); where its authors'
code differs, the comment says which one is followed.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from vismodels.arms import Seeds, WithoutNulls, check_runs
from vismodels.config import Config, suggestion
from vismodels.methods.lineas.outside_concepts import CONCEPTS

# Which positions of an activation a map moves: all, all by the shift of their mean, those of images
# by the shift of their mean and all tokens (as AcT's code does), the last token.
Mode = Literal["all", "avg", "image_avg", "last"]
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
    timesteps: tuple[NonNegativeInt, ...] | None = None  # in place of the scheduler's own
    height: PositiveInt | None = None  # pixels; null: the pipeline's own
    width: PositiveInt | None = None
    max_sequence_length: PositiveInt | None = None  # tokens, of pipelines with a T5 encoder

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the call that are given."""
        given = self.model_dump(exclude_none=True)
        return given | ({"timesteps": list(self.timesteps)} if self.timesteps else {})


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


# All arms of a problem have its call; one of their own is refused, and not written either.
NotInArms = Annotated[CallConfig, Field(exclude=True)]


class LineasMethod(FitConfig):
    """Maps learnt together."""

    kind: Literal["lineas"]
    call: NotInArms = CallConfig()


class ActMethod(ActConfig):
    """Maps in closed form."""

    kind: Literal["act"]
    call: NotInArms = CallConfig()


class NegativePromptMethod(Config):
    """Guidance away from the words for the concept."""

    kind: Literal["negative_prompt"]
    guidance_scale: Annotated[float, Field(gt=1)]
    argument: str = "guidance_scale"  # what the pipeline calls it


class PromptEditMethod(Config):
    """Words added to the prompt."""

    kind: Literal["prompt_edit"]
    template: str  # with {prompt} and {words}

    @model_validator(mode="after")
    def _template_has_its_places(self) -> "PromptEditMethod":
        places = {"prompt": "<a prompt>", "words": "<words>"}
        try:
            text = self.template.format(**places)
        except (AttributeError, LookupError, ValueError) as error:
            raise ValueError(
                f"template has other places than {{prompt}} and {{words}}, got {self.template!r}; "
                "braces that are meant are doubled"
            ) from error
        for place, filling in places.items():
            if filling not in text:
                raise ValueError(f"template has no {{{place}}}, got {self.template!r}")
        return self


MethodConfig = Annotated[
    LineasMethod | ActMethod | NegativePromptMethod | PromptEditMethod,
    Field(discriminator="kind"),
]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class ArmConfig(Config):
    """One method with the settings that are tried on validation prompts; the best one is scored."""

    runs: PositiveInt = 1  # on the first so many seeds
    samples: PositiveInt | None = None  # prompts of each side to learn from; null: all
    grid: Annotated[dict[Name, MethodConfig], WithoutNulls(), Field(min_length=1)]

    @model_validator(mode="after")
    def _one_kind(self) -> "ArmConfig":
        kinds = sorted({method.kind for method in self.grid.values()})
        if len(kinds) > 1:
            raise ValueError(f"a grid varies the settings of one kind, got {', '.join(kinds)}")
        return self

    @model_validator(mode="after")
    def _call_is_the_problems(self) -> "ArmConfig":
        for settings, method in self.grid.items():
            if "call" in method.model_fields_set:
                raise ValueError(
                    f"grid.{settings}.call: all arms of a problem are learnt and scored with its "
                    "call; set it there"
                )
        return self

    @property
    def has_maps(self) -> bool:
        """Whether the method is made of maps, which are learnt and stored."""
        return all(isinstance(method, LayersConfig) for method in self.grid.values())


class ScenesPipeline(Config):
    """The small text-to-image model that the workflow trains, read by its judge."""

    kind: Literal["scenes"]


class OutsidePipeline(Config):
    """A pipeline of diffusers from a folder or the hub, read by CLIP and DINOv2."""

    kind: Literal["diffusers"]
    source: str  # a local folder, below `data_root` if relative, or a repository of the hub
    denoiser: str | None = None  # file of other weights for the UNet, or `repository:file`
    scheduler: Literal["own", "lcm", "euler_trailing"] = "own"
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    clip: str = "openai/clip-vit-base-patch16"
    features: str = "vit_small_patch14_dinov2"  # of timm


PipelineConfig = Annotated[ScenesPipeline | OutsidePipeline, Field(discriminator="kind")]


class PromptCounts(Config):
    """How many prompts about each concept."""

    source: PositiveInt = 32  # Sec. 4.4
    target: PositiveInt = 32
    validation: Annotated[int, Field(ge=2)] = 64  # chance is told by other prompts' images
    test: Annotated[int, Field(ge=2)] = 128


Strengths = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)]


class EvaluationConfig(Config):
    """How methods are compared."""

    strengths: Strengths
    batch_size: PositiveInt = 64  # images in one call; results do not depend on it
    folded: tuple[Name, ...] = ()  # arms whose maps are also folded into the weights
    inverted: tuple[Name, ...] = ()  # arms whose inverse maps are to bring the concept in
    compositions: tuple[tuple[Name, Name], ...] = ()  # concepts to take out together; scenes only
    composed: tuple[Name, ...] = ()  # arms whose maps of both are put together
    shown: tuple[Name, ...] = ()  # arms in the grids of images
    shown_prompts: PositiveInt = 2


class SteeringProblem(Config):
    """A pipeline, concepts to take out of its images, and the methods compared."""

    pipeline: PipelineConfig
    concepts: Annotated[tuple[Name, ...], Field(min_length=1)]
    prompts: PromptCounts = PromptCounts()
    call: CallConfig = CallConfig()
    arms: Annotated[dict[Name, ArmConfig], WithoutNulls(), Field(min_length=1)]
    evaluation: EvaluationConfig

    @model_validator(mode="after")
    def _names_are_known(self) -> "SteeringProblem":
        evaluation = self.evaluation
        for key in ("folded", "inverted", "composed", "shown"):
            for name in getattr(evaluation, key):
                if name not in self.arms:
                    raise ValueError(
                        f"evaluation.{key}: no arm {name!r}{suggestion(name, self.arms)}"
                    )
                if key != "shown" and not self.arms[name].has_maps:
                    raise ValueError(f"evaluation.{key}: {name!r} has no maps")
        for concept in {name for pair in evaluation.compositions for name in pair}:
            if concept not in self.concepts:
                raise ValueError(
                    f"evaluation.compositions: no concept {concept!r}"
                    f"{suggestion(concept, self.concepts)}"
                )
        if evaluation.compositions and self.pipeline.kind != "scenes":
            raise ValueError("evaluation.compositions: only of scenes the labels of both are known")
        return self

    @model_validator(mode="after")
    def _maps_can_be_put_together(self) -> "SteeringProblem":
        """Refuse what `fold_` and `Maps.then` would, once all is learnt."""
        needed = {"folded": {"mode": "all", "mask": "none"}, "composed": {"mask": "none"}}
        wanted = (
            (key, name, settings, field, value, getattr(method, field, value))
            for key, fields in needed.items()
            for name in getattr(self.evaluation, key)
            for settings, method in self.arms[name].grid.items()
            for field, value in fields.items()
        )
        for key, name, settings, field, value, found in wanted:
            if found != value:
                raise ValueError(
                    f"evaluation.{key}: maps with {field}: {found} cannot be {key}, "
                    f"arms.{name}.grid.{settings} has such; leave {name!r} out, or "
                    f"set {field}: {value}"
                )
        return self

    @model_validator(mode="after")
    def _prompts_suffice(self) -> "SteeringProblem":
        source, target = self.prompts.source, self.prompts.target
        for name, arm in self.arms.items():
            if arm.samples is not None and arm.samples > min(source, target):
                raise ValueError(
                    f"arms.{name}.samples: {arm.samples} of each side are wanted, prompts has "
                    f"{source} source and {target} target; raise these"
                )
            used = arm.samples or source
            for settings, method in arm.grid.items():
                if isinstance(method, FitConfig) and method.batch_size > used:
                    raise ValueError(
                        f"arms.{name}.grid.{settings}.batch_size: a batch of {method.batch_size} "
                        f"cannot be drawn from {used} source prompts; lower it, or give more"
                    )
        return self

    @model_validator(mode="after")
    def _outside_concepts_have_prompts(self) -> "SteeringProblem":
        if self.pipeline.kind == "diffusers":
            for concept in self.concepts:
                if concept not in CONCEPTS:
                    raise ValueError(
                        f"concepts: no prompts about {concept!r}{suggestion(concept, CONCEPTS)}"
                    )
        return self


class LineasConfig(Config):
    """The whole method."""

    seeds: Seeds
    problems: Annotated[dict[Name, SteeringProblem], WithoutNulls(), Field(min_length=1)]

    @model_validator(mode="after")
    def _seeds_suffice(self) -> "LineasConfig":
        for name, problem in self.problems.items():
            check_runs(self.seeds, {f"{name}.arms.{a}": v.runs for a, v in problem.arms.items()})
        return self


class LearnConfig(Config):
    """The stage `learn`: the settings of one arm, and its maps for all concepts and seeds.

    Of the evaluation it has what settings are chosen with: other figures make nothing stale.
    """

    seeds: tuple[NonNegativeInt, ...]
    pipeline: PipelineConfig
    concepts: tuple[Name, ...]
    prompts: PromptCounts
    call: CallConfig
    arm: ArmConfig
    strengths: Strengths
    batch_size: PositiveInt


class ScoreConfig(Config):
    """The stage `score`: what is scored belongs to it, so that a shorter list makes it stale."""

    seeds: tuple[NonNegativeInt, ...]
    pipeline: PipelineConfig
    prompts: PromptCounts
    call: CallConfig
    arms: Annotated[dict[Name, ArmConfig], WithoutNulls()]
    evaluation: EvaluationConfig


CompareConfig = ScoreConfig
FiguresConfig = LineasConfig
