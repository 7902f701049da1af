"""PyTorch's global generator, for modules that draw from no other, such as dropout."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def global_noise(source: torch.Generator) -> Iterator[None]:
    """Seed PyTorch's global generator from `source` while the block runs; then put its state back.

    With `source` a part of the training's state, a resumed training draws what an uninterrupted
    one does.

    Args:
        source: on the CPU; one number is drawn from it.
    """
    seed = int(torch.randint(2**62, (1,), generator=source))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
