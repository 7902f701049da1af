"""Seeds derived from one number and a path of names, and the generators made from them.

Stages and arms of an experiment get independent streams that are the same on every machine and in
every process. Torch-free to import.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a seed in [0, 2**63) that belongs to `seed` and the path `names`.

    The path is unambiguous: ("a", "b"), ("ab",) and ("a,b",) differ, and so do 1 and "1".

    Args:
        seed: the seed of the whole run.
        names: what the stream is for, from large to small: `"quantnas", "search", 3`.

    Raises:
        TypeError: for a name that is neither a string nor an integer.
    """
    path = [seed, *names]
    for part in path:
        if type(part) not in (int, str):
            raise TypeError(
                f"a seed is derived from strings and integers, got {part!r} "
                f"({type(part).__name__}); convert it with int() or str()"
            )
    digest = hashlib.sha256(json.dumps(path).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a new CPU generator for the stream `names`; draw on the CPU and move the result."""
    import torch

    # PyTorch's CPU engine looks at the low 32 bits of a seed only; those of a hash are as good.
    return torch.Generator().manual_seed(derive_seed(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a new NumPy generator for the stream `names`."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, *names))
