"""Configurations of the stages of QuantNAS (arXiv 2208.14839). Torch-free.

Defaults are the published settings; where the two published codes differ, the field says which.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from vismodels.arms import Seeds, WithoutNulls, check_runs
from vismodels.config import Config, suggestion
from vismodels.data.manifest import SetName
from vismodels.data.windows import ORIGINAL, Crop
from vismodels.methods.quantnas.space import BITS, FixedSpace, Operations, SpaceConfig
from vismodels.metrics.floors import Floor
from vismodels.quantization.spec import FULL_PRECISION

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Share = Annotated[float, Field(gt=0, lt=1)]
BICUBIC = "bicubic"  # what the networks are scored beside


def _kind_of_space(value: object) -> str:
    is_fixed = "model" in value if isinstance(value, dict) else isinstance(value, FixedSpace)
    return "fixed" if is_fixed else "searched"


Space = Annotated[
    Annotated[SpaceConfig, Tag("searched")] | Annotated[FixedSpace, Tag("fixed")],
    Discriminator(_kind_of_space),
]


class SearchSettings(Config):
    """How a supernet is searched, whatever the variant."""

    iterations: PositiveInt  # pairs of an architecture step and a weight step
    epochs: PositiveInt = 20  # into which the iterations are divided, for the schedules
    architecture_warmup: NonNegativeInt = 0  # epochs before the architecture moves; RFDN space: 9
    batch_size: PositiveInt = 32
    lr_crop: PositiveInt = 45  # edge of the LR patch, pixels
    learning_rate: PositiveFloat = 1.0e-3  # of the weights: Adam, cosine
    weight_decay: NonNegativeFloat = 3.0e-8
    warmup: NonNegativeInt = 0  # iterations of linear warm-up of the weights
    max_gradient_norm: PositiveFloat = 5.0
    architecture_learning_rate: PositiveFloat = 3.0e-4  # Adam
    architecture_betas: tuple[float, float] = (0.5, 0.999)
    single_level: bool = False  # one pass on one batch serves both steps
    architecture_images: Share | tuple[str, ...] = 0.5  # share or names; the others train weights
    selection: Literal["last", "best_validation"] = "best_validation"  # of the genotype
    validate_every: PositiveInt  # iterations

    @model_validator(mode="after")
    def _warmup_ends(self) -> "SearchSettings":
        _refuse_warmup(self.warmup, self.iterations)
        return self


class SearchVariant(Config):
    """One row of the comparison of searches: what differs between them."""

    runs: PositiveInt = 1  # the first so many seeds
    space: Name  # one of `spaces`
    mode: Literal["noise", "published_noise", "direct"] = "noise"
    distribution: Literal["uniform", "gaussian"] = "uniform"  # published: gaussian
    form: Literal["merged", "per_operation"] = "merged"
    relaxation: Literal["softmax", "gumbel", "hard_gumbel"] = "softmax"
    adq: bool = True
    entropy_weight: NonNegativeFloat = 1.0e-3
    penalty_weight: NonNegativeFloat = 0.0  # on the expected cost; published: 0 to 1e-2
    penalty: Literal["bitops", "linear"] = "bitops"  # linear in bits, as in the published search
    penalty_scale: Literal["initial", "published"] = "initial"  # see `search.penalty`
    bits: tuple[int, ...] | None = None  # instead of the space's
    operations: dict[str, Operations] | None = None  # instead of the space's


Searches = Annotated[dict[Name, SearchVariant], WithoutNulls()]


class SearchConfig(Config):
    """The stage `search`: one variant, one seed."""

    scale: Literal[2, 3, 4]
    train_sets: tuple[SetName, ...]
    validation_sets: tuple[SetName, ...]
    spaces: dict[Name, Space]
    variant: SearchVariant
    settings: SearchSettings

    @property
    def space(self) -> SpaceConfig | FixedSpace:
        """The variant's space: with its bits and operations, and ADQ on or off."""
        return varied_space(self.spaces, self.variant)


def varied_space(
    spaces: Mapping[str, SpaceConfig | FixedSpace], variant: SearchVariant
) -> SpaceConfig | FixedSpace:
    """Return the space of a variant, validated again.

    Raises:
        ValueError: if there is no such space, or it has no such operations.
    """
    if variant.space not in spaces:
        raise ValueError(f"no space is called {variant.space!r}; spaces: {', '.join(spaces)}")
    space = spaces[variant.space]
    values = space.model_dump(mode="json")
    if variant.bits is not None:
        values["bits"] = list(variant.bits)
    if isinstance(space, FixedSpace):
        if variant.operations is not None:
            raise ValueError(f"the operations of {variant.space!r}, a published network, are fixed")
        return FixedSpace.model_validate_json(_json(values))
    values["skeleton"]["adq"] = variant.adq
    if variant.operations is not None:
        lists = {**space.lists, **variant.operations}
        values["operations"] = {group: list(names) for group, names in lists.items()}
    return SpaceConfig.model_validate_json(_json(values))


class SearchedNetwork(Config):
    """The genotype that a search found, retrained from scratch."""

    kind: Literal["searched"]
    search: Name
    bits: int | None = None  # all layers at these bits instead of the found ones


class UniformNetwork(Config):
    """A fixed network of the same skeleton, one operation a group, all layers at the same bits.

    `like` names a search: the width is then chosen so that the network's BitOPs are the nearest
    that are not below those of the genotype found with the same seed; without it, the width is the
    skeleton's.
    """

    kind: Literal["uniform"]
    space: Name
    operations: dict[str, str]  # group -> operation
    bits: int
    like: Name | None = None


class RandomNetwork(Config):
    """A genotype drawn from a space."""

    kind: Literal["random"]
    space: Name
    draw: NonNegativeInt


class FixedNetwork(Config):
    """A published network, all convolutions quantized alike (LSQ)."""

    kind: Literal["fixed"]
    model: Literal["espcn", "rfdn", "srresnet"]
    bicubic_skip: bool = False  # of ESPCN
    bits: int

    @property
    def name(self) -> str:
        """What it is called where it is counted: `srresnet_4`, `srresnet_float`."""
        return f"{self.model}_{'float' if self.bits == FULL_PRECISION else self.bits}"


Network = Annotated[
    SearchedNetwork | UniformNetwork | RandomNetwork | FixedNetwork, Field(discriminator="kind")
]


class NetworkVariant(Config):
    """One row of the table: a network, and on how many seeds it is trained."""

    runs: PositiveInt = 1  # the first so many seeds
    learning_rate: PositiveFloat | None = None  # instead of the common one
    network: Network

    @model_validator(mode="after")
    def _bits_are_known(self) -> "NetworkVariant":
        bits = getattr(self.network, "bits", None)
        if bits is not None and bits not in BITS:
            raise ValueError(f"bits must be one of {BITS}, got {bits}")
        return self


Networks = Annotated[dict[Name, NetworkVariant], WithoutNulls()]


class TrainingSettings(Config):
    """How every network is trained from scratch; published: Adam 1e-4, 30 epochs, batch 32."""

    iterations: PositiveInt
    batch_size: PositiveInt = 32
    lr_crop: PositiveInt = 45
    learning_rate: PositiveFloat = 1.0e-4
    step_start: Literal["lsq", "mse"] = "lsq"  # where the quantizers' steps start
    step_rate: PositiveFloat = 1.0  # of the quantizers' steps, times the learning rate
    weight_decay: NonNegativeFloat = 0.0
    warmup: NonNegativeInt = 0
    float_warmup: NonNegativeInt = 0  # iterations at full precision before quantizers start
    max_gradient_norm: PositiveFloat = 5.0
    validate_every: PositiveInt

    @model_validator(mode="after")
    def _warmup_ends(self) -> "TrainingSettings":
        _refuse_warmup(max(self.warmup, self.float_warmup), self.iterations)
        return self


class TrainConfig(Config):
    """The stage `train`: one network, one seed."""

    scale: Literal[2, 3, 4]
    train_sets: tuple[SetName, ...]
    validation_sets: tuple[SetName, ...]
    spaces: dict[Name, Space]
    searches: Searches
    variant: NetworkVariant
    training: TrainingSettings


class ScoringSettings(Config):
    """How all networks are scored on all test images."""

    border: NonNegativeInt = 4  # pixels cut from each side; published: 4, whatever the scale
    floors: tuple[Floor, ...]
    crops: tuple[Crop, ...]


class SetsConfig(Config):
    """Which sets of photographs serve which purpose: names of data cards, or folders in `sr/`."""

    train: Annotated[tuple[SetName, ...], Field(min_length=1)]
    validation: Annotated[tuple[SetName, ...], Field(min_length=1)]
    test: Annotated[tuple[SetName, ...], Field(min_length=1)]
    test_if_present: tuple[SetName, ...]  # scored when their folder exists under `data_root`


class ScoreConfig(Config):
    """The stage `score`: what is scored belongs to it, so that a shorter list makes it stale."""

    scale: Literal[2, 3, 4]
    seeds: tuple[NonNegativeInt, ...]
    sets: SetsConfig
    networks: Networks
    counted: tuple[FixedNetwork, ...]
    scoring: ScoringSettings


class FiguresConfig(Config):
    """The stage `figures`."""

    seeds: tuple[NonNegativeInt, ...]
    spaces: dict[Name, Space]
    searches: Searches
    networks: Networks
    shown: tuple[Name, ...]
    crops: tuple[Crop, ...]


class QuantNASConfig(Config):
    """The section `quantnas`; the scale is that of `photographs`."""

    seeds: Seeds
    sets: SetsConfig
    spaces: Annotated[dict[Name, Space], Field(min_length=1)]
    search: SearchSettings
    searches: Searches
    networks: Networks
    training: TrainingSettings
    counted: tuple[FixedNetwork, ...]  # rows that are not trained: their cost is counted
    scoring: ScoringSettings
    shown: tuple[Name, ...]  # the networks whose windows and curves the figures show

    @model_validator(mode="after")
    def _parts_fit(self) -> "QuantNASConfig":
        for kind, arms in (("searches", self.searches), ("networks", self.networks)):
            check_runs(self.seeds, {f"{kind}.{name}": arm.runs for name, arm in arms.items()})
        for search in self.searches.values():
            varied_space(self.spaces, search)
        for name, network in self.networks.items():
            self._check_sources(name, network)
        self._check_reporting()
        return self

    def _check_reporting(self) -> None:
        """Check that what is scored, counted and shown exists, and under one name each."""
        counted = [network.name for network in self.counted]
        taken = {*counted, BICUBIC, ORIGINAL} & self.networks.keys()
        if taken or len(set(counted)) < len(counted):
            raise ValueError(
                f"networks and counted need names of their own, beside {BICUBIC} and {ORIGINAL}; "
                f"got twice: {', '.join(sorted(taken) or sorted(counted))}"
            )
        named = {*self.shown, *(floor.network for floor in self.scoring.floors)}
        unknown = sorted(named - self.networks.keys())
        if unknown:
            raise ValueError(
                f"shown or scoring.floors names {unknown[0]!r}"
                f"{suggestion(unknown[0], self.networks)}"
            )
        images = [crop.image for crop in self.scoring.crops]
        absent = sorted({crop.set for crop in self.scoring.crops} - set(self.sets.test))
        if absent or len(set(images)) < len(images):
            raise ValueError(
                f"scoring.crops shows each image once, of sets.test ({', '.join(self.sets.test)}); "
                f"got {', '.join(absent or images)}"
            )

    def _check_sources(self, name: str, variant: NetworkVariant) -> None:
        network = variant.network
        space = getattr(network, "space", None)
        if space is not None and not isinstance(self.spaces.get(space), SpaceConfig):
            raise ValueError(
                f"networks.{name} names the space {space!r}; there is none of searched operations"
            )
        search = getattr(network, "search", None) or getattr(network, "like", None)
        if search is None:
            return
        if search not in self.searches:
            raise ValueError(f"networks.{name} names the search {search!r}; there is none")
        if self.searches[search].runs < variant.runs:
            raise ValueError(
                f"networks.{name} wants {variant.runs} seeds of the search {search!r}, which runs "
                f"on {self.searches[search].runs}"
            )
        like = getattr(network, "like", None) is not None
        if like and not isinstance(self.spaces[self.searches[search].space], SpaceConfig):
            raise ValueError(
                f"networks.{name} cannot be like what {search!r} finds: bits of a published network"
            )


def search_of(network: NetworkVariant) -> str | None:
    """Return the name of the search whose genotype a network needs, if any."""
    source = network.network
    if isinstance(source, SearchedNetwork):
        return source.search
    return source.like if isinstance(source, UniformNetwork) else None


def _refuse_warmup(warmup: int, iterations: int) -> None:
    if warmup >= iterations:
        raise ValueError(f"warmup ({warmup}) must be below iterations ({iterations})")


def _json(values: object) -> str:
    import json

    return json.dumps(values)
