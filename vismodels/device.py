"""The device a stage runs on, and the switches that make a device repeat its numbers.

Torch-free to import. Only entry functions resolve devices; the rest follows its inputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class DeviceError(RuntimeError):
    """A device that was demanded and is not there; the message says what there is."""


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`, checked to be present.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`: CUDA if there is a device, else the CPU.
            Apple's MPS, which lacks 3D operators, is taken only on demand.

    Raises:
        DeviceError: if there is no such device: a demanded GPU is never replaced by the CPU.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    has_mps = torch.backends.mps.is_available()
    cuda = re.fullmatch(r"cuda(?::(\d+))?", name)
    present = int(cuda[1] or 0) < count if cuda else name == "cpu" or (name == "mps" and has_mps)
    if not present:
        there = ["cpu", *(f"cuda:{i}" for i in range(count)), *(["mps"] if has_mps else [])]
        raise DeviceError(
            f"device {name!r} was asked for, but this machine has: {', '.join(there)} "
            f"(PyTorch {torch.__version__}); ask for one of these, or for 'auto'"
        )
    return torch.device(name)


@contextmanager
def deterministic(threads: int = 1, strict: bool = True) -> Iterator[None]:
    """Inside the block, equal inputs give equal bits; all switches are restored at its end.

    Deterministic algorithms where there are any, cuDNN without benchmarking,
    float32 without TF32 or bfloat16 shortcuts, and a fixed number of CPU threads: the order of
    a sum depends on it. On CUDA, cuBLAS also wants `CUBLAS_WORKSPACE_CONFIG=:4096:8` in the
    environment of the process; setting that is the caller's job.

    Args:
        threads: CPU threads within one operator, at least 1.
        strict: raise for an operator without a deterministic version; else warn. On CUDA the
            backward passes of 3D pooling, trilinear interpolation and CTC have none.
    """
    switches = [(read(), write, value) for read, write, value in _switches(threads, strict)]
    try:
        for _, write, value in switches:
            write(value)
        yield
    finally:
        for before, write, _ in switches:
            write(before)


def _switches(
    threads: int, strict: bool
) -> list[tuple[Callable[[], Any], Callable[[Any], Any], Any]]:
    """Return (read, write, wanted value) of every switch, in the order to write them."""
    import torch

    def algorithms() -> tuple[bool, bool]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )

    def use_algorithms(value: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(value[0], warn_only=value[1])

    def attribute(owner: Any, name: str, value: Any) -> tuple[Any, Any, Any]:
        return partial(getattr, owner, name), partial(setattr, owner, name), value

    backends: Any = torch.backends  # whose operators have no types
    switches: list[tuple[Any, Any, Any]] = [
        (torch.get_num_threads, torch.set_num_threads, threads),
        (algorithms, use_algorithms, (True, not strict)),
        attribute(backends.cudnn, "deterministic", True),
        attribute(backends.cudnn, "benchmark", False),
    ]
    # PyTorch has an old and a new interface to TF32 and raises when they disagree (for instance
    # in `cudnn.flags`, which CTC needs): write both, the old one first, since it resets the new.
    for old in (
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
        attribute(backends.cudnn, "allow_tf32", False),
    ):
        with suppress(RuntimeError):  # they disagree already: leave the old one as it is
            old[0]()
            switches.append(old)
    for owner in (
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.rnn,
    ):
        switches.append(attribute(owner, "fp32_precision", "ieee"))
    return switches
