"""Configurations of NAF-DPM's networks and trainings; defaults are the published values.

Cicchetti and Comminiello (2024), "NAF-DPM", arXiv 2404.05669; sizes and rates are those of the
authors' code, since the paper's text gives few.
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

from vismodels.arms import Seeds, WithoutNulls
from vismodels.config import Config, suggestion
from vismodels.data.manifest import SetName
from vismodels.methods.nafdpm.recognizer_config import RecognizerConfig
from vismodels.metrics.bounds import Bound

Task = Literal["deblurring", "binarization"]
Share = Annotated[float, Field(ge=0, le=1)]
CHANNELS: dict[Task, int] = {"deblurring": 3, "binarization": 1}


class NetworkConfig(Config):
    """Sizes of predictor and denoiser, which are alike; see `nn.nafnet`."""

    width: PositiveInt = 32
    blocks: tuple[PositiveInt, ...] = (1, 1, 1, 1)  # of each level on the way down, and up
    middle_blocks: PositiveInt = 1
    denoiser: bool = True  # False: the predictor alone, a regression network
    condition: Literal["prediction", "prediction_and_input"] = "prediction"
    # page: every page's ink and paper are brought to the same levels first; see `levels`. For
    # binarization only, whose result has no levels of its own.
    levels: Literal["given", "page"] = "given"


class DiffusionConfig(Config):
    """The diffusion of the residual; see `diffusion.schedules`."""

    timesteps: PositiveInt = 100
    prediction_type: Literal["sample", "epsilon"] = "sample"
    order: Literal[1, 2] = 1
    final_sigma: Literal["zero", "sigma_min"] = "sigma_min"
    # The denoiser sees timestep / timesteps * time_scale: what it was trained on if both are
    # equal (null); the published code trains so and samples with 1000.
    time_scale: PositiveFloat | None = None


class ObjectiveConfig(Config):
    """What training minimizes; see `objective`."""

    loss: Literal["mse", "l1"] = "mse"
    high_frequency_weight: NonNegativeFloat = 2.0
    low_frequency_weight: NonNegativeFloat = 2.0
    predictor_weight: NonNegativeFloat = 0.5  # beta / T = 50 / 100
    detach_target: bool = False  # True: the diffusion loss does not pull on the predictor
    times: Literal["uniform", "late"] = "uniform"  # late: more of the noisy timesteps


class AugmentationConfig(Config):
    """How patches are varied; see `patches`."""

    rotation: NonNegativeFloat = 0.0  # degrees, either way
    scale: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)  # range of the zoom
    flip: Share = 0.0  # probability of a mirror image, left to right and top to bottom each
    tone: NonNegativeFloat = 0.0  # strength of random contrast, brightness and gamma
    channel_mix: bool = False  # grey as a random mixture of red, green and blue
    noise: NonNegativeFloat = 0.0  # largest deviation of added noise, of the range [0, 1]
    # Strongest show-through of another page's mirrored text, on half of the patches; 1 is as dark
    # as the page's own text. A network that has seen none takes it for text.
    bleed: Share = 0.0
    text_share: Share = 0.0  # of the patches that are centred on a dark pixel of the clean page

    @model_validator(mode="after")
    def _range_is_ordered(self) -> "AugmentationConfig":
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is (smallest, largest), got {list(self.scale)}")
        return self


class OptimizerConfig(Config):
    """How weights are moved and averaged; see `optimization`."""

    learning_rate: PositiveFloat = 1.0e-4
    weight_decay: NonNegativeFloat = 1.0e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: NonNegativeInt = 0  # iterations of linear warm-up, of the cosine schedule
    max_gradient_norm: PositiveFloat | None = None
    ema_decay: Share = 0.9999  # of the averaged weights, which are what is stored


class TrainingConfig(Config):
    """How predictor and denoiser are trained from scratch."""

    iterations: PositiveInt
    predictor_iterations: NonNegativeInt = 0  # of these, the first ones train the predictor alone
    batch_size: PositiveInt
    patch: tuple[PositiveInt, PositiveInt]  # rows and columns, pixels
    optimizer: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5  # a binarization is white from here on
    validate_every: PositiveInt
    validation_pages: PositiveInt  # that are restored at each validation

    @model_validator(mode="after")
    def _parts_fit(self) -> "TrainingConfig":
        warmup = self.optimizer.warmup
        if warmup >= self.iterations:
            raise ValueError(f"warmup ({warmup}) must be below iterations ({self.iterations})")
        if self.predictor_iterations > self.iterations:
            raise ValueError(
                f"predictor_iterations ({self.predictor_iterations}) are some of the iterations "
                f"({self.iterations})"
            )
        return self


class FinetuningConfig(Config):
    """How a trained model is finetuned, with or without the OCR loss."""

    iterations: PositiveInt
    batch_size: PositiveInt
    patch: tuple[PositiveInt, PositiveInt]
    optimizer: OptimizerConfig = OptimizerConfig()
    validate_every: PositiveInt
    validation_pages: PositiveInt


class ArmConfig(Config):
    """One arm of the finetuning: the critic's CTC loss on words of the one-step estimate."""

    runs: PositiveInt = 1  # the number of seeds it is finetuned on
    weight: NonNegativeFloat = 1.0  # 0: finetuning without it
    timesteps: Literal["all", "noise"] = "all"  # noise: weighted by the share of noise there
    # Scales the loss to the size of the others, so that the weight is the ratio of the two; as
    # published, not: there it is the smaller one, after long training.
    balanced: bool = False
    on_prediction: bool = False  # reads the predictor's output too; as published, not


# --- what the workflow asks of each stage --------------------------------------------------------

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Engine = Literal["tesseract", "rapidocr"]
INPUT, CLEAN = "input", "clean"  # rows of the table that no method makes
CLASSICAL: dict[Task, tuple[str, ...]] = {
    "deblurring": ("unsharp", "wiener"),
    "binarization": ("sauvola",),
}
# Contest years hold few pages of many kinds, so their baseline is tuned on all training years.
TUNED_ON: dict[Task, Literal["train", "validation"]] = {
    "deblurring": "validation",
    "binarization": "train",
}


class LabelsConfig(Config):
    """The stage `labels`: who reads the words of a set of pages that knows none."""

    engine: Engine


class PagesConfig(Config):
    """Which sets of pages serve which purpose: rendered ones, data cards, folders in `dibco/`."""

    train: Annotated[tuple[SetName, ...], Field(min_length=1)]
    validation: Annotated[tuple[SetName, ...], Field(min_length=1)]
    test: Annotated[tuple[SetName, ...], Field(min_length=1)]
    test_if_present: tuple[SetName, ...] = ()  # scored when their folder exists under `data_root`


class ModelConfig(Config):
    """A model of the comparison: its networks, its diffusion, what it minimizes."""

    runs: PositiveInt = 1  # the number of seeds it is trained on
    network: NetworkConfig = NetworkConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    iterations: PositiveInt | None = None  # where they differ from the training's
    predictor_iterations: NonNegativeInt | None = None


Models = Annotated[dict[Name, ModelConfig], WithoutNulls()]
Arms = Annotated[dict[Name, ArmConfig], WithoutNulls()]


class TrainConfig(Config):
    """The stage `train`: one model, one seed."""

    pages: PagesConfig
    variant: ModelConfig
    training: TrainingConfig

    @property
    def settings(self) -> TrainingConfig:
        """The training, with what the model has of its own."""
        own = {
            name: value
            for name in ("iterations", "predictor_iterations")
            if (value := getattr(self.variant, name)) is not None
        }
        return TrainingConfig.model_validate(dict(self.training) | own)


class FinetuneConfig(Config):
    """The stage `finetune`: one arm, one seed, all from the same trained model."""

    pages: PagesConfig
    models: Models
    finetuned: Name
    arm: ArmConfig
    finetuning: FinetuningConfig


class Point(Config):
    """One way of sampling from a trained model."""

    steps: NonNegativeInt  # of the solver; 0 is the predictor alone
    samples: PositiveInt = 1  # whose mean is taken
    time_scale: PositiveFloat | None = None  # another one than in training: 1000 is the published
    all_seeds: bool = True  # False: the first seed only

    @property
    def label(self) -> str:
        """What the variants in tables and claims end with: `predictor`, `5`, `5_mean4`."""
        label = f"{self.steps}" if self.steps else "predictor"
        if self.samples > 1:
            label += f"_mean{self.samples}"
        if self.time_scale is not None:
            label += f"_times{self.time_scale:g}"
        return label


class ClassicalGrid(Config):
    """What a classical baseline is chosen from, on pages that are not for the test."""

    first: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]  # window, or radius; pixels
    second: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]  # k, amount or balance


Grids = Annotated[dict[Name, ClassicalGrid], WithoutNulls()]


class ClassicalConfig(Config):
    """The stage `classical`."""

    pages: PagesConfig
    classical: Grids


class Window(Config):
    """A part of a test page that the report shows; pixels."""

    set: SetName
    page: str
    top: NonNegativeInt
    left: NonNegativeInt
    height: PositiveInt
    width: PositiveInt


class ScoringConfig(Config):
    """How all models are scored on all test pages."""

    points: Annotated[tuple[Point, ...], Field(min_length=1)]
    engines: tuple[Engine, ...]  # OCR engines that read too, where they are installed
    engine_pages: NonNegativeInt  # the number of pages of a set that they read, of one seed
    tile: PositiveInt  # edge of the tiles, pixels
    overlap: NonNegativeInt  # of neighbouring tiles, pixels
    scanned: Name  # the model or arm that restores the scans
    shown: tuple[str, ...]  # the variants whose windows the report shows
    windows: tuple[Window, ...]
    bounds: tuple[Bound, ...]


class ScoreConfig(Config):
    """The stage `score`: what is scored belongs to it, so that a shorter list makes it stale."""

    seeds: tuple[NonNegativeInt, ...]
    pages: PagesConfig
    models: Models
    arms: Arms
    scans: tuple[SetName, ...]
    scoring: ScoringConfig


class TaskConfig(Config):
    """A task: pages, models, what they are compared with, how they are scored."""

    pages: PagesConfig
    models: Models
    training: TrainingConfig
    finetuned: Name | None = None  # the model that all arms start from
    finetuning: FinetuningConfig | None = None
    arms: Arms = Field(default_factory=dict)
    classical: Grids
    scoring: ScoringConfig

    @model_validator(mode="after")
    def _parts_fit(self) -> "TaskConfig":
        taken = sorted(self.models.keys() & self.arms.keys())
        if taken:
            raise ValueError(f"{', '.join(taken)} names a model and an arm; rename one")
        if self.arms and (self.finetuned is None or self.finetuning is None):
            raise ValueError("arms need `finetuned`, the model they start from, and `finetuning`")
        if self.finetuned is not None and self.finetuned not in self.models:
            raise ValueError(
                f"finetuned is {self.finetuned!r}, which is no model"
                f"{suggestion(self.finetuned, self.models)}"
            )
        known = self.models.keys() | self.arms.keys()
        if self.scoring.scanned not in known:
            raise ValueError(
                f"scoring.scanned is {self.scoring.scanned!r}, which is no model and no arm"
                f"{suggestion(self.scoring.scanned, known)}"
            )
        return self


class NAFDPMConfig(Config):
    """The section `nafdpm`."""

    seeds: Seeds
    scans: tuple[SetName, ...]  # data cards of scans without ground truth, restored as pictures
    labels: dict[SetName, LabelsConfig]  # sets of pages whose words an OCR engine is to find
    recognizers: "Recognizers"
    tasks: "Tasks"


class Recognizers(Config):
    """The two recognizers: one in the OCR loss, and one that only reads the results."""

    critic: RecognizerConfig
    judge: RecognizerConfig


class Tasks(Config):
    """The two tasks."""

    deblurring: TaskConfig
    binarization: TaskConfig

    @model_validator(mode="after")
    def _baselines_are_known(self) -> "Tasks":
        for task, known in CLASSICAL.items():
            section: TaskConfig = getattr(self, task)
            for name in section.classical:
                if name not in known:
                    raise ValueError(f"{task} has no baseline {name!r}{suggestion(name, known)}")
        for name, model in self.deblurring.models.items():
            if model.network.levels != "given":
                raise ValueError(
                    f"deblurring.models.{name}.network.levels is {model.network.levels!r}; a page "
                    "that is deblurred keeps its levels: set it to 'given'"
                )
        return self
