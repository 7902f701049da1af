"""The one training loop: it calls a step, counts, checks, logs and checkpoints, nothing else.

A run that was stopped, killed or out of disk space and is started again ends with the same bits
as one that was not.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from vismodels.checkpoint import load_resume, save_resume
from vismodels.files import FileError, remove_leftovers
from vismodels.training.log import ScalarLog
from vismodels.training.state import TrainState

CHECKPOINT = "resume.pt"
Batch = TypeVar("Batch")


def fit(
    step: Callable[[Batch], Mapping[str, float]],
    batches: Iterable[Batch],
    state: TrainState,
    *,
    iterations: int,
    checkpoint_dir: Path | str | None = None,
    checkpoint_every: int = 1000,
    log: ScalarLog | None = None,
) -> TrainState:
    """Train until `iterations` iterations are completed in all, and return `state`.

    Goes on from the checkpoint if there is one that is further than `state`, and leaves one at the
    end; remove it with `remove_checkpoint` once the results are written.

    Validation at intervals is a loop around this function. A state that is far enough is left
    alone, so the loop can be killed at any place and started again:

        resume(checkpoint_dir, state, iterations=3000)
        for stop in (1000, 2000, 3000):
            fit(step, batches, state, iterations=stop, checkpoint_dir=checkpoint_dir, log=log)
            if stop not in validation.iterations:  # a ScalarLog that is a part of the state
                validation.append(stop, validate(model))

    Args:
        step: does one iteration on a batch: loss, backward, clipping, optimizer, scheduler, EMA;
            returns the scalars to check and to log.
        batches: endless. One batch is drawn for each iteration, none ahead. Its only memory is a
            generator that is a part of `state`: a `DataLoader` with workers, or a position in a
            list, would not be where it was after a resume.
        state: everything that `step` and `batches` change.
        iterations: total number of completed iterations to reach, those before a resume included.
        checkpoint_dir: scratch folder of this run alone, keyed by its configuration; None for a
            run that starts from the beginning each time.
        checkpoint_every: iterations between checkpoints.
        log: takes the scalars of every iteration; a part of `state`.

    Raises:
        FloatingPointError: if a scalar is not finite; no checkpoint is written after it.
        FileError: if the checkpoint is damaged or belongs to another run, or a new one cannot be
            written (the one before stays whole).
        ValueError: if `batches` ends too early, or `log` is not a part of `state`.
    """
    if log is not None and not any(part is log for part in state.parts.values()):
        raise ValueError("the log is not a part of the state: after a resume it would have a gap")
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every is at least 1, got {checkpoint_every}")
    if checkpoint_dir is not None:
        resume(checkpoint_dir, state, iterations=iterations)
    stream = iter(batches)
    while state.iteration < iterations:
        try:
            batch = next(stream)
        except StopIteration:
            raise ValueError(
                f"the batches ended after iteration {state.iteration} of {iterations}; "
                "give an endless iterator"
            ) from None
        scalars = step(batch)
        state.iteration += 1
        _check_finite(scalars, state.iteration)
        if log is not None:
            log.append(state.iteration, scalars)
        due = state.iteration % checkpoint_every == 0 or state.iteration == iterations
        if checkpoint_dir is not None and due:
            save_resume(Path(checkpoint_dir) / CHECKPOINT, state.state_dict())
    return state


def milestones(iterations: int, every: int) -> list[int]:
    """Return the iterations at which a training stops to validate: every so many, and the last."""
    return [*range(every, iterations, every), iterations]


def fit_to_milestones(
    step: Callable[[Batch], Mapping[str, float]],
    batches: Iterable[Batch],
    state: TrainState,
    *,
    iterations: int,
    every: int,
    checkpoint_dir: Path | str | None = None,
    log: ScalarLog | None = None,
) -> Iterator[int]:
    """Train in stretches, and yield the number of iterations after each, for validation.

    Goes on from the checkpoint first. Milestones that were reached before a resume are yielded too:
    whoever validates asks its log, a part of the state, whether it did.

    Args:
        step: see `fit`.
        batches: see `fit`.
        state: see `fit`.
        iterations: of the whole training.
        every: iterations between milestones, and between checkpoints.
        checkpoint_dir: see `fit`.
        log: see `fit`.

    Raises:
        FloatingPointError, FileError, ValueError: as `fit`.
    """
    if checkpoint_dir is not None:
        resume(checkpoint_dir, state, iterations=iterations)
    for end in milestones(iterations, every):
        fit(
            step,
            batches,
            state,
            iterations=end,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=every,
            log=log,
        )
        yield end


def resume(checkpoint_dir: Path | str, state: TrainState, *, iterations: int) -> None:
    """Load the checkpoint into `state`, if there is one and it is further than `state`.

    Args:
        checkpoint_dir: folder given to `fit`; it need not exist.
        state: built as it was when the run started.
        iterations: what the run is to reach in the end.

    Raises:
        FileError: if the checkpoint is damaged, has other parts, or is of a longer run.
    """
    folder = Path(checkpoint_dir)
    remove_leftovers(folder)  # of a process that was killed while it wrote
    path = folder / CHECKPOINT
    if not path.exists():
        return
    saved = load_resume(path)
    reached = saved.get("iteration")
    if not isinstance(reached, int):
        raise FileError(f"{path}: not a checkpoint of a training; {_REMEDY}")
    if reached <= state.iteration:
        return
    if reached > iterations:
        raise FileError(
            f"{path}: checkpoint of a longer run, at iteration {reached} of at most {iterations}; "
            f"{_REMEDY}"
        )
    try:
        state.load_state_dict(saved)
    except ValueError as error:
        raise FileError(f"{path}: {error}; {_REMEDY}") from error


def remove_checkpoint(checkpoint_dir: Path | str) -> None:
    """Delete the checkpoint of a finished run, and its folder if nothing else is in it."""
    folder = Path(checkpoint_dir)
    remove_leftovers(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


_REMEDY = "remove it to start this run from the beginning, or give each run a folder of its own"


def _check_finite(scalars: Mapping[str, Any], iteration: int) -> None:
    for name, value in scalars.items():
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name} is {float(value)} at iteration {iteration}; lower the learning rate or "
                "clip the gradient"
            )
