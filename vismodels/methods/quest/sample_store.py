"""Samples that come in batches, gathered into one tensor that is held once."""

import tempfile
from math import prod

import numpy as np
import torch
from torch import Tensor

SPILLED = 2**32  # bytes from which on samples lie in a file, mapped into memory


class SampleStore:
    """A tensor of samples on the CPU that is filled batch after batch.

    A large one lies in a file without a name in the folder for temporary files (TMPDIR), which the
    system removes with the tensor.

    Args:
        count: samples in all, N.
        spilled: bytes from which on they lie in a file.
    """

    def __init__(self, count: int, spilled: int = SPILLED) -> None:
        self.count, self.spilled, self.filled = count, spilled, 0
        self._values: Tensor | None = None

    def add(self, batch: Tensor) -> None:
        """Take in the next samples, (B, ...), from whatever device.

        Raises:
            ValueError: if there are more than N in all.
        """
        end = self.filled + len(batch)
        if end > self.count:
            raise ValueError(f"expected {self.count} samples, got {end} or more")
        if self._values is None:
            self._values = _empty((self.count, *batch.shape[1:]), batch.dtype, self.spilled)
        self._values[self.filled : end] = batch.detach()
        self.filled = end

    @property
    def values(self) -> Tensor:
        """All samples, (N, ...).

        Raises:
            ValueError: if some have not come.
        """
        if self._values is None or self.filled < self.count:
            raise ValueError(f"expected {self.count} samples, got {self.filled}")
        return self._values


def _empty(shape: tuple[int, ...], dtype: torch.dtype, spilled: int) -> Tensor:
    size = prod(shape) * dtype.itemsize
    if size < spilled:
        return torch.empty(shape, dtype=dtype)
    with tempfile.TemporaryFile() as file:  # the mapping outlives it
        mapped = np.memmap(file, np.uint8, "w+", shape=(size,))
    return torch.from_numpy(mapped).view(dtype).view(shape)
