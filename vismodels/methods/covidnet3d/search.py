"""Search a supernet: weights and architecture in turn on different patients, then derive.

He et al. (2021), arXiv 2101.05442; see `search_run` for the steps and `derivation` for the choice.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from vismodels.data.volumes import VolumeSet, divide_by_patient, volume_batches
from vismodels.methods.covidnet3d.config import SearchConfig
from vismodels.methods.covidnet3d.derivation import Candidate, best_of, candidates
from vismodels.methods.covidnet3d.evaluation import loss_and_accuracy
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.search_run import SearchRun
from vismodels.methods.covidnet3d.train import train_network
from vismodels.metrics.general import PARAMETERS, TRAIN_LOSS
from vismodels.metrics.search import (
    CHOICE_ENTROPY,
    DECISIVENESS,
    DERIVED_ACCURACY,
    DERIVED_LOSS,
    EXPECTED_MACS,
    PROBABLE_LOSS,
    RANDOM_LOSS,
)
from vismodels.nas.genotype import Genotype
from vismodels.nas.search import paired
from vismodels.results import Gate, Score, Value
from vismodels.seeding import derive_seed, generator
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit_to_milestones

ENTROPY_GATE = "entropy at the end, share of that at the start"
RANDOM_GATE = "loss of the most probable network minus the mean of random ones"


@dataclass(frozen=True)
class Searched:
    """What a search gives.

    Args:
        genotype: the derived network.
        losses: curves of every iteration.
        course: at every validation, the most probable network's loss and all probabilities.
        candidates: what was scored at the end, the evenly random networks included.
        score: the record.
        timings: CPU seconds; they vary from run to run.
    """

    genotype: Genotype
    losses: ScalarLog
    course: ScalarLog
    candidates: Sequence[Candidate]
    score: Score
    timings: dict[str, float] = field(default_factory=dict)

    def candidates_record(self) -> list[dict[str, Any]]:
        """Return the candidates as plain values for JSON."""
        return [
            {
                "origin": candidate.origin,
                "loss": candidate.loss,
                "accuracy": candidate.accuracy,
                "choices": dict(candidate.genotype.choices),
            }
            for candidate in self.candidates
        ]


def search(
    config: SearchConfig,
    training: VolumeSet,
    *,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> Searched:
    """Return the network that a search finds in the space of `config`.

    Weights, architecture and the choice among candidates see three disjoint sets of patients, all
    of the training split.

    Args:
        config: space, variant, settings.
        training: the training split.
        name: of the variant, in its record.
        seed: of the division, weights, batches and samples.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted search goes on from it bit by bit.

    Raises:
        ValueError: if a class has too few patients to be divided, or a batch is larger than a part.
        FloatingPointError: if a loss is not finite.
    """
    settings = config.settings
    own, architecture, held_out = divide_by_patient(
        training, settings.parts, derive_seed(seed, "covidnet3d", "search", "parts")
    )
    run = SearchRun(config, training.shape, training.class_weights(), seed, device)
    streams = [
        volume_batches(
            part,
            draws,
            batch_size=settings.batch_size,
            flip=settings.flip,
            shift=settings.shift,
            level=settings.level,
        )
        for part, draws in zip((architecture, own), run.draws, strict=True)
    ]
    calibration = _calibration(own, config, seed)
    clock, begun = time.process_time(), run.state.iteration
    spent = 0.0
    for end in fit_to_milestones(
        run.step,
        paired(*streams),
        run.state,
        iterations=settings.iterations,
        every=settings.validate_every,
        checkpoint_dir=checkpoint_dir,
        log=run.losses,
    ):
        spent += time.process_time() - clock
        if end not in run.course.iterations:
            run.course.append(end, run.measure(calibration, held_out))
        clock = time.process_time()
    scored = candidates(
        run.supernet,
        calibration,
        held_out,
        sampled=settings.candidates,
        compared=settings.compared,
        generator=generator(seed, "covidnet3d", "search", "candidates"),
    )
    chosen = best_of(scored)
    if settings.early_selection:
        chosen = _early_selection(config, scored, own, architecture, held_out, seed, device)
    steps = max(settings.iterations - begun, 1)
    return Searched(
        chosen.genotype,
        run.losses,
        run.course,
        scored,
        _score(config, name, seed, run, scored, chosen, held_out),
        {"cpu_seconds_per_step": spent / steps},
    )


def _calibration(own: VolumeSet, config: SearchConfig, seed: int) -> list[Tensor]:
    """Return the batches that give every candidate its normalization statistics."""
    draws = generator(seed, "covidnet3d", "search", "calibration")
    batches = volume_batches(own, draws, batch_size=config.settings.batch_size)
    return [images for images, _ in islice(batches, config.settings.recalibration)]


def _early_selection(
    config: SearchConfig,
    scored: Sequence[Candidate],
    own: VolumeSet,
    architecture: VolumeSet,
    held_out: VolumeSet,
    seed: int,
    device: torch.device | str,
) -> Candidate:
    """Return the candidate of least loss after each was trained for a while from scratch."""
    together = VolumeSet(
        torch.cat([own.images, architecture.images]),
        torch.cat([own.labels, architecture.labels]),
        own.names + architecture.names,
        own.patients + architecture.patients,
        own.classes,
    )
    iterations = config.settings.early_selection
    settings = config.training.model_copy(
        update={
            "iterations": iterations,
            "validate_every": iterations,
            "warmup": min(config.training.warmup, iterations // 10),
        }
    )
    trained = []
    for candidate in scored:
        if candidate.origin == "random":
            continue
        network = CovidNet3D.of(config.space, candidate.genotype)
        network.initialize_(generator(seed, "covidnet3d", "early selection"))
        fitted, _, _ = train_network(
            network, settings, together, held_out, seed=seed, device=device
        )
        loss, _ = loss_and_accuracy(fitted, held_out, held_out.class_weights(), device)
        trained.append((loss, candidate))
    return min(trained, key=lambda pair: pair[0])[1]


@torch.no_grad()
def _score(
    config: SearchConfig,
    name: str,
    seed: int,
    run: SearchRun,
    scored: Sequence[Candidate],
    chosen: Candidate,
    held_out: VolumeSet,
) -> Score:
    supernet, settings = run.supernet, config.settings
    probabilities = {d: float(p.max()) for d, p in supernet.probabilities().items()}
    random = {str(i): c.loss for i, c in enumerate(c for c in scored if c.origin == "random")}
    # Chosen without a look at these patients; the derived one is the best of several on them.
    probable = next(c.loss for c in scored if c.origin == "most probable")
    entropy, start = float(supernet.entropy()), run.losses.curves["entropy"][0]
    gates = [Gate(ENTROPY_GATE, entropy / start, 0.5, at_least=False)] if start else []
    values = [
        Value(CHOICE_ENTROPY, entropy),
        Value(DECISIVENESS, fmean(probabilities.values()), probabilities),
        Value(PROBABLE_LOSS, probable),
        Value(DERIVED_LOSS, chosen.loss),
        Value(DERIVED_ACCURACY, 100 * chosen.accuracy),
        Value(EXPECTED_MACS, float(supernet.expected_macs(run.shape))),
        Value(PARAMETERS, sum(p.numel() for p in supernet.network.parameters())),
        Value(TRAIN_LOSS, fmean(run.losses.curves["loss"][-settings.validate_every :])),
    ]
    if random:
        mean = fmean(random.values())
        values.append(Value(RANDOM_LOSS, mean, random))
        gates.append(Gate(RANDOM_GATE, probable - mean, 0.0, at_least=False))
    return Score(
        stage="covidnet3d_search",
        variant=name,
        seed=seed,
        dataset={"card": config.data.card, "split": "train, held out", "items": len(held_out)},
        values=values,
        gates=gates,
        budget={
            "iterations": settings.iterations,
            "volumes": 2 * settings.iterations * settings.batch_size,
            "estimator": config.variant.estimator,
        },
        note=config.data.note,
    )
