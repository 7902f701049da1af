"""Learn the maps of all layers together, by gradients through the steered pipeline.

Rodriguez et al. (2025), "LinEAS: End-to-end learning of activation steering with a distributional
loss", arXiv 2503.10679, Algorithm 1.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vismodels.methods.lineas.activations import (
    LayerStep,
    Recording,
    pooled_activations,
    run_and_record,
)
from vismodels.methods.lineas.config import FitConfig, Noise, OptimizerConfig
from vismodels.methods.lineas.layers import pipeline_modules, select_layers
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.pipelines import call_of_batch, call_to_record
from vismodels.methods.lineas.proximal import proximal_step_
from vismodels.methods.lineas.steer import steer
from vismodels.methods.lineas.trainable import TrainableMaps
from vismodels.methods.lineas.transport import Target, transport_loss
from vismodels.nn.modes import evaluation_mode
from vismodels.seeding import derive_seed, generator
from vismodels.training import loop
from vismodels.training.log import ScalarLog
from vismodels.training.state import TrainState


def fit(
    pipeline: Any,
    source_prompts: Sequence[str],
    target_prompts: Sequence[str],
    config: FitConfig = FitConfig(),  # noqa: B008 (frozen)
    *,
    seed: int = 0,
    call: Mapping[str, Any] | None = None,
    log: ScalarLog | None = None,
    checkpoint_dir: Path | str | None = None,
    checkpoint_every: int = 1000,
) -> Maps:
    """Return maps that make activations of the source prompts distributed like the targets'.

    The target pass runs once, without maps. Every iteration draws a batch of source prompts and
    compares their steered activations with those of all target prompts. The pipeline's weights are
    frozen meanwhile and have no gradients afterwards.

    Args:
        pipeline: of diffusers, on its device. Tested are Stable Diffusion, SDXL and Flux; of others
            see `activations.CONDITIONAL_FIRST` before guiding them.
        source_prompts: what is steered, at least a batch of them.
        target_prompts: where to; unpaired, of any number.
        config: layers, loss, optimizer, sparsity.
        seed: of the batches and the noise.
        call: further arguments of the pipeline (`height`, `negative_prompt`, one text for all
            prompts); over `config.call`.
        log: takes loss, support and learning rate of every iteration; empty.
        checkpoint_dir: scratch folder; an interrupted fit goes on from it bit by bit.
        checkpoint_every: iterations between checkpoints.

    Raises:
        ValueError: for fewer source prompts than a batch or no target prompts, layers that fit
            nothing or cannot be recorded, maps that no gradient reaches, or an argument in `call`
            that is set here.
        FloatingPointError: if the loss is not finite.
    """
    if len(source_prompts) < config.batch_size:
        raise ValueError(
            f"a batch of {config.batch_size} cannot be drawn from {len(source_prompts)} source "
            "prompts; give more prompts or a smaller batch_size"
        )
    layers = select_layers(pipeline, config.layers)
    compared = select_layers(pipeline, config.target_layers or config.layers)
    call = {**config.call.arguments(), **(call or {})}
    log = ScalarLog() if log is None else log
    with evaluation_mode(pipeline_modules(pipeline)):
        values, units = pooled_activations(
            pipeline,
            tuple(dict.fromkeys([*layers, *compared])),
            target_prompts,
            [config.pooling],
            seeds=noise_seeds(seed, config.noise, "target", len(target_prompts)),
            batch_size=config.batch_size,
            call=call,
        )
        targets = {
            key: Target.of(rows, config.scaling)
            for key, rows in values[config.pooling].items()
            if key[0] in set(compared)
        }
        mapped = {layer: count for layer, count in units.items() if layer in set(layers)}
        maps = TrainableMaps(mapped, config.mode)  # in the order the layers run
        maps.to(pipeline.device)
        batches, noise = (generator(seed, "lineas", what) for what in ("batches", "noise"))
        optimizer = build_optimizer(maps, config.optimizer)
        state = TrainState(maps=maps, optimizer=optimizer, batches=batches, noise=noise, log=log)
        paired = noise_seeds(seed, "shared", "source", len(source_prompts))

        def step(batch: list[int]) -> Mapping[str, float]:
            refit = state.iteration >= config.iterations
            if state.iteration == config.iterations:  # the refit begins
                maps.clear_small_(config.post_threshold)
                optimizer.state.clear()
            rate = learning_rate(config, state.iteration)
            drawn = torch.randint(2**62, (len(batch),), generator=noise).tolist()
            seeds = [paired[index] for index in batch] if config.noise == "shared" else drawn
            prompts = [source_prompts[index] for index in batch]
            with steer(pipeline, maps.maps()):
                arguments = call_of_batch(call, batch, len(source_prompts))
                loss = _loss(pipeline, prompts, seeds, targets, config, arguments)
                _backward(loss, maps)
            if refit:
                maps.freeze_zeros_()
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
            if not refit:
                proximal_step_(maps.deviations, maps.shifts, config.sparsity, rate)
            return {"loss": loss.item(), "support": maps.support(), "learning_rate": rate}

        loop.fit(
            step,
            _index_batches(len(source_prompts), config.batch_size, batches),
            state,
            iterations=config.iterations + config.post_iterations,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=checkpoint_every,
            log=log,
        )
    about = {
        "method": "lineas",
        "config": config.model_dump(mode="json") | {"call": call_to_record(call)},
        "pipeline": type(pipeline).__name__,
        "prompts": [len(source_prompts), len(target_prompts)],
        "seed": seed,
    }
    with torch.no_grad():
        learnt = maps.cpu().maps()
    return Maps(learnt, config.mode, about)


def learning_rate(config: FitConfig, iteration: int) -> float:
    """Return the rate of an iteration, counted from 0: half a cosine, and again for the refit."""
    rate, dampening = config.optimizer.learning_rate, config.optimizer.dampening
    length = config.iterations
    if iteration >= config.iterations:
        iteration, length = iteration - config.iterations, config.post_iterations
    falling = (1 + math.cos(math.pi * iteration / length)) / 2
    return rate * (dampening + (1 - dampening) * falling)


def build_optimizer(maps: TrainableMaps, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer of the maps' parameters."""
    parameters = list(maps.parameters())
    match config.name:
        case "adamw":
            return torch.optim.AdamW(
                parameters, config.learning_rate, weight_decay=config.weight_decay
            )
        case "adam":
            return torch.optim.Adam(parameters, config.learning_rate)
        case "sgd":
            return torch.optim.SGD(parameters, config.learning_rate)


def noise_seeds(seed: int, noise: Noise, side: str, count: int) -> list[int]:
    """Return a seed of the noise for each prompt of a side.

    Args:
        seed: of the run.
        noise: shared: prompt i has the same noise on both sides and in every iteration.
        side: source or target.
        count: number of prompts.
    """
    stream = "shared" if noise == "shared" else side
    return [derive_seed(seed, "lineas", stream, index) for index in range(count)]


def _loss(
    pipeline: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    targets: Mapping[LayerStep, Target],
    config: FitConfig,
    call: Mapping[str, Any],
) -> Tensor:
    """Return the loss of a batch.

    With the gradient of the last step alone, every step's part goes backward as soon as the step is
    over, so that one step's graph is in memory; what is returned then has no graph left.
    """
    parts: list[Tensor] = []

    def go_back(recording: Recording) -> None:
        values = recording.take()[config.pooling]
        if not values:
            return
        part = transport_loss(values, {key: targets[key] for key in values}, config.reduction)
        if config.reduction == "mean":
            part = part * (len(values) / len(targets))
        if part.requires_grad:  # the graph of text encoders is every step's
            part.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        parts.append(part.detach())

    recording = run_and_record(
        pipeline,
        tuple(dict.fromkeys(layer for layer, _ in targets)),
        prompts,
        [config.pooling],
        seeds=seeds,
        gradient=config.gradient,
        call=call,
        on_step_end=go_back if config.gradient == "last" else None,
    )
    if config.gradient == "last":
        return torch.stack(parts).sum()
    return transport_loss(recording.values[config.pooling], targets, config.reduction)


def _backward(loss: Tensor, maps: TrainableMaps) -> None:
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    missed = maps.without_gradient()
    if missed:
        raise ValueError(
            f"no gradient of the loss reaches the maps of {', '.join(missed)}: nothing that is "
            "compared comes after them, or the pipeline runs them without gradients; leave these "
            "layers out"
        )


def _index_batches(count: int, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield batches of different prompts, without end."""
    while True:
        yield torch.randperm(count, generator=generator)[:size].tolist()
