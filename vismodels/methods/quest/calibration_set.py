"""Inputs of a denoiser, captured while its own pipeline samples: calibration without data.

QuEST (Wang et al. 2025, arXiv 2402.03666, Sec. 4.1 and Table 6): noisy samples, timesteps and
conditions of equally spaced steps, with both halves of guidance without a classifier.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vismodels.files import FileError, atomic_path

TIMESTEP = "timestep"


@dataclass(frozen=True)
class CalibrationSet:
    """Calls of a denoiser, sample by sample.

    Args:
        inputs: argument -> (N, ...), on the CPU; `timestep`, (N,), among them. An argument inside a
            dictionary has a dot: `added_cond_kwargs.text_embeds`.

    Raises:
        ValueError: if there is no timestep, or numbers of samples differ.
    """

    inputs: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        sizes = {name: len(values) for name, values in self.inputs.items()}
        if TIMESTEP not in sizes or len(set(sizes.values())) != 1 or not sizes[TIMESTEP]:
            raise ValueError(f"expected a {TIMESTEP} and as many samples of each, got {sizes}")

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def timesteps(self) -> Tensor:
        """One for each sample, (N,)."""
        return self.inputs[TIMESTEP]

    def select(self, places: Tensor) -> "CalibrationSet":
        """Return the samples at these places, (n,), or where a mask, (N,), is true."""
        return CalibrationSet({name: values[places] for name, values in self.inputs.items()})

    def batches(self, size: int) -> Iterator["CalibrationSet"]:
        """Yield all samples in their order, `size` at a time; the last ones may be fewer."""
        for places in torch.split(torch.arange(len(self)), size):
            yield self.select(places)

    def arguments(self, like: nn.Module | None = None) -> dict[str, Any]:
        """Return the keyword arguments of one call of the denoiser with all samples.

        Args:
            like: a denoiser, on whose device they are put; None leaves them on the CPU.
        """
        arguments: dict[str, Any] = {}
        device = None if like is None else next(like.parameters()).device
        for name, values in self.inputs.items():
            outer, dot, inner = name.partition(".")
            if dot:
                arguments.setdefault(outer, {})[inner] = values.to(device)
            else:
                arguments[name] = values.to(device)
        return arguments

    def save(self, path: Path | str) -> None:
        """Write a safetensors file."""
        tensors = {name: values.contiguous() for name, values in self.inputs.items()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path | str) -> "CalibrationSet":
        """Return the samples that `save` wrote.

        Raises:
            FileError: for a missing or damaged file.
        """
        try:
            return cls(load_file(path))
        except (OSError, SafetensorError, ValueError) as error:
            raise FileError(
                f"{path} holds no calibration set ({error}); collect and save it again"
            ) from error


def collect(
    pipeline: Any,
    calls: Iterable[Mapping[str, Any]],
    *,
    component: str = "unet",
    kept_steps: int | None = None,
) -> CalibrationSet:
    """Return what the denoiser of a pipeline is called with in these calls of the pipeline.

    Args:
        pipeline: of diffusers, in floating point.
        calls: keyword arguments of each call, its generators among them.
        component: the denoiser's name: `unet`, or `transformer`.
        kept_steps: equally spaced steps of each call, from its first on; None: all.

    Returns:
        All samples of the first call's first kept step, then those of its second, ...

    Raises:
        ValueError: for more kept steps than a call has, or an input that is not one for each
            sample.
    """
    denoiser: nn.Module = getattr(pipeline, component)
    steps: list[dict[str, Tensor]] = []
    kept: list[dict[str, Tensor]] = []

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = inspect.signature(module.forward).bind_partial(*args, **kwargs)
        steps.append(_captured(bound.arguments))

    handle = denoiser.register_forward_pre_hook(record, with_kwargs=True)
    try:
        for call in calls:
            steps.clear()
            pipeline(**call)
            count = len(steps) if kept_steps is None else kept_steps
            if not 0 < count <= len(steps):
                raise ValueError(f"a call of {len(steps)} steps has no {count} to keep")
            kept += [steps[place * len(steps) // count] for place in range(count)]
    finally:
        handle.remove()
    if not kept:
        raise ValueError("expected at least one call of the pipeline, got none")
    return CalibrationSet({name: torch.cat([step[name] for step in kept]) for name in kept[0]})


def _captured(arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    count = len(next(iter(arguments.values())))  # of the sample, which comes first
    found: dict[str, Tensor] = {}
    for name, value in arguments.items():
        if name == TIMESTEP:
            found[name] = torch.as_tensor(value).detach().cpu().reshape(-1).expand(count).clone()
        elif isinstance(value, Tensor):
            found[name] = value.detach().cpu().clone()
        elif isinstance(value, Mapping):
            tensors = {key: each for key, each in value.items() if isinstance(each, Tensor)}
            found |= {f"{name}.{key}": each.detach().cpu().clone() for key, each in tensors.items()}
    for name, values in found.items():
        if values.ndim == 0 or len(values) != count:
            raise ValueError(
                f"{name} is {tuple(values.shape)} for {count} samples; a calibration set holds "
                "inputs of which each sample has its own"
            )
    return found
