"""Ranges of activations, measured over a calibration set in the float network."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vismodels.methods.quest.calibration_set import CalibrationSet
from vismodels.methods.quest.packed import PackedLayer
from vismodels.methods.quest.quantize import activation_quantizers, enabled, quantized_layers
from vismodels.methods.quest.quantizers import ActivationQuantizer
from vismodels.methods.quest.time_groups import TimeGroups, time_groups_of
from vismodels.nn.modes import evaluation_mode
from vismodels.quantization.observers import BINS, Extremes, Histogram
from vismodels.quantization.ranges import mse_range, percentile_range

CHANNEL_BINS = 512  # of a histogram of one channel among many, which are searched at once


@torch.no_grad()
def calibrate_(
    model: nn.Module,
    calibration: CalibrationSet,
    *,
    batch_size: int = 32,
    with_quantized_weights: bool = False,
) -> None:
    """Set the ranges of all activation quantizers, in each time group from its own samples.

    Timesteps of the groups are equally spaced among those of the calibration set; a sample belongs
    to the nearest. Scales that go into weights change these, whose ranges are set anew then: a
    rounding that was learned before is lost.

    Args:
        model: quantized; changed in place, or not at all if an error is raised.
        calibration: inputs of the float network.
        batch_size: samples in a call; matters for running extremes, and for rounding.
        with_quantized_weights: measure behind quantized weights, as after their reconstruction; so
            is a packed network in any case, which has no others.

    Raises:
        ValueError: if the network is not quantized, if it is packed and its weights hold the scales
            of its inputs, for fewer timesteps than time groups, or if an activation does not occur
            or is not finite.
    """
    state = time_groups_of(model)
    is_packed = _check_packed(model)
    timesteps = _group_timesteps(calibration, state.settings.time_groups)
    before, state.timesteps = state.timesteps, timesteps.to(state.timesteps)
    try:
        with enabled(model, weights=with_quantized_weights or is_packed, activations=False):
            found = _measured(model, state, calibration, batch_size)
    except BaseException:
        state.timesteps = before
        raise
    for (quantizer, group), ends in found.items():
        quantizer.set_range_(*ends, group)
    for layer in quantized_layers(model).values():
        if layer.folds_channels:
            layer.initialize_weights_()


Ends = tuple[Tensor, Tensor]


def _check_packed(model: nn.Module) -> bool:
    """Return whether a network is packed; raise a ValueError if it cannot be calibrated so."""
    packed = {n: x for n, x in quantized_layers(model).items() if isinstance(x, PackedLayer)}
    if folding := [name for name, layer in packed.items() if layer.folds_channels]:
        raise ValueError(
            f"the packed weight of {', '.join(folding[:5])} ({len(folding)} in all) holds the "
            "scales of its input's channels, which cannot be measured anew; calibrate the network "
            "before it is packed"
        )
    return bool(packed)


def _measured(
    model: nn.Module, state: TimeGroups, calibration: CalibrationSet, batch_size: int
) -> dict[tuple[ActivationQuantizer, int], Ends]:
    """Return the ends of the range of each quantizer and time group."""
    quantizers = activation_quantizers(model)
    groups = state.groups_of(calibration.timesteps)
    found: dict[tuple[ActivationQuantizer, int], Ends] = {}
    for group in range(state.settings.time_groups):
        samples = calibration.select(groups == group)
        extremes = {each: Extremes(each.config.momentum) for each in quantizers.values()}
        _run(model, samples, batch_size, {q: e.update for q, e in extremes.items()})
        missing = [name for name, each in quantizers.items() if extremes[each].ends is None]
        if missing:
            raise ValueError(
                f"no activation came by {', '.join(missing[:5])} ({len(missing)} in all): either "
                "the network does not use them with these inputs, or reads weights past its "
                "layers; name the layers in skip"
            )
        ends = {each: seen.ends for each, seen in extremes.items() if seen.ends is not None}
        broken = [
            name for name, q in quantizers.items() if not torch.stack(ends[q]).isfinite().all()
        ]
        if broken:
            raise ValueError(
                f"the activation of {', '.join(broken[:5])} ({len(broken)} in all) is not finite, "
                "so it has no range; look for overflows in the float network, or name the layers "
                "in skip"
            )
        searched = {
            each: Histogram(*own, bins=BINS if len(own[0]) == 1 else CHANNEL_BINS)
            for each, own in ends.items()
            if each.config.ranges != "minmax"
        }
        if searched:
            _run(model, samples, batch_size, {q: h.update for q, h in searched.items()})
        for quantizer, own in ends.items():
            histogram = searched.get(quantizer)
            found[quantizer, group] = own if histogram is None else _best(quantizer, histogram, own)
    return found


def _best(quantizer: ActivationQuantizer, histogram: Histogram, extremes: Ends) -> Ends:
    counts, spec = histogram.counts, quantizer.spec
    if quantizer.config.ranges == "percentile":
        return percentile_range(histogram.centers, spec, counts=counts)
    return mse_range(histogram.centers, spec, counts=counts, extremes=extremes)


def _run(
    model: nn.Module,
    samples: CalibrationSet,
    batch_size: int,
    observers: Mapping[ActivationQuantizer, Callable[[Tensor], None]],
) -> None:
    """Call the network with all samples while the observers see rows of values, (C, n)."""
    with evaluation_mode(model), _observed(observers):
        for batch in samples.batches(batch_size):
            model(**batch.arguments(like=model))


@contextmanager
def _observed(observers: Mapping[ActivationQuantizer, Callable[[Tensor], None]]) -> Iterator[None]:
    def observe(quantizer: ActivationQuantizer, take: Callable[[Tensor], None]) -> None:
        quantizer.observe = lambda x: take(quantizer.rows(x).float())

    try:
        for quantizer, take in observers.items():
            observe(quantizer, take)
        yield
    finally:
        for quantizer in observers:
            quantizer.observe = None


def _group_timesteps(calibration: CalibrationSet, count: int) -> Tensor:
    """Return equally spaced ones of the timesteps that occur, (count,), falling."""
    seen: Tensor = torch.unique(calibration.timesteps).flip(0)
    if len(seen) < count:
        raise ValueError(
            f"a calibration set of {len(seen)} timesteps cannot set {count} time groups; collect "
            "it from more steps"
        )
    # A single one may be any: all are nearest to it.
    places = torch.linspace(0, len(seen) - 1, count).round().long()
    return seen[places]
