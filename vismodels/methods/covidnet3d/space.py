"""The search space of CovidNet3D: sizes of the network, decisions, candidates, and what they cost.

Torch-free. He et al. (2021), "Automated Model Design and Benchmarking of 3D Deep Learning Models
for COVID-19 Detection with Chest CT Scans", AAAI, arXiv 2101.05442; sizes are those of the
authors' code and of their later EMARS (arXiv 2101.10667). Defaults are the published values.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vismodels.config import Config, ConfigError, suggestion
from vismodels.nas.genotype import Genotype

SKIP = "skip"
OPERATIONS = (
    "mbconv_3_3",
    "mbconv_3_4",
    "mbconv_3_6",
    "mbconv_5_3",
    "mbconv_5_4",
    "mbconv_7_3",
    "mbconv_7_4",
    SKIP,
)
IDENTITY, ZERO, SHORTCUT = "identity", "zero", "shortcut"  # in place of `skip`, layout `reference`
WIDTHS = {
    "S": (24, 40, 80, 96, 192, 320),
    "L": (32, 64, 128, 256, 512, 1024),
}
DIVISOR = 8
Shape = tuple[int, int, int]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Stage:
    """Blocks of equal width behind one change of width and resolution.

    Args:
        in_channels: of what comes in.
        channels: of all its blocks.
        stride: along depth, height and width, of what stands before the first block.
        blocks: names of their decisions (`stage0_block1`).
    """

    in_channels: int
    channels: int
    stride: Shape
    blocks: tuple[str, ...]


class SpaceConfig(Config):
    """Sizes of all networks of a space.

    Args:
        in_channels: of the volume.
        classes: logits.
        stem_channels: of the first convolution.
        first_channels: of the fixed block behind it.
        stem_stride: along all axes.
        widths: of the stages; `WIDTHS` holds the published plans S and L.
        width_mult: factor on stem, widths and head, which then are multiples of 8.
        blocks: of each stage, all of them searched.
        strides: of each stage, along all axes.
        depth_strides: of stem and stages along the depth alone, if it is to keep more resolution;
            None: like the other axes.
        head_channels: of the features that are pooled.
        dropout: before the classifier.
        operations: the candidates of every block.
        largest_kernel: of the first stages' candidates, by stage; empty: any. Depthwise kernels of
            7 on large maps are the dearest part of a search on a CPU.
        calibration_norm: deviation: batch normalization behind the change of width.
        calibration_pool: deviation: averages before a change of resolution, which as published
            looks at one voxel of eight.
        layout: `reference` is the space of the published code, for comparing sizes: a change of
            width before every block, no residual in the first block of a stage, and `identity`,
            `zero` and a second zero in place of `skip`.
    """

    in_channels: PositiveInt = 1
    classes: Annotated[int, Field(ge=2)] = 3
    stem_channels: PositiveInt = 32
    first_channels: PositiveInt = 16
    stem_stride: PositiveInt = 2
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = WIDTHS["S"]
    width_mult: PositiveFloat = 1.0
    blocks: tuple[PositiveInt, ...] = (4, 4, 4, 4, 4, 1)
    strides: tuple[PositiveInt, ...] = (2, 2, 2, 1, 2, 1)
    depth_strides: tuple[PositiveInt, ...] | None = None
    head_channels: PositiveInt = 1280
    dropout: Share = 0.5
    operations: Annotated[tuple[str, ...], Field(min_length=1)] = OPERATIONS
    largest_kernel: tuple[PositiveInt, ...] = ()
    calibration_norm: bool = False
    calibration_pool: bool = False
    layout: Literal["paper", "reference"] = "paper"

    @model_validator(mode="after")
    def _sizes_fit(self) -> "SpaceConfig":
        stages = len(self.widths)
        for name in ("blocks", "strides"):
            given = len(getattr(self, name))
            if given != stages:
                raise ValueError(f"widths names {stages} stages, {name} {given}; name as many")
        if self.depth_strides is not None and len(self.depth_strides) != stages + 1:
            raise ValueError(
                f"depth_strides are of the stem and {stages} stages, so {stages + 1} numbers; got "
                f"{len(self.depth_strides)}"
            )
        if len(self.largest_kernel) > stages:
            raise ValueError(f"largest_kernel names more than the {stages} stages")
        if len(set(self.operations)) < len(self.operations):
            raise ValueError(f"operations occur twice in {list(self.operations)}")
        for operation in self.operations:
            kernel_and_expansion(operation)
        for stage, candidates in enumerate(self._candidates_of_stages()):
            if not candidates:
                raise ValueError(f"largest_kernel leaves stage {stage} without an operation")
        return self

    def stages(self) -> tuple[Stage, ...]:
        """Return all stages, in the order of the network."""
        widths = [self.width(w) for w in (self.first_channels, *self.widths)]
        depths = self.strides if self.depth_strides is None else self.depth_strides[1:]
        return tuple(
            Stage(
                in_channels=widths[number],
                channels=widths[number + 1],
                stride=(depths[number], stride, stride),
                blocks=tuple(f"stage{number}_block{b}" for b in range(self.blocks[number])),
            )
            for number, stride in enumerate(self.strides)
        )

    def width(self, channels: int) -> int:
        """Return a number of channels under `width_mult`; unchanged if that is 1."""
        return channels if self.width_mult == 1 else make_divisible(channels * self.width_mult)

    def stem_strides(self) -> Shape:
        """Return the stride of the stem along depth, height and width."""
        depth = self.stem_stride if self.depth_strides is None else self.depth_strides[0]
        return (depth, self.stem_stride, self.stem_stride)

    def candidates(self) -> dict[str, tuple[str, ...]]:
        """Return decision -> its candidates, in the order of the network."""
        found: dict[str, tuple[str, ...]] = {}
        for stage, candidates in zip(self.stages(), self._candidates_of_stages(), strict=True):
            for number, block in enumerate(stage.blocks):
                if self.layout == "reference":
                    free = (IDENTITY, ZERO) if number == 0 else (IDENTITY, ZERO, SHORTCUT)
                    candidates_here = (*(c for c in candidates if c != SKIP), *free)
                else:
                    candidates_here = candidates
                found[block] = candidates_here
        return found

    def sizes(self, shape: Shape) -> dict[str, Shape]:
        """Return decision -> (depth, height, width) of its block, for an input of `shape`."""
        size = _divided(shape, self.stem_strides())
        sizes: dict[str, Shape] = {}
        for stage in self.stages():
            size = _divided(size, stage.stride)
            sizes |= dict.fromkeys(stage.blocks, size)
        return sizes

    def genotype(self, choices: Mapping[str, str]) -> Genotype:
        """Return `choices` as a genotype of this space.

        Raises:
            ConfigError: for an unknown decision or operation (with the nearest name), or a
                decision that is missing.
        """
        genotype = Genotype("covidnet3d", dict(choices))
        genotype.check("covidnet3d", self.candidates())
        return genotype

    def uniform(self, operation: str) -> Genotype:
        """Return the genotype with one operation in every block.

        Raises:
            ConfigError: for an operation that a block does not have.
        """
        return self.genotype(dict.fromkeys(self.candidates(), operation))

    def draw(self, rng: random.Random) -> Genotype:
        """Return a genotype whose decisions are drawn evenly and independently."""
        return self.genotype({d: rng.choice(c) for d, c in self.candidates().items()})

    def macs(self, genotype: Genotype, shape: Shape) -> int:
        """Return the multiply-accumulates of the searched blocks on an input of `shape`."""
        sizes = self.sizes(shape)
        channels = {block: stage.channels for stage in self.stages() for block in stage.blocks}
        return sum(
            operation_macs(choice, channels[block], sizes[block])
            for block, choice in genotype.choices.items()
        )

    def random_like(
        self,
        genotype: Genotype,
        shape: Shape,
        rng: random.Random,
        *,
        tolerance: float = 0.05,
        draws: int = 5000,
    ) -> Genotype:
        """Return another genotype that costs about the same: the first drawn that does.

        Args:
            genotype: whose multiply-accumulates are wanted; itself is not returned.
            shape: (depth, height, width) of the input at which they are counted.
            rng: source of the draws.
            tolerance: largest difference in cost, as a share.
            draws: after so many the nearest one is taken.

        Raises:
            ConfigError: if the space has no other genotype.
        """
        wanted = self.macs(genotype, shape)
        nearest, least = None, math.inf
        for _ in range(draws):
            drawn = self.draw(rng)
            distance = abs(self.macs(drawn, shape) - wanted) / max(wanted, 1)
            if drawn == genotype or distance >= least:
                continue
            nearest, least = drawn, distance
            if least <= tolerance:
                break
        if nearest is None:
            raise ConfigError("the space has a single network; there is no random one beside it")
        return nearest

    def _candidates_of_stages(self) -> list[tuple[str, ...]]:
        limits = [*self.largest_kernel, *[None] * (len(self.widths) - len(self.largest_kernel))]
        return [
            tuple(
                operation
                for operation in self.operations
                if limit is None or kernel_and_expansion(operation)[0] <= limit
            )
            for limit in limits
        ]


def kernel_and_expansion(operation: str) -> tuple[int, int]:
    """Return kernel and expansion of `mbconv_<kernel>_<expansion>`; (0, 0) for free operations.

    Raises:
        ConfigError: for another name, with the nearest one.
    """
    if operation in (SKIP, IDENTITY, ZERO, SHORTCUT):
        return 0, 0
    parts = operation.split("_")
    if len(parts) == 3 and parts[0] == "mbconv" and parts[1].isdecimal() and parts[2].isdecimal():
        kernel, expansion = int(parts[1]), int(parts[2])
        if kernel % 2 == 1 and expansion >= 1:
            return kernel, expansion
    raise ConfigError(
        f"no operation {operation!r}; it is `skip` or `mbconv_<odd kernel>_<expansion>`"
        f"{suggestion(operation, OPERATIONS)}"
    )


def operation_parameters(operation: str, channels: int) -> int:
    """Return the parameters of an operation on `channels`, normalization included.

    2 e C^2 + e C k^3 + 4 e C + 2 C; without the first convolution and its normalization if e is 1.
    """
    kernel, expansion = kernel_and_expansion(operation)
    if kernel == 0:
        return 0
    wide = expansion * channels
    expand = wide * channels + 2 * wide if expansion > 1 else 0
    return expand + wide * kernel**3 + 2 * wide + wide * channels + 2 * channels


def operation_macs(operation: str, channels: int, size: Sequence[int]) -> int:
    """Return the multiply-accumulates of an operation on (channels, *size)."""
    kernel, expansion = kernel_and_expansion(operation)
    if kernel == 0:
        return 0
    wide = expansion * channels
    expand = wide * channels if expansion > 1 else 0
    return prod(size) * (expand + wide * kernel**3 + wide * channels)


def make_divisible(value: float) -> int:
    """Return the multiple of 8 nearest to `value`, at least 8 and at least 0.9 times `value`."""
    nearest = max(DIVISOR, int(value + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest if nearest >= 0.9 * value else nearest + DIVISOR


def _divided(size: Shape, stride: Shape) -> Shape:
    depth, height, width = (-(-edge // step) for edge, step in zip(size, stride, strict=True))
    return depth, height, width
