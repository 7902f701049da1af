"""Score networks and classical interpolation on the test photographs: the one look at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from vismodels.data.cv import lanczos_resize
from vismodels.data.enlarging import measure, upscale
from vismodels.data.pairs import PairSet
from vismodels.data.resize import bicubic_resize
from vismodels.data.windows import Enlarge, Image, cut_windows
from vismodels.methods.super_resolution.config import ScoringConfig
from vismodels.metrics.floors import with_floors
from vismodels.metrics.image import PSNR_Y, SSIM_Y
from vismodels.nn.residual_sr import ESPCN, ResidualSR
from vismodels.results import Gate, Score, mean_value
from vismodels.training.trained import load_trained

NETWORKS: tuple[type[nn.Module], ...] = (ResidualSR, ESPCN)


@dataclass(frozen=True)
class Scored:
    """The records, and the windows to look at: (image, variant) -> pixels."""

    scores: Sequence[Score]
    crops: Mapping[tuple[str, str], Image]


def load_networks(
    folders: Sequence[Path], device: torch.device | str = "cpu"
) -> dict[str, dict[int, nn.Module]]:
    """Return name -> seed -> network of the folders that the stage `train` wrote.

    Raises:
        FileError: if a folder is damaged, or holds another kind of network.
    """
    return load_trained(folders, NETWORKS, device)


def score(
    config: ScoringConfig,
    networks: Mapping[str, Mapping[int, nn.Module]],
    tests: Mapping[str, PairSet],
) -> Scored:
    """Return PSNR-Y and SSIM-Y of every variant on every test set.

    Args:
        config: border, gate, windows.
        networks: name -> seed -> trained network.
        tests: name of the set -> its test pairs, all of one scale.

    Raises:
        ValueError: if there is no test set or they differ in scale, if a window does not lie within
            its image or names none, or if the gate's set or network is not there.
    """
    scales = {pairs.scale for pairs in tests.values()}
    if len(scales) != 1:
        raise ValueError(f"expected test sets of one scale, got scales {sorted(scales)}")
    (scale,) = scales
    variants: list[tuple[str, int | None, Enlarge]] = [
        ("bicubic", None, lambda image: bicubic_resize(image, scale=scale)),
        ("lanczos", None, lambda image: lanczos_resize(image, scale)),
    ]
    for name, seeds in networks.items():
        for seed, network in seeds.items():
            variants.append((name, seed, _enlarge(network)))
    scores = [
        _score(config, variant, seed, set_name, enlarge, pairs)
        for set_name, pairs in tests.items()
        for variant, seed, enlarge in variants
    ]
    first = {variant: enlarge for variant, _, enlarge in reversed(variants)}  # first seed of each
    checked = with_floors(config.floors, _gated(config, scores))
    return Scored(checked, cut_windows(config.crops, first, tests))


def _enlarge(network: nn.Module) -> Enlarge:
    return lambda image: upscale(network, image)


def _score(
    config: ScoringConfig,
    variant: str,
    seed: int | None,
    set_name: str,
    enlarge: Enlarge,
    pairs: PairSet,
) -> Score:
    values = measure(enlarge, pairs, border=config.border)
    return Score(
        stage="super_resolution_score",
        variant=variant,
        seed=seed,
        dataset={"card": set_name, "split": "test", "items": len(pairs)},
        values=[mean_value(metric, values[metric.name]) for metric in (PSNR_Y, SSIM_Y)],
    )


def _gated(config: ScoringConfig, scores: Sequence[Score]) -> list[Score]:
    """Return the scores, with the gate "so much better than bicubic" where it applies."""
    if config.gate is None:
        return list(scores)
    psnr = {
        (record.variant, record.seed): record.value(PSNR_Y.name).value or 0.0
        for record in scores
        if record.dataset["card"] == config.gated_set
    }
    if not any(variant == config.gated_network for variant, _ in psnr):
        raise ValueError(
            f"the gate is on {config.gated_network!r} scored on {config.gated_set!r}, which was "
            "not scored; name what was, or set the gate to null"
        )
    gated = []
    for record in scores:
        if (record.dataset["card"], record.variant) == (config.gated_set, config.gated_network):
            gain = psnr[record.variant, record.seed] - psnr["bicubic", None]
            gate = Gate("gain over bicubic, dB PSNR-Y", gain, config.gate)
            record = replace(record, gates=[gate])
        gated.append(record)
    return gated
