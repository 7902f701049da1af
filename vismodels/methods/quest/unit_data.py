"""What enters a unit of a network, and what leaves it, over a calibration set.

The network runs no further than the unit. Inputs are kept on the CPU as calls, the large ones in a
file: the unit alone can be run again with them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.quantize import activation_quantizers
from vismodels.methods.quest.sample_store import SampleStore
from vismodels.methods.quest.time_groups import time_groups_of
from vismodels.nn.modes import evaluation_mode


class _Reached(Exception):
    """Raised where a network need not run further."""


@dataclass(frozen=True)
class Calls:
    """Calls of a module, sample by sample.

    Args:
        leaves: what its arguments hold; tensors with a first axis of `count` samples on the CPU.
        structure: of the arguments.
        count: samples.
    """

    leaves: tuple[Any, ...]
    structure: TreeSpec
    count: int

    def __len__(self) -> int:
        return self.count

    def run(self, module: nn.Module, places: Tensor) -> Tensor:
        """Return what a module puts out for the samples at these places, (n,)."""
        device = next(module.parameters()).device
        leaves = [
            leaf[places].to(device) if _has_samples(leaf, self.count) else leaf
            for leaf in self.leaves
        ]
        args, kwargs = tree_unflatten(leaves, self.structure)
        return output_tensor(module(*args, **kwargs))


@torch.no_grad()
def calls_of(
    model: nn.Module, unit: str, calibration: CalibrationSet, batch_size: int = 32
) -> Calls:
    """Return the calls of a unit; if the network calls it several times at once, the first ones."""
    kept: list[Any] = []
    structures: list[TreeSpec] = []
    first = min(len(calibration), batch_size)

    def keep(leaf: Any) -> Any:
        if _has_samples(leaf, first):
            return SampleStore(len(calibration))
        return leaf.cpu() if isinstance(leaf, Tensor) else leaf

    def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
        leaves, structure = tree_flatten((args, kwargs))
        if not structures:
            structures.append(structure)
            kept.extend(map(keep, leaves))
        for store, leaf in zip(kept, leaves, strict=True):
            if isinstance(store, SampleStore):
                store.add(leaf)
        raise _Reached

    handle = model.get_submodule(unit).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        _run(model, calibration, batch_size)
    finally:
        handle.remove()
    leaves = tuple(each.values if isinstance(each, SampleStore) else each for each in kept)
    return Calls(leaves, structures[0], len(calibration))


@torch.no_grad()
def outputs_of(
    model: nn.Module, unit: str, calibration: CalibrationSet, batch_size: int = 32
) -> Tensor:
    """Return what a unit puts out, (N, ...), on the CPU."""
    outputs = SampleStore(len(calibration))
    watch_outputs(model, unit, [unit], calibration, batch_size, lambda _, y: outputs.add(y))
    return outputs.values


@torch.no_grad()
def watch_outputs(
    model: nn.Module,
    unit: str,
    names: Sequence[str],
    calibration: CalibrationSet,
    batch_size: int,
    take: Callable[[str, Tensor], None],
) -> None:
    """Hand over the outputs of modules inside a unit, batch after batch, as they run.

    Args:
        model: runs no further than the unit.
        unit: its name.
        names: of modules inside it, or itself; a module that runs twice is handed over twice.
        calibration: inputs of the network.
        batch_size: samples in a call.
        take: called with name and output.
    """

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, args, output: take(name, output_tensor(output))

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        raise _Reached

    with ExitStack() as handles:
        for name in names:
            module = model.get_submodule(name)
            handles.enter_context(module.register_forward_hook(watch(name)))
        handles.enter_context(model.get_submodule(unit).register_forward_hook(stop))
        _run(model, calibration, batch_size)


@torch.no_grad()
def layer_inputs(
    model: nn.Module, unit: str, layer: str, calls: Calls, timesteps: Tensor, batch_size: int = 32
) -> Iterator[Tensor]:
    """Yield what enters a layer while its unit runs alone, batch after batch.

    Args:
        model: quantized.
        unit: name of the unit.
        layer: name of the layer.
        calls: of the unit.
        timesteps: of the samples, (N,), by which time groups are chosen.
        batch_size: samples in a call.
    """
    module, entered = model.get_submodule(unit), []

    def stop(_: nn.Module, args: tuple[Any, ...]) -> None:
        entered.append(args[0])
        raise _Reached

    handle = model.get_submodule(layer).register_forward_pre_hook(stop)
    try:
        for places in torch.split(torch.arange(len(calls)), batch_size):
            choose_groups_(model, timesteps[places])
            try:
                calls.run(module, places)
            except _Reached:
                yield entered.pop()
    finally:
        handle.remove()


def choose_groups_(model: nn.Module, timesteps: Tensor) -> None:
    """Have all activation quantizers use the groups of these samples, for a unit run alone."""
    state = time_groups_of(model)
    if state.settings.time_groups > 1:
        groups = state.groups_of(timesteps)
        for quantizer in activation_quantizers(model).values():
            quantizer.group = groups


def output_tensor(output: Any) -> Tensor:
    """Return the tensor that a block or a denoiser of diffusers puts out, however it is wrapped."""
    if isinstance(output, Tensor):
        return output
    first: Tensor = output[0] if isinstance(output, tuple) else output.sample
    return first


def _run(model: nn.Module, calibration: CalibrationSet, batch_size: int) -> None:
    with evaluation_mode(model):
        for batch in calibration.batches(batch_size):
            try:
                model(**batch.arguments(like=model))
            except _Reached:
                continue


def _has_samples(leaf: Any, count: int) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == count
