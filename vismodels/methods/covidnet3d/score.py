"""Score all networks and shortcuts on the test scans: the one look at them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vismodels.cost.counters import count
from vismodels.data.scans import Scan
from vismodels.data.volumes import VolumeSet
from vismodels.methods.covidnet3d.baselines import Baseline
from vismodels.methods.covidnet3d.config import DataConfig, ScoringSettings
from vismodels.methods.covidnet3d.evaluation import device_of, logits_of
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.shortcuts import SCAN_SHORTCUTS, majority, regression
from vismodels.metrics.bounds import with_bounds
from vismodels.metrics.classification import (
    INTERVALS,
    SIZE_MB,
    classification_scores,
    classification_values,
    size_mb,
)
from vismodels.metrics.general import MACS, PARAMETERS
from vismodels.results import Score, Value
from vismodels.seeding import numpy_generator
from vismodels.statistics import bootstrap_by_group
from vismodels.training.trained import load_trained

STAGE = "covidnet3d_score"
NETWORKS: tuple[type[nn.Module], ...] = (CovidNet3D, Baseline)
Logits = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """The records, and CPU seconds of one scan by network, which vary from run to run."""

    scores: Sequence[Score]
    timings: dict[str, float] = field(default_factory=dict)


def load_networks(
    folders: Sequence[Path], device: torch.device | str = "cpu"
) -> dict[str, dict[int, nn.Module]]:
    """Return name -> seed -> network of the folders that the stage `train` wrote.

    Raises:
        FileError: if a folder is damaged, or holds another kind of network.
    """
    return load_trained(folders, NETWORKS, device)


def score(
    config: DataConfig,
    settings: ScoringSettings,
    networks: Mapping[str, Mapping[int, nn.Module]],
    test: VolumeSet,
    shortcuts: Mapping[str, Logits],
    device: torch.device | str = "cpu",
) -> Scored:
    """Return the scores of every network and shortcut on the test split, and what networks cost.

    Args:
        config: what is classified.
        settings: draws of the bootstrap, bounds to reach.
        networks: name -> seed -> trained network.
        test: the test split.
        shortcuts: name -> (N, classes) logits of its rows.
        device: where to compute.
    """
    scores = [
        _record(config, settings, name, None, test, logits) for name, logits in shortcuts.items()
    ]
    timings = {}
    for name, seeds in networks.items():
        for seed, network in seeds.items():
            logits = logits_of(network, test, device).double().numpy()
            scores.append(_record(config, settings, name, seed, test, logits))
            scores.append(_cost(name, seed, network, test))
        timings[f"seconds_per_scan/{name}"] = _seconds(next(iter(seeds.values())), test, device)
    return Scored(with_bounds(settings.bounds, scores), timings)


def scan_shortcuts(
    training: Sequence[Scan], test: Sequence[Scan], classes: Sequence[str]
) -> dict[str, Logits]:
    """Return the logits of all shortcuts for scans of a chest: name -> (N, classes).

    Histograms are left out where a lung is not known.
    """
    labels = np.array([classes.index(scan.label) for scan in training])
    found = {"majority": majority(labels, len(test), len(classes))}
    for name, features in SCAN_SHORTCUTS.items():
        if name != "slice_count" and any(scan.lung is None for scan in (*training, *test)):
            continue
        found[name] = regression(features(training), labels, features(test), len(classes))
    return found


def _record(
    config: DataConfig,
    settings: ScoringSettings,
    name: str,
    seed: int | None,
    test: VolumeSet,
    logits: Logits,
) -> Score:
    labels, positive = test.labels.numpy(), config.classes.index(config.positive)
    return Score(
        stage=STAGE,
        variant=name,
        seed=seed,
        dataset={"card": config.card, "split": "test", "items": len(test)},
        values=[
            *classification_values(test.names, logits, labels, positive),
            *_intervals(test, logits, positive, settings),
        ],
        note=config.note,
    )


def _intervals(
    test: VolumeSet, logits: Logits, positive: int, settings: ScoringSettings
) -> list[Value]:
    """Return the ends of 95 % intervals over patients, all of the same draws."""
    labels = test.labels.numpy()
    known: dict[bytes, dict[str, float]] = {}  # draw -> scores, which are computed together
    values = []
    for name, ends in INTERVALS.items():

        def statistic(chosen: NDArray[np.int64], name: str = name) -> float:
            draw = chosen.tobytes()
            if draw not in known:
                known[draw] = classification_scores(logits[chosen], labels[chosen], positive)
            return known[draw][name]

        interval = bootstrap_by_group(
            statistic,
            test.patients,
            settings.bootstrap,
            numpy_generator(0, "covidnet3d", "bootstrap"),
        )
        if interval is not None:
            bounds = (interval.low, interval.high)
            values += [Value(end, bound) for end, bound in zip(ends, bounds, strict=True)]
    return values


def _cost(name: str, seed: int, network: nn.Module, test: VolumeSet) -> Score:
    cost = count(network, test.images[:1].to(device_of(network)))
    return Score(
        stage=STAGE,
        variant=name,
        seed=seed,
        values=[
            Value(PARAMETERS, cost.parameters),
            Value(SIZE_MB, size_mb(cost.parameters)),
            Value(MACS, cost.macs),
        ],
    )


@torch.no_grad()
def _seconds(network: nn.Module, test: VolumeSet, device: torch.device | str) -> float:
    """Return seconds for one scan, the mean of a few after one to warm up.

    CPU seconds on a CPU; on another device those that pass until it is done.
    """
    network.eval()
    scans = test.images[:4].to(device)
    clock = time.process_time if scans.device.type == "cpu" else time.perf_counter
    network(scans[:1])
    _wait(scans.device)
    begun = clock()
    for scan in scans:
        network(scan[None])
    _wait(scans.device)
    return (clock() - begun) / len(scans)


def _wait(device: torch.device) -> None:
    """Wait until a device other than the CPU has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
