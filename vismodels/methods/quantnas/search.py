"""Search a supernet: alternate between its architecture and its weights, then read the genotype.

QuantNAS, arXiv 2208.14839. First-order bilevel search; see `search_run` for the steps.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch

from vismodels.data.enlarging import evaluate
from vismodels.data.pairs import PairSet, random_patches
from vismodels.methods.quantnas.choice_model import ChoiceModel, Selected
from vismodels.methods.quantnas.config import SearchConfig, SearchSettings
from vismodels.methods.quantnas.search_run import SearchRun
from vismodels.metrics.general import BITOPS, PARAMETERS, TRAIN_LOSS
from vismodels.metrics.image import PSNR_Y
from vismodels.metrics.search import (
    CHOICE_ENTROPY,
    DECISIVENESS,
    DERIVATION_GAP,
    DERIVED_PSNR,
    EXPECTED_BITOPS,
    SUPERNET_PSNR,
)
from vismodels.nas.genotype import Genotype
from vismodels.nas.search import paired
from vismodels.results import Score, Value
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit, milestones, resume


@dataclass(frozen=True)
class Searched:
    """What a search gives.

    Args:
        genotype: the chosen architecture.
        losses: curves of every iteration.
        course: at every validation, losses, expected cost and all probabilities
            (`head_0/simple_3x3@8`).
        score: entropy, decisiveness, quality before and after deriving.
        supernet: with its final weights.
        timings: CPU seconds; they vary from run to run.
    """

    genotype: Genotype
    losses: ScalarLog
    course: ScalarLog
    score: Score
    supernet: ChoiceModel
    timings: dict[str, float] = field(default_factory=dict)


def split_images(names: Sequence[str], settings: SearchSettings) -> tuple[list[str], list[str]]:
    """Return the images that train the architecture, and those that train the weights.

    Raises:
        ValueError: for unknown names, or if one of the two gets none.
    """
    chosen = settings.architecture_images
    if isinstance(chosen, float):
        share = chosen  # evenly spread, since neighbours are often of one set
        chosen = tuple(n for i, n in enumerate(names) if int((i + 1) * share) > int(i * share))
    unknown = sorted(set(chosen) - set(names))
    others = [name for name in names if name not in chosen]
    if unknown or not chosen or not others:
        raise ValueError(
            f"architecture_images must leave images for both parts of {list(names)[:8]}, "
            f"got {list(chosen)[:8]}"
        )
    return list(chosen), others


def search(
    config: SearchConfig,
    training: PairSet,
    validation: PairSet,
    *,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint_dir: Path | None = None,
) -> Searched:
    """Return the genotype that a search finds in the space of `config`.

    Weights, architecture and the choice of the genotype see three disjoint sets of images.

    Args:
        config: space, variant, settings.
        training: divided between weights and architecture.
        validation: photographs that measure the supernet at intervals.
        name: of the variant, in its score record.
        seed: of weights, batches and noise.
        device: where to compute.
        checkpoint_dir: scratch folder; an interrupted search goes on from it bit by bit.

    Raises:
        ValueError: if a photograph is smaller than the crop or the scales differ.
        FloatingPointError: if a loss is not finite.
    """
    for pairs in (training, validation):
        if pairs.scale != config.scale:
            raise ValueError(f"expected pairs of scale {config.scale}, got scale {pairs.scale}")
    run = SearchRun(config, seed, device)
    settings = config.settings
    images = split_images([pair.name for pair in training], settings)
    streams = [
        random_patches(training.subset(part), draws, settings.batch_size, settings.lr_crop)
        for part, draws in zip(images, run.draws, strict=True)
    ]
    if checkpoint_dir is not None:
        resume(checkpoint_dir, run.state, iterations=settings.iterations)
    begun, clock = run.state.iteration, time.process_time()
    spent = 0.0
    for end in milestones(settings.iterations, settings.validate_every):
        fit(
            run.step,
            paired(*streams),
            run.state,
            iterations=end,
            checkpoint_dir=checkpoint_dir,
            checkpoint_every=settings.validate_every,
            log=run.losses,
        )
        spent += time.process_time() - clock
        if end not in run.course.iterations:
            run.course.append(end, run.measure(validation))
        clock = time.process_time()
    steps = max(run.state.iteration - begun, 1)
    genotype = run.chosen()
    score = _score(config, name, seed, run, genotype, validation)
    timings = {"cpu_seconds_per_step": spent / steps}
    return Searched(genotype, run.losses, run.course, score, run.supernet, timings)


@torch.no_grad()
def _score(
    config: SearchConfig,
    name: str,
    seed: int,
    run: SearchRun,
    genotype: Genotype,
    validation: PairSet,
) -> Score:
    supernet, settings, variant = run.supernet, config.settings, config.variant
    probabilities = supernet.probabilities()
    mixed = evaluate(supernet, validation, border=config.scale)[PSNR_Y.name]
    selected = Selected(supernet, supernet.one_hot(genotype))
    derived = evaluate(selected, validation, border=config.scale)[PSNR_Y.name]
    gap = fmean(mixed.values()) - fmean(derived.values())
    certain = {decision: float(p.max()) for decision, p in probabilities.items()}
    return Score(
        stage="quantnas_search",
        variant=name,
        seed=seed,
        dataset={
            "card": "+".join(config.validation_sets),
            "split": "validation",
            "items": len(validation),
        },
        values=[
            Value(CHOICE_ENTROPY, float(supernet.total_entropy(probabilities))),
            Value(DECISIVENESS, fmean(certain.values()), certain),
            Value(SUPERNET_PSNR, fmean(mixed.values()), mixed),
            Value(DERIVED_PSNR, fmean(derived.values()), derived),
            Value(DERIVATION_GAP, gap),
            Value(EXPECTED_BITOPS, float(supernet.expected_cost(probabilities))),
            Value(BITOPS, supernet.genotype_bitops(genotype)),
            Value(PARAMETERS, sum(p.numel() for p in supernet.network.parameters())),
            Value(TRAIN_LOSS, fmean(run.losses.curves["loss"][-settings.validate_every :])),
        ],
        budget={
            "iterations": settings.iterations,
            "images": settings.iterations
            * settings.batch_size
            * (1 if settings.single_level else 2),
            "patch": settings.lr_crop * config.scale,
            "mode": variant.mode,
        },
    )
