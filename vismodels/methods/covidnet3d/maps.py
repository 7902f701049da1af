"""Activation maps of the test scans, scored against their lesions, beside maps that know nothing.

He et al. (2021), arXiv 2101.05442, shows pictures of class activation maps; here the lesions of the
scans are known, so that maps have scores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vismodels.data.scans import Scan
from vismodels.data.volumes import VolumeSet
from vismodels.explain.cam import cam, grad_cam, layer_cam
from vismodels.explain.maps import shifted_cam, upsample
from vismodels.methods.covidnet3d.config import DataConfig, MapSettings
from vismodels.methods.covidnet3d.evaluation import device_of
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.metrics.faithfulness import (
    DELETION_AREA,
    INSERTION_AREA,
    blurred,
    deletion_insertion,
)
from vismodels.metrics.localization import (
    ENERGY_IN_LESION,
    ENERGY_IN_LUNG,
    LESION_IOU,
    POINTING_GAME,
    measure_localization,
    shuffled,
)
from vismodels.results import Score, mean_value
from vismodels.seeding import numpy_generator

STAGE = "covidnet3d_maps"
METRICS = (POINTING_GAME, ENERGY_IN_LESION, ENERGY_IN_LUNG, LESION_IOU)
HEAD, CLASSIFIER = "trunk.head", "trunk.classifier"
BASELINE_SIGMA = 4.0  # voxels, of the blurred scan that hot voxels are replaced by


@dataclass(frozen=True)
class Maps:
    """Raw maps of one kind on the scans' grid.

    Args:
        kind: `cam`, `shifted_cam`, `grad_cam`, `layer_cam`.
        maps: name of the scan -> (D, H, W).
        shuffled: the same with their cells in another order, before they are enlarged; in every
            window anew where a map is made of several.
    """

    kind: str
    maps: Mapping[str, NDArray[np.float32]]
    shuffled: Mapping[str, NDArray[np.float32]]


def draw_maps(
    network: CovidNet3D, test: VolumeSet, chosen: Sequence[int], settings: MapSettings
) -> list[Maps]:
    """Return all kinds of maps of some scans, each for its true class, drawn where the network is.

    Args:
        network: trained.
        test: the scans as the network sees them.
        chosen: positions of the scans in `test`.
        settings: kinds, and the layer of those that may look at an earlier one.
    """
    layer = settings.layer or HEAD
    makers: dict[str, Callable[..., Tensor]] = {
        "cam": partial(cam, network, layer=HEAD, classifier=CLASSIFIER),
        "grad_cam": partial(grad_cam, network, layer=layer),
        "layer_cam": partial(layer_cam, network, layer=layer),
    }
    drawn, device = [], device_of(network)
    for kind in settings.kinds:
        maps, other = {}, {}
        for index in chosen:
            name, x = test.names[index], test.images[index : index + 1].to(device)
            target = test.labels[index : index + 1].to(device)
            rng = numpy_generator(0, "covidnet3d", "shuffled", kind, name)
            if kind == "shifted_cam":
                explain = partial(makers["cam"], target=target)
                whole = shifted_cam(explain, x)
                moved = shifted_cam(partial(_explain_shuffled, explain, rng), x)
            else:
                cells = makers[kind](x, target=target)
                whole = upsample(cells, test.shape)
                moved = upsample(_shuffled(cells, rng), test.shape)
            maps[name] = whole[0].cpu().numpy()
            other[name] = moved[0].cpu().numpy()
        drawn.append(Maps(kind, maps, other))
    return drawn


def _shuffled(cells: Tensor, rng: np.random.Generator) -> Tensor:
    """Return maps, (1, *cells), with the cells in another order."""
    return torch.from_numpy(shuffled(cells[0].cpu().numpy(), rng))[None].to(cells.device)


def _explain_shuffled(
    explain: Callable[[Tensor], Tensor], rng: np.random.Generator, window: Tensor
) -> Tensor:
    """Return the map of a window with its cells in another order."""
    return _shuffled(explain(window), rng)


def score_maps(
    config: DataConfig,
    name: str,
    seed: int,
    drawn: Sequence[Maps],
    scans: Sequence[Scan],
) -> list[Score]:
    """Return how well maps hit the lesions: `<network>_<kind>`, and `..._shuffled` for chance.

    Args:
        config: what is classified.
        name: of the network.
        seed: of its training.
        drawn: maps of scans with lesions.
        scans: the test scans, with masks of lung and lesion.
    """
    masks = {scan.name: scan for scan in scans}

    def record(variant: str, maps: Mapping[str, NDArray[np.float32]]) -> Score:
        measured = {}
        for scan, values in maps.items():
            known = masks[scan]
            assert known.lesion is not None and known.lung is not None
            measured[scan] = measure_localization(values, known.lesion, known.lung)
        return Score(
            stage=STAGE,
            variant=variant,
            seed=seed,
            dataset={"card": config.card, "split": "test, with lesions", "items": len(maps)},
            values=[
                mean_value(metric, {scan: of[metric.name] for scan, of in measured.items()})
                for metric in METRICS
            ],
            note=config.note,
        )

    return [
        score
        for maps in drawn
        for score in (
            record(f"{name}_{maps.kind}", maps.maps),
            record(f"{name}_{maps.kind}_shuffled", maps.shuffled),
        )
    ]


def score_faithfulness(
    config: DataConfig,
    name: str,
    seed: int,
    network: nn.Module,
    drawn: Sequence[Maps],
    test: VolumeSet,
    settings: MapSettings,
) -> list[Score]:
    """Return deletion and insertion areas of some scans: `<network>_<kind>`, and shuffled ones.

    Args:
        config: what is classified.
        name: of the network.
        seed: of its training.
        network: whose probability is followed.
        drawn: maps.
        test: the scans as the network sees them.
        settings: number of scans and of steps.
    """
    position = {scan: index for index, scan in enumerate(test.names)}
    records, device = [], device_of(network)
    for maps in drawn:
        for variant, of_scans in (
            (f"{name}_{maps.kind}", maps.maps),
            (f"{name}_{maps.kind}_shuffled", maps.shuffled),
        ):
            labels = {scan: int(test.labels[position[scan]]) for scan in of_scans}
            areas: dict[str, dict[str, float]] = {}
            for scan in across_classes(labels, settings.faithfulness_scans):
                index = position[scan]
                volume = test.images[index, 0].numpy()
                label = int(test.labels[index])

                @torch.no_grad()
                def probability(values: NDArray[np.float32], label: int = label) -> float:
                    x = torch.from_numpy(np.asarray(values, np.float32))[None, None]
                    return float(torch.softmax(network(x.to(device)), dim=1)[0, label])

                areas[scan] = deletion_insertion(
                    probability,
                    volume,
                    of_scans[scan],
                    settings.faithfulness_steps,
                    blurred(volume, BASELINE_SIGMA),
                ).areas
            records.append(
                Score(
                    stage=STAGE,
                    variant=variant,
                    seed=seed,
                    dataset={"card": config.card, "split": "test, some", "items": len(areas)},
                    values=[
                        mean_value(metric, {scan: of[metric.name] for scan, of in areas.items()})
                        for metric in (DELETION_AREA, INSERTION_AREA)
                    ],
                    note=config.note,
                )
            )
    return records


def across_classes(labels: Mapping[str, int], count: int) -> list[str]:
    """Return `count` scans, or all, taken from the classes in turn and in the order they have.

    Args:
        labels: scan -> its class.
        count: how many.
    """
    of_class: dict[int, list[str]] = {}
    for scan, label in labels.items():
        of_class.setdefault(label, []).append(scan)
    rounds = zip_longest(*(of_class[label] for label in sorted(of_class)))
    return [scan for turn in rounds for scan in turn if scan is not None][:count]


def with_lesions(scans: Sequence[Scan], least: int) -> list[int]:
    """Return the positions of the scans whose lesion mask has at least so many voxels."""
    return [
        index
        for index, scan in enumerate(scans)
        if scan.lesion is not None and scan.lung is not None and int(scan.lesion.sum()) >= least
    ]
