"""What trainings from scratch and finetunings have in common: fit, watch the course, record."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from vismodels.data.pages import PagePair
from vismodels.methods.nafdpm.config import FinetuningConfig, TrainingConfig
from vismodels.methods.nafdpm.evaluation import cost_values, course_of, quality
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.metrics.general import TRAIN_LOSS
from vismodels.metrics.text import OCR_LOSS
from vismodels.results import Score, Value
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit_to_milestones
from vismodels.training.state import TrainState

Batch = TypeVar("Batch")
LOGGED = {"loss": TRAIN_LOSS, "ocr": OCR_LOSS}  # curve of the losses -> what its end is recorded as


@dataclass(frozen=True)
class Trained:
    """What a training gives: what restores pages, its curves, its score on validation pages."""

    pipeline: NAFDPMPipeline
    losses: ScalarLog
    validation: ScalarLog
    score: Score


@dataclass(frozen=True)
class Run:
    """What a record says of a training.

    Args:
        stage: its name.
        variant: name of the model or arm.
        seed: of the training.
        cards: of the validation pages.
    """

    stage: str
    variant: str
    seed: int
    cards: Sequence[str]


def fit_and_record(
    step: Callable[[Batch], Mapping[str, float]],
    batches: Iterable[Batch],
    state: TrainState,
    *,
    losses: ScalarLog,
    course: ScalarLog,
    pipeline: NAFDPMPipeline,
    validation: Sequence[PagePair],
    settings: TrainingConfig | FinetuningConfig,
    run: Run,
    checkpoint_dir: Path | None,
) -> Trained:
    """Return the outcome of all iterations; validation pages only show the course.

    Args:
        step: one iteration, see `training.loop.fit`.
        batches: endless.
        state: everything that changes, `losses` and `course` included.
        losses: takes the scalars of every iteration.
        course: takes the quality at intervals.
        pipeline: restores with the averaged weights.
        validation: pages; the first ones are restored, as many as the settings say.
        settings: iterations and intervals.
        run: what the record says.
        checkpoint_dir: scratch folder of an interrupted training.
    """
    shown = validation[: settings.validation_pages]
    for end in fit_to_milestones(
        step,
        batches,
        state,
        iterations=settings.iterations,
        every=settings.validate_every,
        checkpoint_dir=checkpoint_dir,
        log=losses,
    ):
        if end < settings.iterations and end not in course.iterations:
            course.append(end, course_of(quality(pipeline, shown)))
    reached = quality(pipeline, shown)
    course.append(settings.iterations, course_of(reached))
    last = {name: fmean(curve[-settings.validate_every :]) for name, curve in losses.curves.items()}
    score = Score(
        stage=run.stage,
        variant=run.variant,
        seed=run.seed,
        dataset={"card": "+".join(run.cards), "split": "validation", "items": len(shown)},
        values=[
            *reached,
            *(Value(metric, last[name]) for name, metric in LOGGED.items() if name in last),
            *cost_values(pipeline),
        ],
        budget={
            "iterations": settings.iterations,
            "images": settings.iterations * settings.batch_size,
        },
    )
    return Trained(pipeline, losses, course, score)
