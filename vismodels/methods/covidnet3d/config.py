"""Configurations of CovidNet3D's search and trainings; defaults are the published values.

He et al. (2021), arXiv 2101.05442, with the rates of the authors' code.
"""

from collections.abc import Mapping
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
from vismodels.data.manifest import SetName
from vismodels.data.scans import PHANTOM_NOTE
from vismodels.methods.covidnet3d.space import SpaceConfig
from vismodels.metrics.bounds import Bound

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Chance = Annotated[float, Field(ge=0, le=1)]
PHANTOM = "chest_ct_phantom"  # the card of generated scans
Estimator = Literal["one_path", "all_paths", "policy"]


# --- data ----------------------------------------------------------------------------------------


class CTInput(Config):
    """Scans of a chest: Hounsfield units within a window, scaled to [-1, 1]."""

    kind: Literal["ct"] = "ct"
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None  # None: as the scans are
    window: tuple[float, float] = (-1000.0, 400.0)  # HU
    only_lungs: bool = False  # the rest becomes the lower end of the window; needs lung masks


class MaskInput(Config):
    """Binary shapes: as they are, or as a soft mask beside a distance map."""

    kind: Literal["mask"] = "mask"
    size: Literal[28, 64] = 28  # the edge of the set's volumes
    form: Literal["mask", "distance"] = "mask"

    @model_validator(mode="after")
    def _distances_are_fine(self) -> "MaskInput":
        if self.form == "distance" and self.size != 64:
            raise ValueError(
                f"distances are in millimeters and need the volumes of 64 voxels of 1 mm, got size "
                f"{self.size}, whose voxels are 2.3 mm; set size to 64, or form to 'mask'"
            )
        return self


class GreyInput(Config):
    """Grey volumes of MedMNIST3D, scaled from 8 bits to [-1, 1]."""

    kind: Literal["grey"] = "grey"
    size: Literal[28, 64] = 28  # the edge of the set's volumes


Input = Annotated[CTInput | MaskInput | GreyInput, Field(discriminator="kind")]


class DataConfig(Config):
    """What is classified."""

    card: SetName
    input: Input
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    positive: str  # the class that precision, sensitivity, F1 and AUC are of

    @property
    def note(self) -> str:
        """What every record of scores on these data says to its reader."""
        return PHANTOM_NOTE if self.card == PHANTOM else ""

    @model_validator(mode="after")
    def _positive_is_a_class(self) -> "DataConfig":
        if self.positive not in self.classes:
            raise ValueError(
                f"positive is {self.positive!r}, which is no class"
                f"{suggestion(self.positive, self.classes)}"
            )
        return self


# --- search --------------------------------------------------------------------------------------


class SearchSettings(Config):
    """How weights and architecture are moved in turn."""

    # (D, H, W) that scans have in the search; None: as for the networks trained afterwards.
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    iterations: PositiveInt
    batch_size: PositiveInt = 64
    # Patients for the weights, for the architecture, for choosing among what was found; published:
    # scans, halved, and the test set.
    parts: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 1)
    flip: tuple[Chance, Chance, Chance] = (0.5, 0.5, 0.5)
    shift: NonNegativeInt = 0  # as in `TrainingSettings`
    level: NonNegativeFloat = 0.0
    learning_rate: PositiveFloat = 1.0e-3
    weight_decay: NonNegativeFloat = 5.0e-4
    max_gradient_norm: PositiveFloat = 5.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.0  # weights alone, paths drawn evenly
    architecture_learning_rate: PositiveFloat = 3.0e-4
    architecture_betas: tuple[float, float] = (0.5, 0.999)
    architecture_weight_decay: NonNegativeFloat = 1.0e-3
    temperature: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)  # from, to; exponentially
    paths: Annotated[int, Field(ge=2)] = 4  # of each step of the policy gradient
    cost_weight: NonNegativeFloat = 0.0  # times log(expected operations / at the start)
    entropy_weight: NonNegativeFloat = 0.0  # reached linearly at the end
    validate_every: PositiveInt
    recalibration: PositiveInt = 4  # batches that give a path its own normalization statistics
    candidates: NonNegativeInt = 4  # sampled beside the most probable one
    compared: NonNegativeInt = 20  # evenly random networks, to compare what was found with
    early_selection: NonNegativeInt = 0  # iterations each candidate is trained before the choice


class SearchVariant(Config):
    """One search."""

    runs: PositiveInt = 1  # the first so many seeds
    estimator: Estimator = "one_path"  # policy: departs from the paper; see `search_run`


Searches = Annotated[dict[Name, SearchVariant], WithoutNulls()]


class SearchConfig(Config):
    """The stage `search`: one search, one seed."""

    data: DataConfig
    space: SpaceConfig
    variant: SearchVariant
    settings: SearchSettings
    training: "TrainingSettings"  # of the early selection

    @property
    def seen(self) -> DataConfig:
        """The data in the shape that they have in the search."""
        source = self.data.input
        if self.settings.shape is None or not isinstance(source, CTInput):
            return self.data
        smaller = source.model_copy(update={"shape": self.settings.shape})
        return self.data.model_copy(update={"input": smaller})


# --- training ------------------------------------------------------------------------------------


class TrainingSettings(Config):
    """How every network is trained from scratch."""

    iterations: PositiveInt
    batch_size: PositiveInt = 8
    flip: tuple[Chance, Chance, Chance] = (0.5, 0.5, 0.5)
    shift: NonNegativeInt = 0  # voxels along each axis
    level: NonNegativeFloat = 0.0  # standard deviation of a constant added to each volume
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: PositiveFloat = 1.0e-3
    weight_decay: NonNegativeFloat = 5.0e-4  # adamw: not of normalizations and biases
    warmup: NonNegativeInt = 0
    max_gradient_norm: PositiveFloat | None = None
    class_weights: bool = False  # rare classes weigh more
    label_smoothing: Chance = 0.0
    ema_decay: Chance = 0.0  # 0: the last weights are kept as they are
    validate_every: PositiveInt

    @model_validator(mode="after")
    def _warmup_ends(self) -> "TrainingSettings":
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be below iterations ({self.iterations})")
        return self


class SearchedNetwork(Config):
    """What a search found with the same seed."""

    kind: Literal["searched"]
    search: Name


class UniformNetwork(Config):
    """One operation in every block; `mbconv_3_3` is what one would write by hand."""

    kind: Literal["uniform"]
    operation: str


class RandomNetwork(Config):
    """A network drawn evenly from the space, or the drawn one nearest in cost to a searched one."""

    kind: Literal["random"]
    draw: NonNegativeInt
    like: Name | None = None  # a search


class ComparedNetwork(Config):
    """One of the evenly random networks that a search scored with the supernet's weights."""

    kind: Literal["compared"]
    search: Name
    number: NonNegativeInt


class BaselineNetwork(Config):
    """A network of another library; see `baselines`."""

    kind: Literal["baseline"]
    model: Literal[
        "monai_resnet10",
        "monai_resnet101",
        "monai_densenet121",
        "r3d_18",
        "mc3_18",
        "r2plus1d_18",
        "residual3d",
        "timm_slices",
    ]
    backbone: str = "resnet10t"  # of `timm_slices`


Network = Annotated[
    SearchedNetwork | UniformNetwork | RandomNetwork | ComparedNetwork | BaselineNetwork,
    Field(discriminator="kind"),
]


class NetworkVariant(Config):
    """One row of the table: a network, and on how many seeds it is trained."""

    runs: PositiveInt = 1
    iterations: PositiveInt | None = None  # where they differ from the training's
    network: Network


Networks = Annotated[dict[Name, NetworkVariant], WithoutNulls()]


class TrainConfig(Config):
    """The stage `train`: one network, one seed."""

    data: DataConfig
    space: SpaceConfig
    variant: NetworkVariant
    training: TrainingSettings

    @property
    def settings(self) -> TrainingSettings:
        """The training, with what the network has of its own."""
        if self.variant.iterations is None:
            return self.training
        own = {"iterations": self.variant.iterations}
        return TrainingSettings.model_validate(dict(self.training) | own)


def search_of(variant: NetworkVariant) -> str | None:
    """Return the name of the search whose genotype a network needs, if any."""
    network = variant.network
    if isinstance(network, SearchedNetwork | ComparedNetwork):
        return network.search
    return network.like if isinstance(network, RandomNetwork) else None


def compared_searches(networks: Mapping[str, NetworkVariant]) -> tuple[str, ...]:
    """Return the names of the searches whose compared networks are trained, sorted."""
    sources = [variant.network for variant in networks.values()]
    return tuple(sorted({s.search for s in sources if isinstance(s, ComparedNetwork)}))


# --- scoring -------------------------------------------------------------------------------------


class ScoringSettings(Config):
    """How networks are scored on the test split."""

    bootstrap: PositiveInt = 1000  # draws of patients
    bounds: tuple[Bound, ...] = ()


class MapSettings(Config):
    """Activation maps of some networks, scored against the lesions."""

    networks: tuple[Name, ...]
    kinds: tuple[Literal["cam", "shifted_cam", "grad_cam", "layer_cam"], ...]
    layer: str | None = None  # of Grad-CAM and LayerCAM: a module's name; None: the last map
    least_lesion: PositiveInt = 8  # voxels; smaller lesions are below what a map resolves
    faithfulness_scans: NonNegativeInt = 8
    faithfulness_steps: PositiveInt = 20
    shown: tuple[str, ...] = ()  # scans whose maps the report shows


class ProblemConfig(Config):
    """Data, space, search, networks: everything that is compared with one another."""

    data: DataConfig
    space: SpaceConfig
    search: SearchSettings
    searches: Searches
    networks: Networks
    training: TrainingSettings
    scoring: ScoringSettings
    maps: MapSettings | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> "ProblemConfig":
        if self.space.classes != len(self.data.classes):
            raise ValueError(
                f"the space has {self.space.classes} classes, the data {len(self.data.classes)}"
            )
        if self.search.shape is not None and not isinstance(self.data.input, CTInput):
            raise ValueError("search.shape is for scans of a chest; other volumes stay as they are")
        for name, variant in self.networks.items():
            if isinstance(variant.network, ComparedNetwork) and variant.runs > 1:
                raise ValueError(
                    f"networks.{name} wants {variant.runs} seeds, each of which would train the "
                    "network of another search, while the rank correlation is of the first; set "
                    "runs to 1"
                )
            search = search_of(variant)
            if search is None:
                continue
            if search not in self.searches:
                raise ValueError(
                    f"networks.{name} names the search {search!r}, which is none"
                    f"{suggestion(search, self.searches)}"
                )
            if self.searches[search].runs < variant.runs:
                raise ValueError(
                    f"networks.{name} wants {variant.runs} seeds of the search {search!r}, which "
                    f"runs on {self.searches[search].runs}"
                )
        for name in self.maps.networks if self.maps else ():
            if name not in self.networks:
                raise ValueError(
                    f"maps.networks names {name!r}, which is none{suggestion(name, self.networks)}"
                )
            if isinstance(self.networks[name].network, BaselineNetwork):
                raise ValueError(f"maps.networks names {name!r}, a network of another library")
        return self


Problems = Annotated[dict[Name, ProblemConfig], WithoutNulls()]


class PublishedRow(Config):
    """A row of the paper's tables, or of what may be had without a network, percent."""

    data: Name
    model: Name
    accuracy: PositiveFloat
    precision: PositiveFloat
    sensitivity: PositiveFloat
    f1: PositiveFloat
    counted: bool = False  # from the published split lists, not printed by the paper


class PublishedTest(Config):
    """The test split that a table is said to be of."""

    positives: PositiveInt
    others: PositiveInt
    largest_class: PositiveInt
    classes: Annotated[int, Field(ge=2)]
    denominators: tuple[PositiveInt, ...] = ()  # other counts of positives, of other splits


class AuditConfig(Config):
    """The published tables, to be checked against the sizes of their test splits."""

    tests: dict[Name, PublishedTest]
    rows: tuple[PublishedRow, ...]

    @model_validator(mode="after")
    def _tests_are_known(self) -> "AuditConfig":
        for row in self.rows:
            if row.data not in self.tests:
                raise ValueError(
                    f"a row names the data {row.data!r}, which is none"
                    f"{suggestion(row.data, self.tests)}"
                )
        return self


class CovidNet3DConfig(Config):
    """The section `covidnet3d`."""

    seeds: Seeds
    audit: AuditConfig
    problems: Annotated[Problems, Field(min_length=1)]

    @model_validator(mode="after")
    def _seeds_suffice(self) -> "CovidNet3DConfig":
        for name, problem in self.problems.items():
            for kind, arms in (("searches", problem.searches), ("networks", problem.networks)):
                check_runs(self.seeds, {f"{name}.{kind}.{a}": v.runs for a, v in arms.items()})
        return self


class ScoreConfig(Config):
    """The stage `score`: what is scored belongs to it, so that a shorter list makes it stale."""

    seeds: tuple[NonNegativeInt, ...]
    data: DataConfig
    networks: Networks
    scoring: ScoringSettings
    maps: MapSettings | None

    @property
    def compared_searches(self) -> tuple[str, ...]:
        """Names of the searches whose compared networks are trained, sorted."""
        return compared_searches(self.networks)


class ShapesConfig(Config):
    """The stage `shapes`."""

    data: DataConfig


FiguresConfig = CovidNet3DConfig
