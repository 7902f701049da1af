"""Networks as the configuration describes them, and what they cost.

QuantNAS, arXiv 2208.14839: a genotype, a uniform or random one, or a published network.
"""

import copy

import torch
from torch import nn

from vismodels.config import ConfigError
from vismodels.cost.counters import count
from vismodels.methods.quantnas.config import (
    FixedNetwork,
    RandomNetwork,
    SearchedNetwork,
    TrainConfig,
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
from vismodels.metrics.general import BITOPS, MACS, PARAMETERS
from vismodels.metrics.search import BITOPS_256
from vismodels.nas.genotype import Genotype
from vismodels.nn.super_resolution import SuperResolutionNetwork
from vismodels.quantization.layers import (
    bits_of,
)
from vismodels.results import Value
from vismodels.seeding import derive_seed, generator

LARGE_SIZE = (256, 256)  # the second LR size at which the published code counts operations
MAX_CHANNELS = 512  # of a uniform network that is made as expensive as another


def build_network(config: TrainConfig, found: Genotype | None, seed: int) -> SuperResolutionNetwork:
    """Return an untrained network.

    Args:
        config: says which one.
        found: the genotype of the search that the network names, if it names one.
        seed: its weights depend on it alone.

    Raises:
        ConfigError: if the genotype is none of the space (with the nearest name), or the space
            enlarges by another factor than the configuration.
    """
    network = _described(config, found)
    if network.scale != config.scale:
        raise ConfigError(
            f"the network enlarges by {network.scale}, the photographs are of scale "
            f"{config.scale}; set the scale of the space's skeleton"
        )
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


def bits_text(network: nn.Module) -> str:
    """Return the bits of a network's searched or quantized layers in words: `4/8`."""
    if isinstance(network, SearchedSR):
        found = {choice.partition("@")[2] for choice in network.genotype.choices.values()}
    else:
        found = {str(bits_of("", module)[0]) for module in network.modules()} - {"32"} or {"32"}
    return "/".join(sorted(found, key=int))
