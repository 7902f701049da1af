"""Three heads on any trunk behind one interface, and the network that carries one of them.

Multi-level (Hu et al. 2018, arXiv 1810.09488; reconstructed), softmax over the levels (what the
paper compares with) and independent sigmoids of the regions (usual today). Logits are (B, K, ...),
levels (B, ...) int64, regions (B, C - 1, ...) bool in the order WT, TC, ET for C = 4.

Windows and flips average logits. To average the activation instead mixes edema and enhancing
tumor to the level between them, a false core.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from vismodels.config import suggestion
from vismodels.data.brain_cases import LEVELS
from vismodels.methods.multilevel_activation.activation import (
    MultiLevelActivation,
    background_bias,
    cumulative_probabilities,
    widened,
)
from vismodels.methods.multilevel_activation.losses import (
    check_name,
    multilevel_loss,
    sigmoid_loss,
    softmax_loss,
    summed_probabilities,
)
from vismodels.methods.multilevel_activation.names import (
    LOSSES,
    SIGMOID_LOSSES,
    SOFTMAX_LOSSES,
    Decode,
    Loss,
    SigmoidLoss,
    SoftmaxLoss,
)
from vismodels.methods.multilevel_activation.nesting import painted_levels, region_masks

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_ONE_OUTPUT = "switch deep supervision and further outputs off"
_START = -3.0  # logit of the whole tumor before training, in every head: 4.7 %


class Head(Protocol):
    """What is made of the logits of a network, in training and after it."""

    @property
    def channels(self) -> int:
        """K, how many logits a voxel has."""

    def loss(self, logits: Tensor, levels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar, of (B, K, ...) logits and (B, ...) int64 levels.

        `weights`: (C,), positive, of the true levels.
        """

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the regions, (B, C - 1, ...) in [0, 1]."""

    def levels(self, logits: Tensor) -> Tensor:
        """Return the levels, (B, ...) int64 in 0..C-1."""

    def regions(self, logits: Tensor) -> Tensor:
        """Return the masks of the regions, (B, C - 1, ...) bool."""

    def bias(self) -> Tensor:
        """Return the biases to start with, (K,): a whole tumor of 4.7 % in every head."""


class MultiLevelHead:
    """One logit; regions are nested by construction.

    Args:
        steepness: k of the activation; a factor of the gradient.
        spacing: h of the activation.
        decode: where levels begin; see `activation.thresholds`.
        loss: which of `names.LOSSES`.
        classes: C.

    Raises:
        ValueError: for a value that the activation refuses, or an unknown loss.
    """

    channels = 1

    def __init__(
        self,
        steepness: float = 10.0,
        spacing: float = 0.5,
        decode: Decode = "activation",
        loss: Loss = "ordinal+nested_dice",
        classes: int = LEVELS,
    ) -> None:
        check_name(loss, LOSSES)
        self.activation = MultiLevelActivation(classes, steepness, spacing, decode)
        self.loss_name = loss

    def loss(self, logits: Tensor, levels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar; see `losses.multilevel_loss`."""
        return multilevel_loss(self.loss_name, logits, levels, self.activation.steps, weights)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the soft masks of the regions; their sum is the activation."""
        return cumulative_probabilities(logits, self.activation.steps)

    def levels(self, logits: Tensor) -> Tensor:
        """Return the levels, exact in every precision."""
        return self.activation.levels(_checked(logits, self.channels)).squeeze(1)

    def regions(self, logits: Tensor) -> Tensor:
        """Return the masks of the regions, each by its own threshold; nested, as these ascend."""
        return self.activation.regions(_checked(logits, self.channels))

    def bias(self) -> Tensor:
        """Return the bias to start with, (1,): 3 / k below the first step."""
        return torch.tensor([background_bias(self.activation.steps)])


class SoftmaxHead:
    """A logit for each level; the most probable one is taken, so regions are nested.

    Args:
        loss: which of `names.SOFTMAX_LOSSES`.
        classes: C.

    Raises:
        ValueError: for an unknown loss.
    """

    def __init__(
        self, loss: SoftmaxLoss = "cross_entropy+region_dice", classes: int = LEVELS
    ) -> None:
        check_name(loss, SOFTMAX_LOSSES)
        self.loss_name, self.channels = loss, classes

    def loss(self, logits: Tensor, levels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar; see `losses.softmax_loss`."""
        return softmax_loss(self.loss_name, logits, levels, self.channels, weights)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the regions: sums over their levels."""
        return summed_probabilities(_checked(logits, self.channels))

    def levels(self, logits: Tensor) -> Tensor:
        """Return the most probable levels."""
        return _checked(logits, self.channels).argmax(dim=1)

    def regions(self, logits: Tensor) -> Tensor:
        """Return the masks of the regions of the most probable levels, which cannot but nest."""
        return region_masks(self.levels(logits), self.channels)

    def bias(self) -> Tensor:
        """Return the biases to start with, (C,): the tumor's levels share 4.7 % equally."""
        biases = torch.zeros(self.channels)
        biases[0] = math.log(self.channels - 1) - _START
        return biases


class SigmoidRegionsHead:
    """A logit for each region, independent of the others: nothing keeps the masks nested.

    Args:
        loss: which of `names.SIGMOID_LOSSES`.
        classes: C, one more than there are regions.

    Raises:
        ValueError: for an unknown loss.
    """

    def __init__(self, loss: SigmoidLoss = "bce+region_dice", classes: int = LEVELS) -> None:
        check_name(loss, SIGMOID_LOSSES)
        self.loss_name, self.channels = loss, classes - 1

    def loss(self, logits: Tensor, levels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar; see `losses.sigmoid_loss`."""
        return sigmoid_loss(self.loss_name, logits, levels, self.channels + 1, weights)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the regions, which need not be nested."""
        return torch.sigmoid(widened(_checked(logits, self.channels)))

    def levels(self, logits: Tensor) -> Tensor:
        """Return the levels, painted from the outermost region to the innermost."""
        return painted_levels(self.regions(logits), dim=1)

    def regions(self, logits: Tensor) -> Tensor:
        """Return the masks of the regions as they are; `nesting` counts and repairs violations."""
        return _checked(logits, self.channels) > 0

    def bias(self) -> Tensor:
        """Return the biases to start with, (C - 1,): every region has 4.7 %."""
        return torch.full((self.channels,), _START)


class NestedSegmenter(nn.Module):
    """A segmentation network with one of the heads: `NestedSegmenter(SegResNet(...), head)`.

    A network that is still to be trained starts at background: the bias of its last convolution is
    set to `head.bias()`, its other weights stay.

    Args:
        network: returns (B, head.channels, ...) of an image, or a list or tuple of that alone;
            without deep supervision.
        head: what to make of the logits.
        output: name of the part of `network` whose last convolution makes the logits, as in
            `network.named_modules()`; empty for the last one that was added to the network.
        trained: whether the network has its weights already, as one that was loaded does: then all
            of them stay, and `output` is not asked for.

    Raises:
        ValueError: if there is no such convolution, it has no bias or another number of channels,
            or the network says that it has deep supervision; not for a trained network.
    """

    def __init__(
        self, network: nn.Module, head: Head, output: str = "", *, trained: bool = False
    ) -> None:
        super().__init__()
        self.network, self.head = network, head
        if trained:
            return
        if any(getattr(part, "deep_supervision", False) is True for part in network.modules()):
            raise ValueError(
                f"{type(network).__name__} has deep supervision, so that it returns several logits "
                f"in training; {_ONE_OUTPUT}"
            )
        bias = _output_bias(network, head.channels, output)
        with torch.no_grad():
            bias.copy_(head.bias())

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits, (B, head.channels, ...).

        Args:
            image: (B, C, ...), as the network takes it.

        Raises:
            ValueError: if the network returns anything else.
        """
        logits: object = self.network(image)
        if isinstance(logits, list | tuple) and len(logits) == 1:
            (logits,) = logits  # BasicUNetPlusPlus of MONAI
        shape = (len(image), self.head.channels, *image.shape[2:])
        if not isinstance(logits, Tensor) or logits.shape != shape:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"expected logits {shape} of the network, got {found}; {_ONE_OUTPUT}")
        return logits

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """Return the levels, (B, ...) int64, without a gradient; of the mode the network is in."""
        return self.head.levels(self(image))

    @torch.no_grad()
    def regions(self, image: Tensor) -> Tensor:
        """Return the masks of the regions, (B, C - 1, ...) bool, like `predict`."""
        return self.head.regions(self(image))


def _checked(logits: Tensor, channels: int) -> Tensor:
    """Return `logits`, or raise ValueError unless they are (B, channels, ...)."""
    if logits.ndim < 2 or logits.shape[1] != channels:
        raise ValueError(f"expected logits (B, {channels}, ...), got {tuple(logits.shape)}")
    return logits


def _output_bias(network: nn.Module, channels: int, output: str) -> Tensor:
    """Return the bias of the convolution that makes the logits."""
    try:
        part = network.get_submodule(output)
    except AttributeError:
        names = [name for name, _ in network.named_modules()]
        raise ValueError(f"no module {output!r}{suggestion(output, names)}") from None
    found = [(n, module) for n, module in part.named_modules() if isinstance(module, CONVOLUTIONS)]
    if not found:
        raise ValueError(
            f"{output or type(network).__name__} has no 2D or 3D convolution; name the module that "
            "makes the logits with output="
        )
    inner, convolution = found[-1]
    name = ".".join(filter(None, (output, inner)))
    if convolution.out_channels != channels:
        raise ValueError(
            f"the head needs {channels} channels, the last convolution {name!r} makes "
            f"{convolution.out_channels}; build the network with {channels} output channels, or "
            "name the module that makes the logits with output="
        )
    if convolution.bias is None:
        kind = type(convolution).__name__.replace("Transpose", "")
        raise ValueError(
            f"the last convolution {name!r} has no bias, so it cannot start at background; build "
            f"it with one, append one, as nn.Sequential(network, nn.{kind}({channels}, {channels}, "
            "1)), or name the module that makes the logits with output="
        )
    return convolution.bias
