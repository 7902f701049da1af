"""The candidate operations by name, as the chains of convolutions that they are. Torch-free.

QuantNAS (Shvetsov et al., arXiv 2208.14839). The published code builds some operations otherwise
than their names say (the kernel of DWS is ignored, `zero` cannot be built); here names hold. Every
convolution has stride 1, "same" zero padding and dilation 1, behind its activation quantizer.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vismodels.config import ConfigError, suggestion

SKIP_CONNECT = "skip_connect"
ZERO = "zero"


@dataclass(frozen=True)
class Conv:
    """The shape of one convolution.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: height and width.
        groups: number of independent channel groups.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    groups: int = 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(out channels, in channels of a group, height, width)."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel)

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-accumulates for one output pixel, which is also the number of weights."""
        out_channels, in_channels, height, width = self.weight_shape
        return out_channels * in_channels * height * width


Chain = tuple[Conv, ...]
Build = Callable[[int, int, int], Chain]  # input, output, and inner channels


def _simple(k: int, groups: int | None) -> Build:
    """One convolution; None stands for one group an input channel."""
    return lambda i, o, c: (Conv(i, o, (k, k), i if groups is None else groups),)


def _separable(k: int) -> Build:
    return lambda i, o, c: (Conv(i, c, (k, 1)), Conv(c, o, (1, k)))


def _growth(k: int, factor: int) -> Build:
    return lambda i, o, c: (Conv(i, factor * c, (k, k)), Conv(factor * c, o, (k, k)))


def _bottleneck(k: int, r: int, groups: int) -> Build:
    def build(i: int, o: int, c: int) -> Chain:
        if c % r:
            raise ConfigError(f"{c} channels cannot be divided by the bottleneck's factor {r}")
        kernel = (k, k)
        return (
            Conv(i, c // r, kernel, groups),
            Conv(c // r, c // r, kernel, groups),
            Conv(c // r, o, kernel, groups),
        )

    return build


def _depthwise_separable(k: int) -> Build:
    return lambda i, o, c: (Conv(i, 4 * i, (1, 1)), Conv(4 * i, o, (k, k), i))


def _operations() -> dict[str, Build]:
    operations: dict[str, Build] = {}
    for k in (1, 3, 5, 7, 9):
        operations[f"simple_{k}x{k}"] = _simple(k, 1)
        operations[f"simple_{k}x{k}_grouped_2"] = _simple(k, 2)
        operations[f"simple_{k}x{k}_grouped_3"] = _simple(k, 3)
        operations[f"simple_{k}x{k}_grouped_full"] = _simple(k, None)
    for k in (3, 5):
        operations[f"conv_{k}x1_1x{k}"] = _separable(k)
        operations[f"DWS_{k}x{k}"] = _depthwise_separable(k)
        for r in (2, 4, 8):
            operations[f"decenc_{k}x{k}_{r}"] = _bottleneck(k, r, 1)
            operations[f"decenc_{k}x{k}_{r}_g3"] = _bottleneck(k, r, 3)
    for k in (1, 3, 5):
        operations[f"growth1_{k}x{k}"] = _growth(k, 1)
        operations[f"growth2_{k}x{k}"] = _growth(k, 2)
    operations[SKIP_CONNECT] = lambda i, o, c: ()
    operations[ZERO] = lambda i, o, c: ()
    return operations


OPERATIONS = _operations()


def convolutions(name: str, in_channels: int, out_channels: int, channels: int) -> Chain:
    """Return the convolutions of an operation, in order; none for `skip_connect` and `zero`.

    Args:
        name: a key of `OPERATIONS`.
        in_channels: of the layer's input.
        out_channels: of the layer's output.
        channels: width of the network, from which inner widths follow.

    Raises:
        ConfigError: for an unknown name (with the nearest one), for channels that the operation's
            groups or bottleneck cannot divide, or a skip between different widths.
    """
    if name not in OPERATIONS:
        raise ConfigError(f"no operation is called {name!r}{suggestion(name, OPERATIONS)}")
    where = f"{name} from {in_channels} to {out_channels} channels"
    if name == SKIP_CONNECT and in_channels != out_channels:
        raise ConfigError(f"{where}: an identity needs equal channels; leave it out of this layer")
    try:
        chain = OPERATIONS[name](in_channels, out_channels, channels)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    for conv in chain:
        if conv.in_channels % conv.groups or conv.out_channels % conv.groups:
            raise ConfigError(
                f"{where}: its convolution from {conv.in_channels} to {conv.out_channels} channels "
                f"cannot be divided into {conv.groups} groups; change `channels` or leave the "
                "operation out of this layer"
            )
    return chain
