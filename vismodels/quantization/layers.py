"""Convolutions with quantized weights and inputs, and what acts on all of them in a network."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.config import suggestion
from vismodels.quantization.quantizers import (
    ActivationKind,
    ActivationLSQ,
    Rectifier,
    StepStart,
    WeightLSQ,
    activation_quantizer,
    build_rectifier,
)
from vismodels.quantization.spec import FULL_PRECISION

Size = int | tuple[int, int]


class QuantConv2d(nn.Module):
    """Rectifier, activation quantizer, weight quantizer, convolution: a pre-activation layer.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: height and width, or one number.
        bits: of weights and activations alike.
        stride: as in `nn.Conv2d`.
        padding: as in `nn.Conv2d`; None keeps height and width of an odd kernel.
        groups: as in `nn.Conv2d`.
        bias: add a float bias.
        activation: kind of the activation quantizer; `hwgq` rectifies once more.
        rectifier: in front of it; None for a layer behind a nonlinearity of another module.

    Raises:
        ValueError: if channels cannot be split into `groups`, or a quantizer does not have `bits`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        bits: int,
        stride: Size = 1,
        padding: Size | None = None,
        groups: int = 1,
        bias: bool = False,
        activation: ActivationKind = "hwgq",
        rectifier: Rectifier | None = "relu",
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{in_channels} input and {out_channels} output channels must be multiples of "
                f"groups={groups}"
            )
        height, width = _pair(kernel_size)
        self.stride, self.groups = _pair(stride), groups
        self.padding = (height // 2, width // 2) if padding is None else _pair(padding)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, height, width))
        nn.init.kaiming_normal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_bits = self.activation_bits = bits
        self.enabled = True  # False: a float layer
        self.rectify = nn.Identity() if rectifier is None else build_rectifier(rectifier)
        self.quantize_activation = activation_quantizer(activation, bits, rectifier != "relu")
        self.quantize_weight = WeightLSQ(self.weight, bits)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out channels, H', W') of `x`, (B, in channels, H, W)."""
        x, weight = self.rectify(x), self.weight
        if self.enabled:
            x, weight = self.quantize_activation(x), self.quantize_weight(weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, groups=self.groups)


def enable_quantizers_(network: nn.Module, enabled: bool) -> None:
    """Switch the quantizers of all `QuantConv2d` layers on or off; a state dict does not tell.

    Train in floating point with them off, then switch them on and run `initialize_steps_`.
    """
    for module in network.modules():
        if isinstance(module, QuantConv2d):
            module.enabled = enabled


def bits_of(name: str, module: nn.Module) -> tuple[int, int]:
    """Return weight and activation bits of a layer, for `cost.counters.count`; else 32."""
    if isinstance(module, QuantConv2d):
        return module.weight_bits, module.activation_bits
    return FULL_PRECISION, FULL_PRECISION


@torch.no_grad()
def initialize_steps_(network: nn.Module, *inputs: Tensor, start: StepStart = "lsq") -> None:
    """Set every learned step to fit the present weights and these inputs.

    The network runs once, in evaluation mode, and every module gets its own mode back: each
    activation quantizer sees what the layers before it, quantized already, hand it; one that runs
    several times starts from the last. One that does not run, as of a layer that is switched off,
    keeps its step, and so do weight quantizers outside `QuantConv2d`.

    Args:
        network: holds `QuantConv2d` layers, or activation quantizers of its own.
        inputs: a batch, as the network takes it.
        start: where LSQ starts, or the step with the smallest squared error (`mse`).
    """
    for module in network.modules():
        if isinstance(module, QuantConv2d):
            module.quantize_weight.initialize_(module.weight, start)

    def measure(module: nn.Module, arguments: tuple[Tensor]) -> None:
        assert isinstance(module, ActivationLSQ)
        module.initialize_(arguments[0], start)

    modes = {module: module.training for module in network.modules()}
    handles = [
        module.register_forward_pre_hook(measure)
        for module in network.modules()
        if isinstance(module, ActivationLSQ)
    ]
    network.eval()
    try:
        network(*inputs)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for handle in handles:
            handle.remove()


def quantize_convolutions_(
    model: nn.Module, bits: int | Mapping[str, int], unsigned: Collection[str] = ()
) -> None:
    """Replace every `nn.Conv2d` of a network by a `QuantConv2d` with the same parameters.

    Activations keep their sign, since the network has rectifiers of its own; both quantizers are
    LSQ. Run `initialize_steps_` on a batch afterwards. Other layers stay as they are.

    Args:
        model: changed in place, or not at all if an error is raised. A convolution that it holds
            in several places stays shared.
        bits: for all convolutions, or name -> bits for each of them; a shared convolution goes by
            its first name.
        unsigned: names of convolutions whose input is never negative (an image): their activations
            need no sign, which leaves twice as many levels.

    Raises:
        ValueError: if `bits` does not name exactly the convolutions, or `model` is one itself, or
            one is of a class derived from `nn.Conv2d`, has hooks or a computed weight, is padded
            with other values than zeros, or dilated.
    """
    found = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    if "" in found:
        raise ValueError("the model is itself a convolution; put it into an nn.Sequential")
    chosen = dict.fromkeys(found, bits) if isinstance(bits, int) else dict(bits)
    for name in sorted((chosen.keys() | set(unsigned)) - found.keys()):
        raise ValueError(f"no convolution is called {name!r}{suggestion(name, found)}")
    missing = sorted(found.keys() - chosen.keys())
    if missing:
        raise ValueError(f"bits are missing for {', '.join(missing)}")
    layers: dict[nn.Module, QuantConv2d] = {
        convolution: _quantized(name, convolution, chosen[name], name in unsigned)
        for name, convolution in found.items()
    }
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in layers:
            model.set_submodule(name, layers[module])


def _quantized(name: str, convolution: nn.Conv2d, bits: int, unsigned: bool) -> QuantConv2d:
    hooks = convolution._forward_hooks or convolution._forward_pre_hooks
    computed = not isinstance(convolution.weight, nn.Parameter)  # the older weight_norm
    if type(convolution) is not nn.Conv2d or hooks or computed:
        raise ValueError(
            f"{name}: a {type(convolution).__name__} with hooks, a computed weight or a forward of "
            "its own would lose them; remove them first (e.g. parametrizations)"
        )
    if convolution.padding_mode != "zeros" or convolution.dilation != (1, 1):
        raise ValueError(f"{name}: only zero padding and dilation 1 are supported")
    if isinstance(convolution.padding, str):
        raise ValueError(f"{name}: padding {convolution.padding!r}; give it as numbers")
    layer = QuantConv2d(
        convolution.in_channels,
        convolution.out_channels,
        _pair(convolution.kernel_size),
        bits=bits,
        stride=_pair(convolution.stride),
        padding=_pair(convolution.padding),
        groups=convolution.groups,
        bias=convolution.bias is not None,
        activation="lsq",
        rectifier="relu" if unsigned else None,
    ).to(convolution.weight)
    for key, parameter in convolution.named_parameters():
        layer.register_parameter(key, parameter)
    layer.quantize_weight.initialize_(layer.weight)
    return layer.train(convolution.training)


def _pair(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
