"""The two search spaces: the layers of a network, the candidates of each, and what they cost.

Torch-free. QuantNAS, arXiv 2208.14839: the basic space (head, body, skip, upsampling, tail) and the
space made of RFDN blocks (Liu et al., arXiv 2009.11551). Sizes and lists are the published
defaults; what departs from them is said at its field.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from vismodels.config import Config, ConfigError
from vismodels.methods.quantnas.operations import Chain, convolutions
from vismodels.nas.genotype import Genotype

IMAGE_CHANNELS = 3
BITS = (2, 4, 8, 16, 32)
COST_SIZE = (32, 32)  # LR pixels at which the field counts operations
FIXED_BITS = 8  # of the convolutions of the RFDN space that are not searched

Operations = Annotated[tuple[str, ...], Field(min_length=1)]
Activation = Literal["hwgq", "lsq"]
Rectifier = Literal["relu", "leaky_relu", "prelu"]
CostKind = Literal["bitops", "linear"]


@dataclass(frozen=True)
class Slot:
    """One decision of a skeleton and the layers that obey it.

    Args:
        name: of the decision (`head_0`, `cell_1_body_0`).
        group: whose list of operations it takes (`head`).
        in_channels: of its layers.
        out_channels: of its layers.
        resolution: factor between the LR image's edge and that of its layers.
        layers: how many layers share the decision, each with weights of its own.
        is_outer: it reads the image or writes it.
        reads_image: it reads the image as it is, which is never negative: its activations need no
            sign, whatever the rectifier.
    """

    name: str
    group: str
    in_channels: int
    out_channels: int
    resolution: int = 1
    layers: int = 1
    is_outer: bool = False
    reads_image: bool = False


class _SkeletonConfig(Config):
    """What both skeletons have in common."""

    scale: Literal[2, 3, 4] = 4
    adq: bool = True  # deviation for quantization: normalization inside every residual branch
    bias: bool = False  # deviation: small budgets learn faster with biases
    bicubic_skip: bool = False  # deviation: the untrained network is nearly bicubic interpolation
    careful_start: bool = False  # deviation: small last weights of every branch at the start
    activation: Activation = "hwgq"  # quantizer of activations
    rectifier: Rectifier = "relu"  # before every convolution

    def slots(self) -> tuple[Slot, ...]:
        """Return all decisions, in the order of the network."""
        raise NotImplementedError


class BasicSkeleton(_SkeletonConfig):
    """Head, cells of a body and a parallel skip, upsampling, and a tail on the large image."""

    kind: Literal["basic"] = "basic"
    channels: PositiveInt = 36
    cells: PositiveInt = 3  # all of one architecture, each with weights of its own
    head_layers: PositiveInt = 2
    body_layers: PositiveInt = 2
    skip_layers: PositiveInt = 1
    tail_layers: NonNegativeInt = 2

    def slots(self) -> tuple[Slot, ...]:
        """Return head, body, skip, upsampling and tail decisions."""
        c, rgb, n, s = self.channels, IMAGE_CHANNELS, self.tail_layers, self.scale
        tail_widths = [rgb, *[c] * (n - 1), rgb]
        return (
            *(
                Slot(
                    f"head_{i}",
                    "head",
                    c if i else rgb,
                    c,
                    is_outer=i == 0,
                    reads_image=i == 0,
                )
                for i in range(self.head_layers)
            ),
            *(Slot(f"body_{i}", "body", c, c, layers=self.cells) for i in range(self.body_layers)),
            *(Slot(f"skip_{i}", "skip", c, c, layers=self.cells) for i in range(self.skip_layers)),
            Slot("upsample", "upsample", c, rgb * s * s, is_outer=n == 0),
            *(
                Slot(
                    f"tail_{i}",
                    "tail",
                    tail_widths[i],
                    tail_widths[i + 1],
                    resolution=s,
                    is_outer=i == n - 1,
                )
                for i in range(n)
            ),
        )


class RFDNSkeleton(_SkeletonConfig):
    """Cells of residual feature distillation: body layers, of whose inputs a share is kept.

    Fixed 1x1 and 3x3 convolutions and the attention of each cell run at 8 bits; they count in the
    final network's cost, not in that of the search.
    """

    kind: Literal["rfdn"] = "rfdn"
    channels: PositiveInt = 48
    cells: PositiveInt = 4
    distilled: PositiveInt = 3  # layers that keep a part; one more body layer ends the cell
    tail_layers: Literal[0, 1] = 1

    @model_validator(mode="after")
    def _channels_divide(self) -> "RFDNSkeleton":
        if self.channels % (4 * IMAGE_CHANNELS):
            raise ValueError(
                f"channels must be a multiple of 12 (the image is repeated, the attention has a "
                f"quarter), got {self.channels}"
            )
        return self

    def slots(self) -> tuple[Slot, ...]:
        """Return the decisions of every cell, then upsampling and tail."""
        c, rgb, n = self.channels, IMAGE_CHANNELS, self.distilled
        slots = []
        for cell in range(self.cells):
            for i in range(n):
                outer = cell == 0 and i == 0
                slots += [
                    Slot(f"cell_{cell}_skip_{i}", "skip", c, c // 2, is_outer=outer),
                    Slot(f"cell_{cell}_body_{i}", "body", c, c, is_outer=outer),
                ]
            slots.append(Slot(f"cell_{cell}_body_{n}", "body", c, c // 2))
        slots.append(
            Slot("upsample", "upsample", c, rgb * self.scale**2, is_outer=not self.tail_layers)
        )
        if self.tail_layers:
            slots.append(Slot("tail_0", "tail", rgb, rgb, resolution=self.scale, is_outer=True))
        return tuple(slots)


Skeleton = Annotated[BasicSkeleton | RFDNSkeleton, Field(discriminator="kind")]

PUBLISHED_OPERATIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "basic": {
        "head": ("simple_3x3", "simple_5x5", "simple_3x3_grouped_3", "simple_5x5_grouped_3"),
        "body": ("conv_5x1_1x5", "conv_3x1_1x3", "simple_3x3", "simple_5x5"),
        "skip": ("simple_1x1", "simple_3x3", "simple_5x5"),
        "upsample": ("simple_5x5_grouped_3", "simple_3x3_grouped_3", "simple_3x3", "simple_5x5"),
        "tail": (
            "simple_1x1",
            "simple_3x3",
            "simple_5x5",
            "simple_5x5_grouped_3",
            "simple_3x3_grouped_3",
        ),
    },
    "rfdn": {
        group: (
            *(f"simple_{k}x{k}" for k in (1, 3, 5)),
            *(f"growth1_{k}x{k}" for k in (1, 3, 5)),
            *(f"simple_{k}x{k}_grouped_2" for k in (1, 3, 5) if group != "tail"),
        )
        for group in ("body", "skip", "upsample", "tail")
    },
}


class SpaceConfig(Config):
    """A search space: a skeleton, the operations of each group of layers, and the bits."""

    skeleton: Skeleton
    operations: dict[str, Operations] | None = None  # group -> names; null: the published lists
    bits: Annotated[tuple[int, ...], Field(min_length=1)] = (8, 4)
    io_bits: Literal["searched"] | int = "searched"  # of what reads or writes the image

    @model_validator(mode="after")
    def _candidates_exist(self) -> "SpaceConfig":
        _refuse_unknown_bits((*self.bits, *self.outer_bits))
        try:
            for name, options in self.candidates().items():
                _refuse_repetition(name, options)
            for slot in self.skeleton.slots():
                for operation in self.lists[slot.group]:
                    layer_chain(self.skeleton, slot, operation)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def lists(self) -> Mapping[str, tuple[str, ...]]:
        """Group -> names of its operations."""
        published = PUBLISHED_OPERATIONS[self.skeleton.kind]
        lists = published if self.operations is None else self.operations
        needed = {slot.group for slot in self.skeleton.slots()}
        if needed - lists.keys() or lists.keys() - published.keys():
            raise ConfigError(
                f"operations must list the groups {', '.join(sorted(needed))}, "
                f"got {', '.join(sorted(lists))}"
            )
        return lists

    @property
    def outer_bits(self) -> tuple[int, ...]:
        """The bits of the layers that read or write the image."""
        return self.bits if self.io_bits == "searched" else (self.io_bits,)

    def slot_bits(self, slot: Slot) -> tuple[int, ...]:
        """Return the bits among which a decision chooses."""
        return self.outer_bits if slot.is_outer else self.bits

    def candidates(self) -> dict[str, tuple[str, ...]]:
        """Return decision -> candidates `operation@bits`, operation by operation."""
        return {
            slot.name: tuple(
                candidate(operation, bits)
                for operation in self.lists[slot.group]
                for bits in self.slot_bits(slot)
            )
            for slot in self.skeleton.slots()
        }

    def costs(self, size: tuple[int, int], kind: CostKind = "bitops") -> dict[str, tuple[int, ...]]:
        """Return decision -> cost of each candidate on an LR image, all its layers together.

        Args:
            size: height and width of the LR image.
            kind: `bitops` (MACs x weight bits x activation bits, as in every table) or `linear`
                (2 x MACs x bits, as in the published search).
        """
        return {
            slot.name: tuple(
                candidate_cost(self.skeleton, slot, operation, bits, size, kind)
                for operation in self.lists[slot.group]
                for bits in self.slot_bits(slot)
            )
            for slot in self.skeleton.slots()
        }

    def check(self, genotype: Genotype) -> None:
        """Raise `ConfigError` if the genotype is none of this space, with the nearest name."""
        genotype.check(self.skeleton.kind, self.candidates())

    def random_genotype(self, seed: int) -> Genotype:
        """Return a genotype drawn uniformly from the space."""
        draw = random.Random(seed)
        choices = {name: draw.choice(options) for name, options in self.candidates().items()}
        return Genotype(self.skeleton.kind, choices)


class FixedSpace(Config):
    """The bits of a published network: its operations are what they are, one decision each."""

    model: Literal["espcn", "rfdn", "srresnet"]
    bicubic_skip: bool = False  # of ESPCN
    bits: Annotated[tuple[int, ...], Field(min_length=1)] = (8, 4)

    @model_validator(mode="after")
    def _bits_are_known(self) -> "FixedSpace":
        _refuse_unknown_bits(self.bits)
        _refuse_repetition("bits", self.bits)
        return self


def _refuse_unknown_bits(bits: Iterable[int]) -> None:
    unknown = sorted(set(bits) - set(BITS))
    if unknown:
        raise ValueError(f"bits must be of {BITS}, got {unknown}")


def _refuse_repetition(where: str, options: Sequence[object]) -> None:
    if len(set(options)) < len(options):
        raise ValueError(f"{where} has a candidate twice: {', '.join(map(str, options))}")


def rectifier_of(skeleton: BasicSkeleton | RFDNSkeleton, slot: Slot) -> Rectifier:
    """Return the rectifier in front of a decision's layers; for the image one that does nothing."""
    return "relu" if slot.reads_image else skeleton.rectifier


def candidate(operation: str, bits: int) -> str:
    """Return the name of a candidate: `simple_3x3@8`."""
    return f"{operation}@{bits}"


def parse_candidate(name: str) -> tuple[str, int]:
    """Return operation and bits of a candidate's name.

    Raises:
        ConfigError: if it is not `operation@bits`, with bits this package knows.
    """
    operation, at, bits = name.partition("@")
    if not at or bits not in {str(b) for b in BITS}:
        raise ConfigError(
            f"a candidate reads operation@bits with bits of {BITS}, e.g. simple_3x3@8; got {name!r}"
        )
    return operation, int(bits)


def layer_chain(skeleton: BasicSkeleton | RFDNSkeleton, slot: Slot, operation: str) -> Chain:
    """Return the convolutions of an operation in one layer of a decision."""
    try:
        return convolutions(operation, slot.in_channels, slot.out_channels, skeleton.channels)
    except ConfigError as error:
        raise ConfigError(f"{slot.name}: {error}") from error


def candidate_cost(
    skeleton: BasicSkeleton | RFDNSkeleton,
    slot: Slot,
    operation: str,
    bits: int,
    size: tuple[int, int],
    kind: CostKind = "bitops",
) -> int:
    """Return what a candidate costs in all layers of a decision; see `SpaceConfig.costs`."""
    pixels = size[0] * size[1] * slot.resolution**2
    chain = layer_chain(skeleton, slot, operation)
    macs = slot.layers * pixels * sum(conv.macs_per_pixel for conv in chain)
    return macs * bits * bits if kind == "bitops" else 2 * macs * bits


def with_bits(genotype: Genotype, bits: int) -> Genotype:
    """Return the same operations, all at `bits`."""
    choices = {
        name: candidate(parse_candidate(chosen)[0], bits)
        for name, chosen in genotype.choices.items()
    }
    return Genotype(genotype.space, choices)


def genotype_cost(
    skeleton: BasicSkeleton | RFDNSkeleton,
    genotype: Genotype,
    size: tuple[int, int],
    kind: CostKind = "bitops",
) -> int:
    """Return the cost of the searched layers of a genotype on an LR image of `size`."""
    return sum(
        candidate_cost(skeleton, slot, *parse_candidate(genotype.choices[slot.name]), size, kind)
        for slot in skeleton.slots()
    )
