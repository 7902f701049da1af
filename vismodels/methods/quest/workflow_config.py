"""Configuration of QuEST's stages: the pipeline, its prompts, and the recipes that are compared."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from vismodels.arms import Seeds, WithoutNulls, check_runs
from vismodels.config import Config, suggestion
from vismodels.methods.quest.config import Recipe

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


RESERVED = ("float", "other_noise", "prompts")  # what stands beside arms, so no arm's name


class ScenesDenoiser(Config):
    """The small text-to-image model that the workflow trains, read by its judge."""

    kind: Literal["scenes"]


class SceneClassesDenoiser(Config):
    """The small transformer that paints classes of scenes, which the workflow trains; its judge."""

    kind: Literal["scene_classes"]


class PublishedDenoiser(Config):
    """A pipeline of diffusers from a folder or the hub; images are read by features of timm."""

    kind: Literal["diffusers"]
    source: str  # a local folder, below `data_root` if relative, or a repository of the hub
    scheduler: Literal["own", "ddim"] = "own"
    prompts: str | None = None  # a text file, one a line, below `data_root`; null: unconditional
    classes: PositiveInt | None = None  # class labels in place of prompts
    features: str = "inception_v3.tf_in1k"  # of timm

    @model_validator(mode="after")
    def _texts_or_classes(self) -> "PublishedDenoiser":
        if self.prompts is not None and self.classes is not None:
            raise ValueError("a pipeline is asked by prompts or by classes; give one of the two")
        return self


DenoiserConfig = Annotated[
    ScenesDenoiser | SceneClassesDenoiser | PublishedDenoiser, Field(discriminator="kind")
]


class SamplingConfig(Config):
    """How the pipeline is called."""

    num_inference_steps: PositiveInt = 4
    guidance_scale: NonNegativeFloat = 0.0
    other_steps: tuple[PositiveInt, ...] = ()  # with which every arm is scored too
    # Equally spaced, whose inputs the denoiser is calibrated and tuned with; null: all.
    kept_steps: PositiveInt | None = None
    batch_size: PositiveInt = 100  # images in one call

    @model_validator(mode="after")
    def _kept_steps_are_taken(self) -> "SamplingConfig":
        if self.kept_steps is not None and self.kept_steps > self.num_inference_steps:
            raise ValueError(
                f"kept_steps ({self.kept_steps}) cannot exceed num_inference_steps "
                f"({self.num_inference_steps})"
            )
        return self


class ImageCounts(Config):
    """How many prompts, each with noise of its own."""

    calibration: PositiveInt = 128  # for ranges and rounding; the paper has 256 a step
    pool: PositiveInt = 384  # for finetuning
    validation: Annotated[int, Field(ge=2)] = 200
    test: Annotated[int, Field(ge=2)] = 500


class QuestArm(Config):
    """One way to quantize, with the settings that are tried on validation prompts."""

    runs: PositiveInt = 1  # on the first so many seeds
    grid: Annotated[dict[Name, Recipe], WithoutNulls(), Field(min_length=1)]


Arms = Annotated[dict[Name, QuestArm], WithoutNulls(), Field(min_length=1)]


class ShownConfig(Config):
    """What the report shows."""

    arms: tuple[Name, ...] = ()  # in the grid of images, and in errors by timestep
    images: PositiveInt = 6
    executed: tuple[Name, ...] = ()  # arms that are also run on 8-bit kernels, and timed
    sensitivity: Name | None = None  # the arm whose layers are quantized one by one
    histograms: tuple[Name, ...] = ()  # two arms whose activations are compared, before and after


class QuestProblem(Config):
    """A denoiser and the recipes compared on it."""

    denoiser: DenoiserConfig
    component: Literal["unet", "transformer"] = "unet"
    sampling: SamplingConfig = SamplingConfig()
    counts: ImageCounts = ImageCounts()
    arms: Arms
    shown: ShownConfig = ShownConfig()

    @model_validator(mode="after")
    def _names_are_known(self) -> "QuestProblem":
        for name in RESERVED:
            if name in self.arms:
                raise ValueError(f"arms: {name!r} is the name of something else; rename the arm")
        shown = self.shown
        named = (*shown.arms, *shown.executed, *shown.histograms)
        for name in (*named, *((shown.sensitivity,) if shown.sensitivity else ())):
            if name not in self.arms:
                raise ValueError(f"shown: no arm {name!r}{suggestion(name, self.arms)}")
        return self


class QuestWorkflowConfig(Config):
    """The whole method."""

    seeds: Seeds
    problems: Annotated[dict[Name, QuestProblem], WithoutNulls(), Field(min_length=1)]

    @model_validator(mode="after")
    def _seeds_suffice(self) -> "QuestWorkflowConfig":
        for name, problem in self.problems.items():
            check_runs(self.seeds, {f"{name}.arms.{a}": v.runs for a, v in problem.arms.items()})
        return self


class QuantizeConfig(Config):
    """The stage `quantize`: the settings of one arm, and its networks for all seeds."""

    seeds: tuple[NonNegativeInt, ...]
    denoiser: DenoiserConfig
    component: Literal["unet", "transformer"]
    sampling: SamplingConfig
    counts: ImageCounts
    arm: QuestArm
    sensitivity: Name | None = None  # as in `ShownConfig`
    histograms: tuple[Name, ...] = ()


class ScoreConfig(Config):
    """The stage `score`: what is scored belongs to it, so that a shorter list makes it stale."""

    seeds: tuple[NonNegativeInt, ...]
    denoiser: DenoiserConfig
    component: Literal["unet", "transformer"]
    sampling: SamplingConfig
    counts: ImageCounts
    arms: Arms
    shown: ShownConfig


FiguresConfig = QuestWorkflowConfig
