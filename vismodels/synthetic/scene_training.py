"""What the models of scenes share in training: noised latents, one loop, averaged weights, records.

Denoisers predict v (Salimans and Ho 2022, arXiv 2202.00512), with the plain squared error. A share
of each batch starts from pure noise, where a model of one step does all its work.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Generic, TypeVar

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.metrics.general import PARAMETERS, TRAIN_LOSS
from vismodels.results import Score, Value
from vismodels.synthetic.scene_config import SceneTrainingConfig
from vismodels.synthetic.scene_latents import PatchVAE, as_model_input
from vismodels.synthetic.scene_scores import CARD
from vismodels.synthetic.scenes import Scene, render_all
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit_to_milestones
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState

Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # noisy latents, timesteps, conditions, v
Pipeline = TypeVar("Pipeline")


@dataclass(frozen=True)
class TrainedPipeline(Generic[Pipeline]):
    """The pipeline with averaged weights, its losses, its course on validation, its records."""

    pipeline: Pipeline
    losses: ScalarLog
    validation: ScalarLog
    scores: list[Score]


@dataclass(frozen=True)
class FittedDenoiser:
    """The averaged network, the loss of every iteration, what was read at validation."""

    average: Any
    losses: ScalarLog
    validation: ScalarLog


def fit_denoiser(
    model: nn.Module,
    batches: Iterable[Batch],
    settings: SceneTrainingConfig,
    draws: torch.Generator,
    validate: Callable[[Any], Sequence[Value]],
    *,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> FittedDenoiser:
    """Return the average of a network's weights over a training.

    The last iteration counts: nothing is selected, the validation images only show the course.

    Args:
        model: (noisy, timesteps, conditions) -> v; in the mode it is to be trained in.
        batches: endless, drawn with `draws`.
        settings: how long, how fast.
        draws: the only memory of `batches`.
        validate: of the averaged network.
        device: where to compute; the network is there.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    schedule = warmup_cosine(optimizer, settings.iterations, settings.warmup)
    # With this warm-up the decay at iteration i is i / (i + 9), and the start is soon gone.
    average = ModelEmaV3(
        model, settings.ema_decay, use_warmup=True, warmup_gamma=9.0, warmup_power=1.0
    )
    losses, course = ScalarLog(), ScalarLog()
    state = TrainState(
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        average=average,
        draws=draws,
        losses=losses,
        course=course,
    )

    def step(batch: Batch) -> Mapping[str, float]:
        noisy, timesteps, conditions, target = (part.to(device) for part in batch)
        loss = F.mse_loss(model(noisy, timesteps, conditions), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
        optimizer.step()
        schedule.step_update(state.iteration + 1)
        average.update(model, step=state.iteration + 2)  # timm's first step keeps nothing
        return {"loss": loss.item()}

    for end in fit_to_milestones(
        step,
        batches,
        state,
        iterations=settings.iterations,
        every=settings.validate_every,
        checkpoint_dir=checkpoint_dir,
        log=losses,
    ):
        if end not in course.iterations:
            values = validate(average.module)
            course.append(end, {value.metric.name: value.value or 0.0 for value in values})
    return FittedDenoiser(average.module, losses, course)


def training_score(
    settings: SceneTrainingConfig,
    losses: ScalarLog,
    networks: Iterable[nn.Module],
    *,
    stage: str,
    variant: str,
    seed: int,
    more: Sequence[Value] = (),
) -> Score:
    """Return the record of a training: its last losses, the parameters, what it took.

    Args:
        settings: how long, on how many scenes.
        losses: of every iteration.
        networks: that were trained.
        stage: of the record.
        variant: of the record.
        seed: of the run.
        more: further values.
    """
    return Score(
        stage=stage,
        variant=variant,
        seed=seed,
        dataset={"card": CARD, "split": "train", "items": settings.scenes},
        values=[
            Value(TRAIN_LOSS, fmean(losses.curves["loss"][-settings.validate_every :])),
            Value(PARAMETERS, sum(p.numel() for net in networks for p in net.parameters())),
            *more,
        ],
        budget={
            "iterations": settings.iterations,
            "images": settings.iterations * settings.batch_size,
        },
    )


@torch.no_grad()
def encode_scenes(code: PatchVAE, scenes: Sequence[Scene]) -> Tensor:
    """Return the latents of scenes, (N, C, h, w), on the CPU."""
    latents: Tensor = code.encode(as_model_input(render_all(scenes)).to(code.device)).latents
    return latents.cpu()


@torch.no_grad()
def noised_batches(
    latents: Tensor,
    conditions: Tensor,
    scheduler: Any,
    settings: SceneTrainingConfig,
    draws: torch.Generator,
    empty: Tensor | None = None,
) -> Iterator[Batch]:
    """Yield noisy latents, timesteps, conditions and v, on the CPU, without end.

    Args:
        latents: (N, C, h, w) of the scenes.
        conditions: (N, ...) what is said about each.
        scheduler: of diffusers; adds the noise.
        settings: size of a batch, share at the last timestep, share of empty conditions.
        draws: all that is random.
        empty: (1, ...) takes the place of a share of the conditions; None: of none.
    """
    size, last = settings.batch_size, scheduler.config.num_train_timesteps - 1
    while True:
        chosen = torch.randint(len(latents), (size,), generator=draws)
        timesteps = torch.randint(last + 1, (size,), generator=draws)
        at_last = torch.rand(size, generator=draws) < settings.last_timesteps
        timesteps = torch.where(at_last, last, timesteps)
        given = conditions[chosen]
        if empty is not None:
            silent = torch.rand(size, 1, generator=draws) < settings.empty_captions
            given = torch.where(silent, empty, given)
        clean = latents[chosen]
        noise = torch.randn(clean.shape, generator=draws)
        yield (
            scheduler.add_noise(clean, noise, timesteps),
            timesteps,
            given,
            scheduler.get_velocity(clean, noise, timesteps),
        )
