"""Parameters, multiply-accumulates, activations and bit operations of a model on a given input.

Operations are counted where they run (PyTorch's dispatcher), not per module type: a functional
convolution on merged kernels or an attention product counts like a layer.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, register_flop_formula

from vismodels.nn.modes import evaluation_mode

BitsOf = Callable[[str, nn.Module], tuple[int, int]]

FULL_PRECISION = 32  # bits of an unquantized weight or activation

# Multiplications without a formula: refused, because zero would be a wrong number.
_UNCOUNTED = {torch.ops.aten._cudnn_rnn, torch.ops.aten._trilinear}


@register_flop_formula(torch.ops.aten.mkldnn_rnn_layer)
def _lstm_flops(
    sequence: Sequence[int], to_gates: Sequence[int], from_state: Sequence[int], *_: Any, **__: Any
) -> int:
    """Return the FLOPs of one LSTM layer in one direction, for torch's own counter too.

    Args:
        sequence: (T, B, C), shape of the input.
        to_gates: (4 * hidden, C), shape of the weights.
        from_state: (4 * hidden, hidden), shape of the recurrent weights.
    """
    return 2 * prod(sequence[:2]) * (prod(to_gates) + prod(from_state))


@dataclass(frozen=True)
class LayerCost:
    """Cost of one module, without its children.

    Args:
        name: as in `named_modules()`; empty for the model itself.
        kind: class name of the module.
        parameters: numbers it owns; one shared with an earlier module counts there only.
        macs: multiply-accumulates it executed, of all calls; biases are free.
        activations: elements that convolutions and matrix products put out.
        bitops: MACs x weight bits x activation bits.
    """

    name: str
    kind: str
    parameters: int
    macs: int
    activations: int
    bitops: int


@dataclass(frozen=True)
class Cost:
    """Cost of a model on one input: the layers that own parameters or multiply, and their sums."""

    layers: tuple[LayerCost, ...]

    @property
    def parameters(self) -> int:
        """Trainable and frozen numbers, without buffers; shared ones count once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products."""
        return sum(layer.macs for layer in self.layers)

    @property
    def activations(self) -> int:
        """Elements that convolutions and matrix products put out."""
        return sum(layer.activations for layer in self.layers)

    @property
    def bitops(self) -> int:
        """Sum over layers of MACs x weight bits x activation bits."""
        return sum(layer.bitops for layer in self.layers)


def count(model: nn.Module, *inputs: Any, bits_of: BitsOf | None = None) -> Cost:
    """Return what one evaluation of `model(*inputs)` costs.

    The model runs once, without gradients and in evaluation mode; modes are restored. The batch of
    the input counts: give one item for the cost per item. Each operation belongs to the innermost
    module that runs it. Attention is counted as its two matrix products, whatever kernel the
    device would use; a masked product counts in full. Interpolation, normalization, activation
    functions and additions are free, and so is the backward pass.

    Args:
        model: any module that runs eagerly.
        inputs: positional arguments of the model.
        bits_of: (name, module) -> (weight bits, activation bits) of a module that multiplies;
            32 and 32 everywhere if None.

    Raises:
        NotImplementedError: if the model multiplies in a kernel without a formula (LSTM on CUDA).
        ValueError: if `bits_of` returns a number of bits below 1.
    """
    names = {module: name for name, module in model.named_modules()}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(_separate_products())
        running = stack.enter_context(_running_modules(names))
        counter = stack.enter_context(_OperationCounter(running))
        model(*inputs)
    parameters = _owned_parameters(model)
    layers = []
    for module, name in names.items():
        macs, bitops = counter.macs[name], 0
        if macs:
            bitops = macs * prod(_bits(name, module, bits_of))
        elif not parameters[name]:
            continue
        kind, activations = type(module).__name__, counter.activations[name]
        layers.append(LayerCost(name, kind, parameters[name], macs, activations, bitops))
    return Cost(tuple(layers))


def conv_macs(
    in_channels: int,
    out_channels: int,
    kernel_size: Sequence[int],
    output_size: Sequence[int],
    groups: int = 1,
) -> int:
    """Return the multiply-accumulates of one convolution on one item, as `count` would count them.

    For a search, which prices operations it does not run. A linear layer is the case of empty
    `kernel_size` and `output_size`; a transposed convolution takes its input's size instead.

    Args:
        in_channels: channels of the input, a multiple of `groups`.
        out_channels: channels of the output, a multiple of `groups`.
        kernel_size: (H, W) or (D, H, W) of the kernel.
        output_size: (H, W) or (D, H, W) of the output.
        groups: number of independent channel groups.

    Raises:
        ValueError: if channels cannot be split into `groups`.
    """
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{in_channels} input and {out_channels} output channels must be multiples of "
            f"groups={groups}"
        )
    return in_channels // groups * out_channels * prod(kernel_size) * prod(output_size)


def _bits(name: str, module: nn.Module, bits_of: BitsOf | None) -> tuple[int, int]:
    if bits_of is None:
        return FULL_PRECISION, FULL_PRECISION
    weight_bits, activation_bits = bits_of(name, module)
    if min(weight_bits, activation_bits) < 1:
        raise ValueError(
            f"bits_of({name!r}) must return weight and activation bits of at least 1, "
            f"got {(weight_bits, activation_bits)}"
        )
    return weight_bits, activation_bits


def _owned_parameters(model: nn.Module) -> Counter[str]:
    """Return module name -> parameters; `named_parameters` lists a shared one once."""
    owned: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        owned[name.rpartition(".")[0]] += parameter.numel()
    return owned


class _OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up every convolution and matrix product under the name of the running module."""

    def __init__(self, running: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.running = running
        self.macs: Counter[str] = Counter()
        self.activations: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operation = func._overloadpacket
        if operation in _UNCOUNTED:
            raise NotImplementedError(f"{operation} ({self.running[-1]}) has no formula for MACs")
        formula = flop_registry.get(operation)
        if formula is None:
            with self:  # composite operations arrive whole in inference mode
                result = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if result is NotImplemented else result
        result = func(*args, **kwargs)
        output = result if isinstance(result, Tensor) else result[0]
        self.macs[self.running[-1]] += formula(*args, **kwargs, out_val=result) // 2
        self.activations[self.running[-1]] += output.numel()
        return result


@contextmanager
def _running_modules(names: Mapping[nn.Module, str]) -> Iterator[Sequence[str]]:
    """Yield a live stack of the names of the running modules, innermost last.

    A stack, where `torch.utils.module_tracker` keeps a set of names: it stays right when a module
    runs inside one that is not its parent, or inside itself. A module that `names` does not hold
    goes by the name of its caller.
    """
    stack = [""]

    def enter(module: nn.Module, args: Any) -> None:
        stack.append(names.get(module, stack[-1]))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        stack.pop()

    with (
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    ):
        yield stack


@contextmanager
def _separate_products() -> Iterator[None]:
    """Run attention as separate matrix products: the fused kernels on CPU have no formula."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
