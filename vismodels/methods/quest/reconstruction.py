"""Weights rounded so that each block puts out what it did: BRECQ with adaptive rounding.

Li et al., "BRECQ" (ICLR 2021, arXiv 2102.05426), as Q-Diffusion (Li et al. 2023, arXiv 2302.04304,
Sec. 4) uses it and QuEST starts from it. Activations stay float meanwhile. The published code
rounds the second part of a split shortcut to the nearest, unless it lies in a block, and never
penalizes it; here both parts are learned alike.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.config import ReconstructionConfig
from vismodels.methods.quest.freezing import frozen
from vismodels.methods.quest.layers import QuantizedLayer
from vismodels.methods.quest.quantize import enabled
from vismodels.methods.quest.quantizers import WeightQuantizer
from vismodels.methods.quest.unit_data import Calls, calls_of, outputs_of
from vismodels.methods.quest.units import find_units, layers_of
from vismodels.nn.modes import evaluation_mode
from vismodels.quantization.adaptive_rounding import AdaptiveRounding, penalty_exponent
from vismodels.seeding import generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit
from vismodels.training.state import TrainState


@dataclass(frozen=True)
class UnitReport:
    """What the reconstruction of a unit brought.

    Args:
        name: of the unit.
        layers: in it.
        nearest: error of its output with nearest rounding; see `unit_error`.
        learned: with the rounding that was learned.
        log: error and penalty of every iteration.
    """

    name: str
    layers: int
    nearest: float
    learned: float
    log: ScalarLog


def reconstruct_(
    model: nn.Module,
    teacher: nn.Module,
    calibration: CalibrationSet,
    config: ReconstructionConfig = ReconstructionConfig(),  # noqa: B008 (frozen)
    *,
    seed: int = 0,
    checkpoint_dir: Path | str | None = None,
    checkpoint_every: int = 1000,
) -> tuple[UnitReport, ...]:
    """Learn the rounding of all weights, unit after unit, and write the rounded weights.

    They stand on the grid of their quantizers, which leave them as they are.

    Args:
        model: quantized; changed in place.
        teacher: the float network, with modules of the same names.
        calibration: inputs of the float network.
        config: budget and loss.
        seed: of the batches.
        checkpoint_dir: scratch folder; an interrupted reconstruction goes on from it bit by bit;
            `recipes.remove_checkpoints` clears it once results are written.
        checkpoint_every: iterations between checkpoints.

    Returns:
        A report for each unit, in the order of their reconstruction.

    Raises:
        ValueError: for a unit that does not run.
        FloatingPointError: for a loss that is not finite.
    """
    reports = []
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    with evaluation_mode(model), frozen(model), enabled(model, weights=True, activations=False):
        for place, name in enumerate(find_units(model, calibration.select(torch.arange(1)))):
            source = model if config.quantized_inputs else teacher
            unit = _Unit(
                model.get_submodule(name),
                tuple(layers_of(model, name).values()),
                calls_of(source, name, calibration, config.batch_size),
                outputs_of(teacher, name, calibration, config.batch_size),
            )
            own = None if folder is None else folder / f"unit_{place:04d}"
            draws = generator(seed, "quest", "reconstruction", name)
            reports.append(_reconstruct(name, unit, config, draws, own, checkpoint_every))
    return tuple(reports)


def unit_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the squared error summed over channels, and its mean over all else.

    Args:
        output: (B, C, H, W), or with channels last: (B, N, C), (B, C).
        target: like it.
    """
    axis = 1 if output.ndim == 4 else -1
    return (output - target).square().sum(axis).mean()


@dataclass(frozen=True)
class _Unit:
    module: nn.Module
    layers: tuple[QuantizedLayer, ...]
    calls: Calls
    targets: Tensor

    def loss(self, places: Tensor) -> Tensor:
        output = self.calls.run(self.module, places)
        return unit_error(output, self.targets[places].to(output))

    @torch.no_grad()
    def error(self, batch_size: int) -> float:
        batches = torch.split(torch.arange(len(self.calls)), batch_size)
        sums = [self.loss(places).item() * len(places) for places in batches]
        return sum(sums) / len(self.calls)


def _reconstruct(
    name: str,
    unit: _Unit,
    config: ReconstructionConfig,
    draws: torch.Generator,
    folder: Path | None,
    checkpoint_every: int,
) -> UnitReport:
    nearest = unit.error(config.batch_size)
    plain = [list(layer.weight_quantizers) for layer in unit.layers]
    rounded = nn.ModuleList(part for layer in unit.layers for part in _soften_(layer))
    try:
        log = ScalarLog()
        optimizer = torch.optim.Adam(rounded.parameters(), config.learning_rate)
        state = TrainState(rounding=rounded, optimizer=optimizer, batches=draws, log=log)
        fit(
            _step(unit, rounded, optimizer, config, state),
            _batches(len(unit.calls), config.batch_size, draws),
            state,
            iterations=config.iterations,
            checkpoint_dir=folder,
            checkpoint_every=checkpoint_every,
            log=log,
        )
        weights = [_hardened(layer) for layer in unit.layers]
    finally:
        for layer, quantizers in zip(unit.layers, plain, strict=True):
            layer.weight_quantizers = nn.ModuleList(quantizers)
    for layer, weight in zip(unit.layers, weights, strict=True):
        layer.weight.data.copy_(weight)
    return UnitReport(name, len(unit.layers), nearest, unit.error(config.batch_size), log)


def _step(
    unit: _Unit,
    rounded: nn.ModuleList,
    optimizer: torch.optim.Optimizer,
    config: ReconstructionConfig,
    state: TrainState,
) -> Callable[[Tensor], Mapping[str, float]]:
    def step(places: Tensor) -> Mapping[str, float]:
        error = unit.loss(places)
        exponent = penalty_exponent(state.iteration, config.iterations, config.warmup)
        penalty = torch.zeros_like(error)
        if exponent is not None:
            for each in rounded:
                assert isinstance(each, AdaptiveRounding)
                penalty = penalty + config.penalty * each.penalty(exponent)
        (error + penalty).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return {"error": error.item(), "penalty": penalty.item()}

    return step


def _batches(count: int, size: int, draws: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield torch.randint(count, (size,), generator=draws)


def _soften_(layer: QuantizedLayer) -> list[AdaptiveRounding]:
    """Replace the weight quantizers of a layer by ones with rounding variables."""
    softened = []
    for quantizer, part in zip(layer.weight_quantizers, layer.weight_parts(), strict=True):
        assert isinstance(quantizer, WeightQuantizer)
        shape = (-1, *[1] * (part.ndim - 1))
        grid = quantizer.scale.view(shape), quantizer.zero_point.view(shape)
        softened.append(AdaptiveRounding(part, *grid, quantizer.spec))
    layer.weight_quantizers = nn.ModuleList(softened)
    return softened


def _hardened(layer: QuantizedLayer) -> Tensor:
    """Return the rounded weight of a layer, of the shape of `weight`."""
    parts = []
    for rounding, part in zip(layer.weight_quantizers, layer.weight_parts(), strict=True):
        assert isinstance(rounding, AdaptiveRounding)
        parts.append(rounding.hardened(part))
    return layer.unfolded(torch.cat(parts, dim=1))
