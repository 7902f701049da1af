"""One layer of the supernet: all candidate operations at all precisions, weighted.

`PerOperationLayer` runs every operation by itself, as the published supernet does: the definition.
`MergedLayer` computes the same with fewer convolutions: kernels of operations that read the same
features are padded, expanded to dense ones and added before convolving, chains are stacked. With
noise, a merged layer draws the noise of its input once, with the marginal over bits, where the
definition draws it for every operation with the bits of that operation.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.methods.quantnas.mixing import MixedActivation, MixedWeight, Mixing, reading_kernel
from vismodels.methods.quantnas.operations import SKIP_CONNECT, Chain, Conv


class MixedConv(nn.Module):
    """Activation, weight and bias of one convolution at several precisions.

    Args:
        conv: its shape.
        bits: the precisions.
        mixing: how they are blended.
        bias: whether it has a bias.
        reads_input: the layer's own input quantizer serves it, so that it needs none.
    """

    def __init__(
        self, conv: Conv, bits: Sequence[int], mixing: Mixing, bias: bool, reads_input: bool
    ) -> None:
        super().__init__()
        self.conv = conv
        self.activation = None if reads_input else MixedActivation(bits, mixing)
        self.mixed_weight = MixedWeight(conv.weight_shape, bits, mixing)
        self.bias = nn.Parameter(torch.zeros(conv.out_channels)) if bias else None
        if conv.groups > 1:
            self.register_buffer("block", _block_mask(conv), persistent=False)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return the convolution of the blended `x` with the blended weight."""
        if self.activation is not None:
            x = self.activation(x, weights)
        height, width = self.conv.kernel
        padding = (height // 2, width // 2)
        weight = self.mixed_weight(weights)
        return F.conv2d(x, weight, self.bias, padding=padding, groups=self.conv.groups)

    def dense(self, weights: Tensor) -> Tensor:
        """Return the blended weight without groups: zeros between channels of different groups.

        At the layer's input it fits what the layer's own quantizer gives.
        """
        weight: Tensor = self.mixed_weight(weights)
        if self.conv.groups > 1:
            weight = weight.repeat(1, self.conv.groups, 1, 1) * self.get_buffer("block")
        if self.activation is None:
            weight = reading_kernel(weight, weights, self.mixed_weight.mixing)
        return weight


class MixedLayer(nn.Module):
    """Storage that both forms share.

    Args:
        chains: operation -> its convolutions.
        out_channels: of the layer.
        bits: the precisions of every operation.
        mixing: how they are blended.
        bias: whether convolutions have biases.
    """

    shares_input: bool  # whether one quantizer serves all operations that read the input

    def __init__(
        self,
        chains: Mapping[str, Chain],
        out_channels: int,
        bits: Sequence[int],
        mixing: Mixing,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.names, self.bits, self.out_channels = tuple(chains), tuple(bits), out_channels
        self.operations = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    MixedConv(conv, bits, mixing, bias, self.shares_input and position == 0)
                    for position, conv in enumerate(chain)
                )
                for name, chain in chains.items()
            }
        )

    def chain(self, name: str) -> list[MixedConv]:
        """Return the convolutions of an operation."""
        return [conv for conv in self.operations[name].children() if isinstance(conv, MixedConv)]

    def last_convolutions(self) -> list[MixedConv]:
        """Return the convolution that ends each operation."""
        return [self.chain(name)[-1] for name in self.names if self.chain(name)]

    def per_operation(self, weights: Tensor) -> dict[str, Tensor]:
        """Return operation -> the weights of its precisions, (bits,), of (operations * bits,)."""
        return dict(zip(self.names, weights.view(-1, len(self.bits)), strict=True))

    def total(self, results: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return the sum of the results; zeros if `zero` is the only candidate."""
        if not results:
            return x.new_zeros(x.shape[0], self.out_channels, *x.shape[2:])
        total = results[0]
        for result in results[1:]:
            total = total + result
        return total


class PerOperationLayer(MixedLayer):
    """sum over operations of S_o operation_o(x), with S_o the sum of its weights over bits."""

    shares_input = False

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return (B, out channels, H, W).

        Args:
            x: (B, in channels, H, W).
            weights: (operations * bits,), operation by operation, summing to 1.
        """
        results = []
        for name, of_operation in self.per_operation(weights).items():
            y, chain = x, self.chain(name)
            for conv in chain:
                y = conv(y, of_operation)
            if chain or name == SKIP_CONNECT:
                results.append(of_operation.sum() * y)
        return self.total(results, x)


class MergedLayer(MixedLayer):
    """The sum of `PerOperationLayer`, merged before convolving."""

    shares_input = True

    def __init__(
        self,
        chains: Mapping[str, Chain],
        out_channels: int,
        bits: Sequence[int],
        mixing: Mixing,
        bias: bool = False,
    ) -> None:
        super().__init__(chains, out_channels, bits, mixing, bias)
        self.input = MixedActivation(bits, mixing)
        ordered = sorted(chains, key=lambda name: _kind(chains[name]))
        groups = groupby(ordered, key=lambda name: _kind(chains[name]))
        self.groups = [(kind[0], list(names)) for kind, names in groups if kind[0]]

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return (B, out channels, H, W); arguments as for `PerOperationLayer`."""
        shares = self.per_operation(weights)
        results = [shares[name].sum() * x for name in self.names if name == SKIP_CONNECT]
        if self.groups:
            reading = [shares[name] for _, names in self.groups for name in names]
            features = self.input.for_all(x, torch.stack(reading).sum(dim=0))
        for length, names in self.groups:
            chains = [(self.chain(name), shares[name]) for name in names]
            merge = _merged_convolutions if length == 1 else _stacked_chains
            results.append(merge(chains, features))
        return self.total(results, x)


Weighted = tuple[list[MixedConv], Tensor]


def _merged_convolutions(chains: Sequence[Weighted], features: Tensor) -> Tensor:
    """Return the weighted sum of operations that are one convolution each, by one convolution."""
    scales = [weights.sum() for _, weights in chains]
    kernels = _padded([conv[0].dense(weights) for conv, weights in chains])
    kernel = torch.stack([scale * k for scale, k in zip(scales, kernels, strict=True)]).sum(dim=0)
    bias = _weighted_bias([conv[0] for conv, _ in chains], scales)
    return _convolve(features, kernel, bias)


def _stacked_chains(chains: Sequence[Weighted], features: Tensor) -> Tensor:
    """Return the weighted sum of chains of equal length: their ends run as one convolution each."""
    first = [conv[0] for conv, _ in chains]
    kernels = _padded(
        [conv.dense(weights) for conv, (_, weights) in zip(first, chains, strict=True)]
    )
    biases: list[Tensor] = [conv.bias for conv in first if conv.bias is not None]
    inner = _convolve(features, torch.cat(kernels), torch.cat(biases) if biases else None)
    widths = [conv.conv.out_channels for conv in first]
    ends = []
    for (conv, weights), y in zip(chains, torch.split(inner, widths, dim=1), strict=True):
        for middle in conv[1:-1]:
            y = middle(y, weights)
        activation = conv[-1].activation
        assert activation is not None  # only the first of a chain reads the layer's input
        ends.append(activation(y, weights))
    scales = [weights.sum() for _, weights in chains]
    last = _padded([conv[-1].dense(weights) for conv, weights in chains])
    kernel = torch.cat([scale * k for scale, k in zip(scales, last, strict=True)], dim=1)
    return _convolve(
        torch.cat(ends, dim=1), kernel, _weighted_bias([conv[-1] for conv, _ in chains], scales)
    )


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, kernel, bias, padding=(kernel.shape[2] // 2, kernel.shape[3] // 2))


def _weighted_bias(convolutions: Sequence[MixedConv], scales: Sequence[Tensor]) -> Tensor | None:
    parts = [s * c.bias for c, s in zip(convolutions, scales, strict=True) if c.bias is not None]
    return torch.stack(parts).sum(dim=0) if parts else None


def _padded(kernels: Sequence[Tensor]) -> list[Tensor]:
    """Return the kernels with zeros around them, all of the largest height and width."""
    height = max(kernel.shape[2] for kernel in kernels)
    width = max(kernel.shape[3] for kernel in kernels)
    padded = []
    for kernel in kernels:
        rows, columns = (height - kernel.shape[2]) // 2, (width - kernel.shape[3]) // 2
        padded.append(F.pad(kernel, (columns, columns, rows, rows)))
    return padded


def _kind(chain: Chain) -> tuple[int, tuple[bool, ...]]:
    """Return what chains must share to be stacked: their length, and which kernels are square.

    Stacking a column with a square kernel would be right too, but pad much of it with zeros.
    """
    return len(chain), tuple(conv.kernel[0] == conv.kernel[1] for conv in chain)


def _block_mask(conv: Conv) -> Tensor:
    """Return (out, in, 1, 1): 1 where two channels are of the same group."""
    per_output, per_input = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    outputs = torch.arange(conv.out_channels) // per_output
    inputs = torch.arange(conv.in_channels) // per_input
    return (outputs[:, None] == inputs[None]).float()[:, :, None, None]
