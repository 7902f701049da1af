"""From probabilities to a network: the likely candidates, scored with weights of their supernet.

He et al. (2021), arXiv 2101.05442. The published code exports a random architecture, unrelated to
the one it scored last; here every candidate is scored itself, with normalization statistics of its
own, on patients that moved neither weights nor architecture.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from vismodels.data.volumes import VolumeSet
from vismodels.methods.covidnet3d.evaluation import loss_and_accuracy
from vismodels.methods.covidnet3d.supernet import Path, Supernet
from vismodels.nas.genotype import Genotype
from vismodels.nas.policy import sample_path


@dataclass(frozen=True)
class Candidate:
    """A network that a search may end with.

    Args:
        genotype: the network.
        origin: `most probable`, `sampled`, or `random` for those drawn evenly to compare with.
        loss: weighted cross-entropy on the held-out patients, with the supernet's weights.
        accuracy: share of right answers there.
    """

    genotype: Genotype
    origin: str
    loss: float
    accuracy: float


def score_path(
    supernet: Supernet, genotype: Genotype, calibration: Sequence[Tensor], held_out: VolumeSet
) -> tuple[float, float]:
    """Return loss and accuracy of one network with the supernet's weights.

    Statistics of normalizations are first measured for this network alone: those the search leaves
    are a mixture of all paths that ran.

    Args:
        supernet: its normalization statistics are replaced.
        genotype: which network.
        calibration: batches of volumes for the statistics.
        held_out: what is scored.
    """
    path = Path(supernet, genotype)
    device = next(supernet.parameters()).device
    batches = [part.to(device) for part in calibration]
    with torch.no_grad():
        update_bn(batches, path)
    weights = held_out.class_weights()
    return loss_and_accuracy(path, held_out, weights, device)


def candidates(
    supernet: Supernet,
    calibration: Sequence[Tensor],
    held_out: VolumeSet,
    *,
    sampled: int,
    compared: int,
    generator: torch.Generator,
) -> list[Candidate]:
    """Return the most probable network, some sampled ones, and evenly random ones, all scored.

    Args:
        supernet: after the search.
        calibration: batches of volumes for the normalization statistics.
        held_out: patients that moved neither weights nor architecture.
        sampled: draws from the final probabilities; what was drawn before is not scored again.
        compared: evenly random networks.
        generator: source of the draws.
    """
    choices = supernet.decisions()
    origins = {_key(supernet.best()): ("most probable", supernet.best())}
    for _ in range(sampled):
        weights, _ = sample_path(choices, generator)
        drawn = supernet.config.genotype(
            {name: choices[name].candidates[int(w.argmax())] for name, w in weights.items()}
        )
        origins.setdefault(_key(drawn), ("sampled", drawn))
    rng = random.Random(int(torch.randint(2**62, (1,), generator=generator)))
    evenly = [("random", supernet.config.draw(rng)) for _ in range(compared)]
    return [
        Candidate(genotype, origin, *score_path(supernet, genotype, calibration, held_out))
        for origin, genotype in [*origins.values(), *evenly]
    ]


def best_of(scored: Sequence[Candidate]) -> Candidate:
    """Return the candidate of least loss, evenly random ones left out; the first of equals."""
    eligible = [candidate for candidate in scored if candidate.origin != "random"]
    return min(eligible, key=lambda candidate: candidate.loss)


def _key(genotype: Genotype) -> tuple[str, ...]:
    return tuple(genotype.choices.values())
