"""The alternating step of a first-order bilevel search.

Liu et al., "DARTS: Differentiable Architecture Search" (ICLR 2019, arXiv 1806.09055), first-order
form: a step of the architecture on one part of the data, a step of the weights on another.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

Batch = TypeVar("Batch")
Scalars = Mapping[str, float]


def alternating_step(
    architecture_step: Callable[[Batch], Scalars],
    weight_step: Callable[[Batch], Scalars],
    is_warm: Callable[[], bool],
    idle: Scalars,
) -> Callable[[tuple[Batch, Batch]], Scalars]:
    """Return the step for `training.loop.fit`: first the architecture, then the weights.

    Args:
        architecture_step: one update of the architecture on a batch of its own.
        weight_step: one update of the weights.
        is_warm: whether the architecture moves already; until then only the weights do.
        idle: what to log of the architecture until then; the names that `architecture_step` gives.

    Returns:
        A function of (batch for the architecture, batch for the weights) that gives the scalars of
        both updates; it raises ValueError if they share a name.
    """

    def step(batches: tuple[Batch, Batch]) -> Scalars:
        for_architecture, for_weights = batches
        moved = architecture_step(for_architecture) if is_warm() else idle
        fitted = weight_step(for_weights)
        if shared := moved.keys() & fitted.keys():
            raise ValueError(f"both steps log {', '.join(sorted(shared))}; give them other names")
        return {**moved, **fitted}

    return step


def paired(
    architecture: Iterable[Batch], weights: Iterable[Batch]
) -> Iterator[tuple[Batch, Batch]]:
    """Yield (batch for the architecture, batch for the weights) of two endless streams."""
    yield from zip(architecture, weights, strict=True)
