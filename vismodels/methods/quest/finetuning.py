"""Selective finetuning of a quantized denoiser toward its float teacher.

QuEST (Wang et al. 2025, arXiv 2402.03666, Sec. 4): weights of layers fed by the time, then of
sensitive ones, each with activation scales; everything else is frozen. All selected parameters are
in one optimizer, and the whole network runs, not block by block. Ranges of weights stay.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import torch
from torch import Tensor, nn

from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import FinetuningConfig, LayerSets, TuningStage
from vismodels.methods.quest.freezing import frozen
from vismodels.methods.quest.layers import kept_weights
from vismodels.methods.quest.objective import Objective
from vismodels.methods.quest.quantize import enabled
from vismodels.methods.quest.tuned import Tuned, select_tuned
from vismodels.methods.quest.unit_data import output_tensor
from vismodels.nn.hooks import capture
from vismodels.nn.modes import evaluation_mode
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState


@dataclass(frozen=True)
class StageReport:
    """What a stage of finetuning did.

    Args:
        name: of the stage.
        iterations: of the optimizer.
        share: of the network's parameters that were tuned, 0 to 1.
        scales: activation scales that were trained.
        log: loss, its local and its global part, at every iteration.
        layers: whose weights were tuned, or whose local errors counted.
        seconds: of the processor, since the last start of a stage that was resumed.
    """

    name: str
    iterations: int
    share: float
    scales: int
    log: ScalarLog
    layers: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)


def finetune_(
    model: nn.Module,
    teacher: nn.Module | Tensor,
    pool: CalibrationSet,
    config: FinetuningConfig = FinetuningConfig(),  # noqa: B008 (frozen)
    *,
    seed: int = 0,
    sample_weights: Tensor | None = None,
    checkpoint_dir: Path | str | None = None,
    checkpoint_every: int = 100,
) -> tuple[StageReport, ...]:
    """Finetune a calibrated network in all stages of a variant, and return what each did.

    Args:
        model: quantized and calibrated; changed in place.
        teacher: the float network, with modules of the same names, which runs once over the pool
            if there are no local losses; or what it puts out for the pool, as `teacher_outputs`
            returns it, if there are none.
        pool: inputs of the float network.
        config: variant, layers, budget.
        seed: of the batches.
        sample_weights: (N,), of the samples' errors of the output; `objective.epsilon_weights` for
            `prediction: epsilon`, which needs them.
        checkpoint_dir: scratch folder; an interrupted finetuning goes on from it bit by bit;
            `recipes.remove_checkpoints` clears it once results are written.
        checkpoint_every: iterations between checkpoints.

    Raises:
        ValueError: if patterns fit no layer; if outputs or weights are missing, not wanted or not
            one for each sample.
        FloatingPointError: for a loss that is not finite.
    """
    _check_weights(config, sample_weights, len(pool))
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    reports = []
    stages = zip(config.stages, config.stage_iterations, strict=True)
    targets = _targets(teacher, pool, config, sample_weights)
    with evaluation_mode(model):
        for stage, iterations in stages:
            own = None if folder is None else folder / stage.name
            draws = generator(seed, "quest", "finetuning", stage.name)
            budget = _Budget(iterations, config.batch_size, own, checkpoint_every)
            reports.append(_run_stage(model, targets, stage, config.layers, budget, draws))
    return tuple(reports)


@torch.no_grad()
def teacher_outputs(teacher: nn.Module, pool: CalibrationSet, batch_size: int = 32) -> Tensor:
    """Return what a denoiser puts out for all samples of a pool, (N, ...), on the CPU."""
    with evaluation_mode(teacher):
        calls = (batch.arguments(like=teacher) for batch in pool.batches(batch_size))
        return torch.cat([output_tensor(teacher(**call)).cpu() for call in calls])


@dataclass(frozen=True)
class Targets:
    """What the float network puts out for the samples of a pool.

    Args:
        pool: its inputs.
        outputs: (N, ...); None: computed with those of layers when they are asked for.
        teacher: the float network; None: only its outputs are known.
        weights: (N,), of the samples; None: all 1.
    """

    pool: CalibrationSet
    outputs: Tensor | None
    teacher: nn.Module | None
    weights: Tensor | None

    @torch.no_grad()
    def at(self, places: Tensor, layers: tuple[str, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the outputs, (B, ...), at these places, (B,), and those of layers by names."""
        if self.outputs is not None and not layers:
            return self.outputs[places], {}
        assert self.teacher is not None
        call = self.pool.select(places).arguments(like=self.teacher)
        with ExitStack() as stack:
            stack.enter_context(evaluation_mode(self.teacher))
            seen = stack.enter_context(capture(self.teacher, layers)) if layers else {}
            output = output_tensor(self.teacher(**call))
        return output, dict(seen)


@dataclass(frozen=True)
class _Budget:
    iterations: int
    batch_size: int
    folder: Path | None
    checkpoint_every: int


def _run_stage(
    model: nn.Module,
    targets: Targets,
    stage: TuningStage,
    sets: LayerSets,
    budget: _Budget,
    draws: torch.Generator,
) -> StageReport:
    clock = time.process_time()
    with ExitStack() as stack:
        stack.enter_context(frozen(model))
        stack.enter_context(enabled(model, weights=True, activations=True))
        tuned = stack.enter_context(select_tuned(model, stage, sets))
        groups = [
            {"params": list(parameters), "lr": rate}
            for parameters, rate in (
                (tuned.weights, stage.weight_rate),
                (tuned.scales, stage.scale_rate),
            )
            if parameters
        ]
        optimizer = torch.optim.Adam(groups)
        log = ScalarLog()
        state = TrainState(model=model, optimizer=optimizer, batches=draws, log=log)
        stack.enter_context(kept_weights(model, tuned.fixed))
        fit(
            _step(model, targets, stage, tuned, optimizer, state, budget.iterations),
            _batches(targets.pool.timesteps, stage, budget, state, draws),
            state,
            iterations=budget.iterations,
            checkpoint_dir=budget.folder,
            checkpoint_every=budget.checkpoint_every,
            log=log,
        )
        count = sum(scale.numel() for scale in tuned.scales)
    seconds = time.process_time() - clock
    return StageReport(
        stage.name, budget.iterations, tuned.share, count, log, tuned.layers, seconds
    )


def _step(
    model: nn.Module,
    targets: Targets,
    stage: TuningStage,
    tuned: Tuned,
    optimizer: torch.optim.Optimizer,
    state: TrainState,
    iterations: int,
) -> Callable[[Tensor], Mapping[str, float]]:
    objective = Objective(stage.local, stage.global_weight, stage.global_per_layer)
    watched = tuned.layers if _watches(stage) else ()
    schedule = warmup_cosine(optimizer, iterations) if stage.schedule == "cosine" else None

    def step(places: Tensor) -> Mapping[str, float]:
        if schedule is not None:
            schedule.step_update(state.iteration)
        call = targets.pool.select(places).arguments(like=model)
        weights = None if targets.weights is None else targets.weights[places]
        target, layer_targets = targets.at(places, watched)
        with ExitStack() as stack:
            seen = stack.enter_context(capture(model, watched)) if watched else {}
            output = output_tensor(model(**call))
        terms = objective(
            output, target.to(output), dict(seen), layer_targets, _like(weights, output)
        )
        optimizer.zero_grad()
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return {name: value.item() for name, value in terms.items()}

    return step


def _batches(
    timesteps: Tensor,
    stage: TuningStage,
    budget: _Budget,
    state: TrainState,
    draws: torch.Generator,
) -> Iterator[Tensor]:
    """Yield places of samples, (B,): of all timesteps, or of one each time, from the last on."""
    values = torch.unique(timesteps).flip(0)
    each = ceil(budget.iterations / len(values))  # iterations of a timestep
    while True:
        places = torch.arange(len(timesteps))
        if stage.timesteps == "sequential":
            places = places[timesteps == values[state.iteration // each]]
        elif stage.timesteps == "cycled":
            places = places[timesteps == values[state.iteration % len(values)]]
        yield places[torch.randint(len(places), (budget.batch_size,), generator=draws)]


def _like(weights: Tensor | None, output: Tensor) -> Tensor | None:
    return None if weights is None else weights.to(output)


def _watches(stage: TuningStage) -> bool:
    """Return whether a stage looks at the outputs of layers."""
    return stage.local != "none" or stage.global_per_layer


def _targets(
    teacher: nn.Module | Tensor,
    pool: CalibrationSet,
    config: FinetuningConfig,
    weights: Tensor | None,
) -> Targets:
    watches = [_watches(stage) for stage in config.stages]
    if isinstance(teacher, nn.Module):
        once = None if all(watches) else teacher_outputs(teacher, pool, config.batch_size)
        return Targets(pool, once, teacher, weights)
    if any(watches):
        raise ValueError(
            f"{config.variant} compares outputs of layers, which outputs of the network do not "
            "tell; give the float network itself"
        )
    if len(teacher) != len(pool):
        raise ValueError(
            f"expected an output for each of {len(pool)} samples of the pool, got {len(teacher)}"
        )
    return Targets(pool, teacher, None, weights)


def _check_weights(config: FinetuningConfig, weights: Tensor | None, count: int) -> None:
    needed = any(stage.prediction == "epsilon" for stage in config.stages)
    if needed != (weights is not None):
        raise ValueError(
            "weights of samples go with prediction: epsilon; give both or neither, see "
            "objective.epsilon_weights"
        )
    if weights is not None and weights.shape != (count,):
        raise ValueError(f"expected a weight for each of {count} samples, got {weights.shape}")
