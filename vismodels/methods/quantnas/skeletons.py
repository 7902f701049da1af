"""The networks around the searched layers: basic and RFDN-based, for supernet and result alike.

QuantNAS, arXiv 2208.14839. A skeleton knows where layers stand and how they are wired; what a layer
is, it is told. Branches are wrapped by ADQ. No clamp inside the network.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.methods.quantnas.adq import ADQ
from vismodels.methods.quantnas.derived_layer import DerivedLayer
from vismodels.methods.quantnas.mixed_layer import MixedLayer
from vismodels.methods.quantnas.space import (
    FIXED_BITS,
    IMAGE_CHANNELS,
    BasicSkeleton,
    RFDNSkeleton,
    Slot,
)
from vismodels.nn.rfdn import EnhancedSpatialAttention
from vismodels.nn.super_resolution import bicubic_upsample
from vismodels.quantization.layers import QuantConv2d
from vismodels.quantization.quantizers import NEGATIVE_SLOPE

MakeLayer = Callable[[Slot], nn.Module]
Run = Callable[[str, nn.Module, Tensor], Tensor]  # name of the decision, its layer, features

BRANCH_SCALE = 0.1  # of the last weights of a residual branch, at a careful start
UPSAMPLE_SCALE = 0.05  # of the last weights before the pixel shuffle, at a careful start


def plainly(name: str, layer: nn.Module, x: Tensor) -> Tensor:
    """Return `layer(x)`."""
    result: Tensor = layer(x)
    return result


class SkeletonNetwork(nn.Module):
    """From the LR image to the HR image; subclasses compute what is shuffled to pixels."""

    def __init__(self, config: BasicSkeleton | RFDNSkeleton) -> None:
        super().__init__()
        self.scale, self.bicubic_skip = config.scale, config.bicubic_skip
        self.careful_start = config.careful_start

    def forward(self, image: Tensor, run: Run = plainly) -> Tensor:
        """Return (B, 3, scale * h, scale * w), not clamped.

        Args:
            image: (B, 3, h, w), RGB in [0, 1].
            run: how a layer is called.
        """
        enlarged = self.tail_of(self.enlarge(image, run), run)
        if self.bicubic_skip:
            enlarged = enlarged + bicubic_upsample(image, self.scale)
        return enlarged

    def enlarge(self, image: Tensor, run: Run) -> Tensor:
        """Return the HR image before the tail."""
        raise NotImplementedError

    def tail_of(self, image: Tensor, run: Run) -> Tensor:
        """Return the HR image after the tail."""
        raise NotImplementedError

    def branch_ends(self) -> Iterator[nn.Module]:
        """Yield the layers whose results are added to an identity."""
        raise NotImplementedError

    upsample: nn.Module

    @torch.no_grad()
    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights of convolutions anew; biases are zero, all else is as at the start.

        A careful start draws He-normal and makes the last weights of every branch and those before
        the pixel shuffle small; otherwise weights are drawn as PyTorch does by default.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        for name, parameter in self.named_parameters():
            if parameter.ndim == 4 and name.endswith("weight"):
                if self.careful_start:
                    nn.init.kaiming_normal_(parameter, generator=generator)
                else:
                    nn.init.kaiming_uniform_(parameter, a=5**0.5, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        for module in self.modules():
            if isinstance(module, ADQ):
                module.reset_()
            elif isinstance(module, nn.PReLU):
                nn.init.constant_(module.weight, NEGATIVE_SLOPE)
        if self.careful_start:
            for layer in self.branch_ends():
                _shrink_(layer, BRANCH_SCALE)
            _shrink_(self.upsample, UPSAMPLE_SCALE)


class BasicNetwork(SkeletonNetwork):
    """Head, cells, upsampling, tail.

    Args:
        config: sizes.
        make: slot -> layer.
    """

    def __init__(self, config: BasicSkeleton, make: MakeLayer) -> None:
        super().__init__(config)
        slots = {slot.name: slot for slot in config.slots()}

        def layers(group: str, count: int) -> nn.ModuleDict:
            names = [f"{group}_{i}" for i in range(count)]
            return nn.ModuleDict({name: make(slots[name]) for name in names})

        self.head = layers("head", config.head_layers)
        self.cells = nn.ModuleList(
            BasicCell(
                ADQ(config.channels, config.adq),
                layers("body", config.body_layers),
                layers("skip", config.skip_layers),
            )
            for _ in range(config.cells)
        )
        self.body_adq = ADQ(config.channels, config.adq)
        self.upsample = make(slots["upsample"])
        self.tail = layers("tail", config.tail_layers)
        self.tail_adq = ADQ(IMAGE_CHANNELS, config.adq)

    def enlarge(self, image: Tensor, run: Run) -> Tensor:
        """Return the HR image before the tail."""

        def cells(x: Tensor) -> Tensor:
            for cell in self.cells:
                x = cell(x, run)
            return x

        features = self.body_adq(_sequence(self.head, image, run), cells)
        return F.pixel_shuffle(run("upsample", self.upsample, features), self.scale)

    def tail_of(self, image: Tensor, run: Run) -> Tensor:
        """Return the HR image after the tail.

        Without tail layers the branch is the identity, as published; without ADQ as well, there is
        nothing to do.
        """
        if not self.tail and self.tail_adq.norm is None:
            return image
        result: Tensor = self.tail_adq(image, lambda x: _sequence(self.tail, x, run))
        return result

    def branch_ends(self) -> Iterator[nn.Module]:
        """Yield the last layers of every cell's two branches and of the tail."""
        for cell in self.cells:
            assert isinstance(cell, BasicCell)
            yield from cell.ends()
        yield from list(self.tail.values())[-1:]


class BasicCell(nn.Module):
    """x + ADQ of (body layers in sequence + skip layers in sequence)."""

    def __init__(self, adq: ADQ, body: nn.ModuleDict, skip: nn.ModuleDict) -> None:
        super().__init__()
        self.adq, self.body, self.skip = adq, body, skip

    def forward(self, x: Tensor, run: Run = plainly) -> Tensor:
        """Return features like `x`, (B, C, H, W)."""
        result: Tensor = self.adq(
            x, lambda y: _sequence(self.body, y, run) + _sequence(self.skip, y, run)
        )
        return result

    def ends(self) -> list[nn.Module]:
        """Return the last layer of the body and of the skip."""
        return [list(branch.values())[-1] for branch in (self.body, self.skip)]


class RFDNNetwork(SkeletonNetwork):
    """The image repeated to all channels, distillation cells, aggregation, upsampling, tail.

    Args:
        config: sizes.
        make: slot -> layer.
    """

    def __init__(self, config: RFDNSkeleton, make: MakeLayer) -> None:
        super().__init__(config)
        slots = {slot.name: slot for slot in config.slots()}
        channels = config.channels
        self.repeats = channels // IMAGE_CHANNELS
        self.cells = nn.ModuleList(
            RFDNCell(
                config,
                nn.ModuleDict({n: make(slot) for n, slot in slots.items() if _is_of(n, cell)}),
            )
            for cell in range(config.cells)
        )
        self.fuse = _fixed_convolution(config, channels * config.cells, channels, 1)
        self.aggregate = _fixed_convolution(config, channels, channels, 3)
        self.upsample = make(slots["upsample"])
        self.tail = make(slots["tail_0"]) if config.tail_layers else None

    def enlarge(self, image: Tensor, run: Run) -> Tensor:
        """Return the HR image before the tail."""
        repeated = image.repeat(1, self.repeats, 1, 1)
        features, outputs = repeated, []
        for cell in self.cells:
            features = cell(features, run)
            outputs.append(features)
        features = self.aggregate(self.fuse(torch.cat(outputs, dim=1))) + repeated
        return F.pixel_shuffle(run("upsample", self.upsample, features), self.scale)

    def tail_of(self, image: Tensor, run: Run) -> Tensor:
        """Return the HR image after the tail, which is added to it."""
        return image if self.tail is None else image + run("tail_0", self.tail, image)

    def branch_ends(self) -> Iterator[nn.Module]:
        """Yield the aggregation and the tail."""
        yield self.aggregate
        if self.tail is not None:
            yield self.tail


class RFDNCell(nn.Module):
    """x + ADQ of a distillation block: three kept parts and a last one, fused, with attention."""

    def __init__(self, config: RFDNSkeleton, layers: nn.ModuleDict) -> None:
        super().__init__()
        channels = config.channels
        self.adq = ADQ(channels, config.adq)
        self.layers = layers
        kept = channels // 2 * (config.distilled + 1)
        self.fuse = _fixed_convolution(config, kept, channels, 1)

        def conv(i: int, o: int, kernel: int, stride: int, padding: int) -> nn.Module:
            return _fixed_convolution(config, i, o, kernel, stride, padding)

        self.attention = EnhancedSpatialAttention(channels, channels // 4, conv=conv)

    def forward(self, x: Tensor, run: Run = plainly) -> Tensor:
        """Return features like `x`, (B, C, H, W)."""
        result: Tensor = self.adq(x, lambda y: self.distill(y, run))
        return result

    def distill(self, x: Tensor, run: Run) -> Tensor:
        """Return the fused and attended parts, like `x`."""
        parts = []
        for name, layer in self.layers.items():
            if "_skip_" in name:  # comes before the body layer that reads the same features
                parts.append(run(name, layer, x))
            else:
                y = run(name, layer, x)
                x = x + y if y.shape == x.shape else y
        result: Tensor = self.attention(self.fuse(torch.cat([*parts, x], dim=1)))
        return result


def build_skeleton(config: BasicSkeleton | RFDNSkeleton, make: MakeLayer) -> SkeletonNetwork:
    """Return the network of a skeleton's configuration, with layers that `make` builds."""
    if isinstance(config, BasicSkeleton):
        return BasicNetwork(config, make)
    return RFDNNetwork(config, make)


def _is_of(name: str, cell: int) -> bool:
    return name.startswith(f"cell_{cell}_")


def _fixed_convolution(
    config: RFDNSkeleton,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    padding: int | None = None,
) -> QuantConv2d:
    return QuantConv2d(
        in_channels,
        out_channels,
        kernel,
        bits=FIXED_BITS,
        stride=stride,
        padding=padding,
        bias=config.bias,
        activation=config.activation,
        rectifier=config.rectifier,
    )


def _sequence(layers: nn.ModuleDict, x: Tensor, run: Run) -> Tensor:
    for name, layer in layers.items():
        x = run(name, layer, x)
    return x


def _shrink_(layer: nn.Module, factor: float) -> None:
    """Multiply the last weights of a layer, of each of its operations, by `factor`."""
    ends = layer.last_convolutions() if isinstance(layer, (DerivedLayer, MixedLayer)) else [layer]
    for last in ends:
        for name, parameter in last.named_parameters():
            if parameter.ndim == 4 and name.endswith("weight"):
                parameter.mul_(factor)
