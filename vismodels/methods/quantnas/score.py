"""Score networks and bicubic interpolation on the test photographs: the one look at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vismodels.data.enlarging import measure, upscale
from vismodels.data.pairs import PairSet
from vismodels.data.resize import bicubic_resize
from vismodels.data.windows import Enlarge, Image, cut_windows
from vismodels.methods.quantnas.build import bits_text, costs, fixed_network
from vismodels.methods.quantnas.config import BICUBIC, FixedNetwork, ScoreConfig
from vismodels.methods.quantnas.fixed import FixedSR
from vismodels.methods.quantnas.network import SearchedSR
from vismodels.metrics.floors import with_floors
from vismodels.metrics.image import PSNR_Y, SSIM_Y
from vismodels.nn.super_resolution import SuperResolutionNetwork
from vismodels.results import Score, mean_value
from vismodels.training.trained import load_trained

STAGE = "quantnas_score"
NETWORKS: tuple[type[SuperResolutionNetwork], ...] = (SearchedSR, FixedSR)


@dataclass(frozen=True)
class Scored:
    """The records, and the windows to look at: (image, variant) -> pixels."""

    scores: Sequence[Score]
    crops: Mapping[tuple[str, str], Image]


def load_networks(
    folders: Sequence[Path], device: torch.device | str = "cpu"
) -> dict[str, dict[int, SuperResolutionNetwork]]:
    """Return name -> seed -> network of the folders that the stage `train` wrote.

    Raises:
        FileError: if a folder is damaged, or holds another kind of network.
    """
    return load_trained(folders, NETWORKS, device)


def score(
    config: ScoreConfig,
    networks: Mapping[str, Mapping[int, SuperResolutionNetwork]],
    tests: Mapping[str, PairSet],
) -> Scored:
    """Return PSNR-Y and SSIM-Y of every network on every test set, and what each costs.

    Args:
        config: scale, border, floors, windows, and the networks that are only counted.
        networks: name -> seed -> trained network.
        tests: name of the set -> its test pairs.

    Raises:
        ValueError: if there is no test set or one has another scale, or if a window does not lie
            within its image or names none.
    """
    scales = {pairs.scale for pairs in tests.values()}
    if scales != {config.scale}:
        raise ValueError(f"expected test sets of scale {config.scale}, got {sorted(scales)}")
    variants: list[tuple[str, int | None, Enlarge]] = [
        (BICUBIC, None, lambda image: bicubic_resize(image, scale=config.scale)),
        *(
            (name, seed, _enlarge(network))
            for name, seeds in networks.items()
            for seed, network in seeds.items()
        ),
    ]
    measured = [
        _quality(variant, seed, name, enlarge, pairs, config.scoring.border)
        for name, pairs in tests.items()
        for variant, seed, enlarge in variants
    ]
    counted = [
        _cost(name, seed, network)
        for name, seeds in networks.items()
        for seed, network in seeds.items()
    ]
    untrained = [_cost_untrained(source, config.scale) for source in config.counted]
    first = {variant: enlarge for variant, _, enlarge in reversed(variants)}  # first seed of each
    return Scored(
        [*with_floors(config.scoring.floors, measured), *counted, *untrained],
        cut_windows(config.scoring.crops, first, tests),
    )


def _enlarge(network: SuperResolutionNetwork) -> Enlarge:
    return lambda image: upscale(network, image)


def _quality(
    variant: str, seed: int | None, card: str, enlarge: Enlarge, pairs: PairSet, border: int
) -> Score:
    values = measure(enlarge, pairs, border=border)
    return Score(
        stage=STAGE,
        variant=variant,
        seed=seed,
        dataset={"card": card, "split": "test", "items": len(pairs)},
        values=[mean_value(metric, values[metric.name]) for metric in (PSNR_Y, SSIM_Y)],
    )


def _cost(variant: str, seed: int | None, network: SuperResolutionNetwork) -> Score:
    return Score(
        stage=STAGE,
        variant=variant,
        seed=seed,
        values=costs(network),
        budget={"bits": bits_text(network)},
    )


def _cost_untrained(source: FixedNetwork, scale: int) -> Score:
    record = _cost(source.name, None, fixed_network(source, scale))
    return replace(record, note="not trained in this run; its operations are counted")
