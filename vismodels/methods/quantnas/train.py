"""Train one network from scratch: a genotype, a uniform or random one, or a published network.

QuantNAS, arXiv 2208.14839: Adam, cosine, L1, quantized from the first iteration unless told
otherwise.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.config import ConfigError
from vismodels.cost.counters import count
from vismodels.data.enlarging import evaluate
from vismodels.data.pairs import PairSet, random_patches
from vismodels.methods.quantnas.config import (
    FixedNetwork,
    RandomNetwork,
    SearchedNetwork,
    TrainConfig,
    TrainingSettings,
    UniformNetwork,
    varied_space,
)
from vismodels.methods.quantnas.fixed import FixedSR, build_model
from vismodels.methods.quantnas.network import SearchedSR
from vismodels.methods.quantnas.space import (
    COST_SIZE,
    BasicSkeleton,
    FixedSpace,
    RFDNSkeleton,
    candidate,
    genotype_cost,
    parse_candidate,
    with_bits,
)
from vismodels.metrics.general import BITOPS, MACS, PARAMETERS, TRAIN_LOSS
from vismodels.metrics.image import PSNR_Y
from vismodels.metrics.search import BITOPS_256
from vismodels.nas.genotype import Genotype
from vismodels.nn.super_resolution import SuperResolutionNetwork
from vismodels.quantization.layers import (
    bits_of,
    enable_quantizers_,
    initialize_steps_,
)
from vismodels.quantization.quantizers import ActivationLSQ, WeightLSQ
from vismodels.results import Score, Value, mean_value
from vismodels.seeding import derive_seed, generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit, resume
from vismodels.training.schedule import warmup_cosine
from vismodels.training.state import TrainState

LARGE_SIZE = (256, 256)  # the second LR size at which the published code counts operations
MAX_CHANNELS = 512  # of a uniform network that is made as expensive as another


@dataclass(frozen=True)
class Trained:
    """What training gives: the network, its curves, its score on the validation images."""

    network: SuperResolutionNetwork
    losses: ScalarLog
    validation: ScalarLog
    score: Score
    timings: dict[str, float] = field(default_factory=dict)


def build_network(config: TrainConfig, found: Genotype | None, seed: int) -> SuperResolutionNetwork:
    """Return an untrained network.

    Args:
        config: says which one.
        found: the genotype of the search that the network names, if it names one.
        seed: its weights depend on it alone.

    Raises:
        ConfigError: if the genotype is none of the space, with the nearest name.
    """
    network = _described(config, found)
    network.initialize_(generator(seed, "quantnas", "train", "weights"))
    return network


def _described(config: TrainConfig, found: Genotype | None) -> SuperResolutionNetwork:
    source = config.variant.network
    if isinstance(source, FixedNetwork):
        return fixed_network(source, config.scale)
    if isinstance(source, SearchedNetwork):
        assert found is not None  # the workflow hands over what the configuration names
        space = varied_space(config.spaces, config.searches[source.search])
        if isinstance(space, FixedSpace):
            return _with_found_bits(space, found, source, config.scale)
        space.check(found)
        genotype = found if source.bits is None else with_bits(found, source.bits)
        return _searched_sr(space.skeleton, genotype)
    space = config.spaces[source.space]
    assert not isinstance(space, FixedSpace)  # refused by the configuration
    if isinstance(source, RandomNetwork):
        draw = derive_seed(source.draw, "quantnas", "random")
        return _searched_sr(space.skeleton, space.random_genotype(draw))
    skeleton = space.skeleton
    if source.like is not None:
        assert found is not None
        other = varied_space(config.spaces, config.searches[source.like])
        assert not isinstance(other, FixedSpace)
        cost = genotype_cost(other.skeleton, found, COST_SIZE)
        skeleton = _as_expensive(source, skeleton, cost)
    return _searched_sr(skeleton, uniform_genotype(source, skeleton))


def _with_found_bits(
    space: FixedSpace, found: Genotype, source: SearchedNetwork, scale: int
) -> FixedSR:
    """Return a published network with the bits that a search gave its convolutions."""
    names = {
        name.replace(".", "_"): name
        for name, module in build_model(space.model, scale).named_modules()
        if isinstance(module, nn.Conv2d)
    }
    options = tuple(candidate("bits", b) for b in space.bits)
    found.check(space.model, dict.fromkeys(names, options))
    chosen = with_bits(found, source.bits) if source.bits is not None else found
    bits = {names[key]: parse_candidate(choice)[1] for key, choice in chosen.choices.items()}
    return FixedSR(space.model, bits, scale, space.bicubic_skip)


def fixed_network(source: FixedNetwork, scale: int) -> FixedSR:
    """Return a published network, quantized as `source` says, untrained."""
    return FixedSR(source.model, source.bits, scale, source.bicubic_skip)


def uniform_genotype(source: UniformNetwork, skeleton: BasicSkeleton | RFDNSkeleton) -> Genotype:
    """Return the genotype with one operation a group and the same bits everywhere."""
    groups = {slot.group for slot in skeleton.slots()}
    if missing := sorted(groups - source.operations.keys()):
        raise ConfigError(f"a uniform network needs an operation for {', '.join(missing)}, too")
    choices = {
        slot.name: candidate(source.operations[slot.group], source.bits)
        for slot in skeleton.slots()
    }
    return Genotype(skeleton.kind, choices)


def _as_expensive(
    source: UniformNetwork, skeleton: BasicSkeleton | RFDNSkeleton, cost: int
) -> BasicSkeleton | RFDNSkeleton:
    """Return the narrowest skeleton whose uniform network costs at least `cost`.

    Widths that the groups of an operation cannot divide are passed over.
    """
    genotype, refusal = uniform_genotype(source, skeleton), ""
    step = 12 if isinstance(skeleton, RFDNSkeleton) else 1
    for channels in range(step, MAX_CHANNELS + 1, step):
        wider = skeleton.model_copy(update={"channels": channels})
        try:
            if genotype_cost(wider, genotype, COST_SIZE) >= cost:
                return wider
        except ConfigError as error:
            refusal = f"; at {channels} channels: {error}"
    raise ConfigError(
        f"no uniform network of at most {MAX_CHANNELS} channels costs {cost} BitOPs{refusal}"
    )


def _searched_sr(skeleton: BasicSkeleton | RFDNSkeleton, genotype: Genotype) -> SearchedSR:
    return SearchedSR(skeleton.model_dump(mode="json"), dict(genotype.choices))


def train(
    config: TrainConfig,
    training: PairSet,
    validation: PairSet,
    *,
    found: Genotype | None,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> Trained:
    """Return a network trained on random patches of `training`.

    Networks trained with one seed see the same batches in the same order. The last iteration
    counts: nothing is selected, the validation images only show the course.

    Args:
        config: network and training settings.
        training: photographs to learn from.
        validation: photographs scored at intervals (PSNR-Y).
        found: genotype of the search that the network names, if it names one.
        name: of the network, in its score record.
        seed: of the weights and of the batches.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted training goes on from it bit by bit.

    Raises:
        ValueError: if a photograph is smaller than the crop or the scales differ.
        FloatingPointError: if the loss is not finite.
    """
    for pairs in (training, validation):
        if pairs.scale != config.scale:
            raise ValueError(f"expected pairs of scale {config.scale}, got scale {pairs.scale}")
    settings = config.training
    network = build_network(config, found, seed).to(device)
    sizes = (settings.batch_size, settings.lr_crop)
    calibration, _ = next(random_patches(training, _draws(seed, "calibration"), *sizes))
    calibration = calibration.to(device)
    initialize_steps_(network, calibration, start=settings.step_start)
    rate = config.variant.learning_rate or settings.learning_rate
    optimizer = torch.optim.Adam(_groups(network, rate, settings))
    scheduler = warmup_cosine(optimizer, settings.iterations, settings.warmup)
    draws = _draws(seed, "batches")
    losses, course = ScalarLog(), ScalarLog()
    state = TrainState(
        network=network,
        optimizer=optimizer,
        scheduler=scheduler,
        batches=draws,
        losses=losses,
        course=course,
    )

    def step(batch: tuple[Tensor, Tensor]) -> Mapping[str, float]:
        if 0 < state.iteration == settings.float_warmup:
            enable_quantizers_(network, True)
            initialize_steps_(network, calibration, start=settings.step_start)
        low, high = (images.to(device) for images in batch)
        loss = F.l1_loss(network(low), high)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), settings.max_gradient_norm)
        optimizer.step()
        scheduler.step_update(state.iteration + 1)
        return {"loss": loss.item()}

    if checkpoint_dir is not None:
        resume(checkpoint_dir, state, iterations=settings.iterations)
    # At the end of a float warm-up they are off until the next step, validation included.
    enable_quantizers_(
        network, state.iteration > settings.float_warmup or not settings.float_warmup
    )
    begun, spent = state.iteration, 0.0
    for end in _milestones(settings):
        clock = time.process_time()
        fit(
            step,
            random_patches(training, draws, *sizes),
            state,
            iterations=end,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=settings.validate_every,
            log=losses,
        )
        spent += time.process_time() - clock
        if end not in course.iterations:
            scored = evaluate(network, validation, border=config.scale)
            course.append(end, {PSNR_Y.name: fmean(scored[PSNR_Y.name].values())})
    network.eval()
    timings = {"cpu_seconds_per_step": spent / max(state.iteration - begun, 1)}
    score = _score(config, name, network, losses, validation, seed)
    return Trained(network, losses, course, score, timings)


def _draws(seed: int, part: str) -> torch.Generator:
    return generator(seed, "quantnas", "train", part)


def _groups(network: nn.Module, rate: float, settings: TrainingSettings) -> list[dict[str, object]]:
    """Return the optimizer's groups: weights, and the quantizers' steps with their own rate."""
    steps = {
        parameter
        for module in network.modules()
        if isinstance(module, (WeightLSQ, ActivationLSQ))
        for parameter in module.parameters()
    }
    others = [parameter for parameter in network.parameters() if parameter not in steps]
    groups: list[dict[str, object]] = [
        {"params": others, "lr": rate, "weight_decay": settings.weight_decay}
    ]
    if steps:
        ordered = [parameter for parameter in network.parameters() if parameter in steps]
        groups.append({"params": ordered, "lr": rate * settings.step_rate, "weight_decay": 0.0})
    return groups


def _milestones(settings: TrainingSettings) -> list[int]:
    inner = range(settings.validate_every, settings.iterations, settings.validate_every)
    return [*inner, settings.iterations]


def costs(network: nn.Module) -> list[Value]:
    """Return parameters, MACs and BitOPs at 32x32 and 256x256 LR pixels of a network."""
    shapes = copy.deepcopy(network).to("meta")  # counts without computing
    small, large = (
        count(shapes, torch.zeros(1, 3, *size, device="meta"), bits_of=bits_of)
        for size in (COST_SIZE, LARGE_SIZE)
    )
    return [
        Value(PARAMETERS, small.parameters),
        Value(MACS, small.macs),
        Value(BITOPS, small.bitops),
        Value(BITOPS_256, large.bitops),
    ]


def _score(
    config: TrainConfig,
    name: str,
    network: nn.Module,
    losses: ScalarLog,
    validation: PairSet,
    seed: int,
) -> Score:
    scored = evaluate(network, validation, border=config.scale)
    settings = config.training
    return Score(
        stage="quantnas_train",
        variant=name,
        seed=seed,
        dataset={
            "card": "+".join(config.validation_sets),
            "split": "validation",
            "items": len(validation),
        },
        values=[
            mean_value(PSNR_Y, scored[PSNR_Y.name]),
            Value(TRAIN_LOSS, fmean(losses.curves["loss"][-settings.validate_every :])),
            *costs(network),
        ],
        budget={
            "iterations": settings.iterations,
            "images": settings.iterations * settings.batch_size,
            "patch": settings.lr_crop * config.scale,
            "bits": bits_text(network),
        },
    )


def bits_text(network: nn.Module) -> str:
    """Return the bits of a network's searched or quantized layers in words: `4/8`."""
    if isinstance(network, SearchedSR):
        found = {choice.partition("@")[2] for choice in network.genotype.choices.values()}
    else:
        found = {str(bits_of("", module)[0]) for module in network.modules()} - {"32"} or {"32"}
    return "/".join(sorted(found, key=int))
