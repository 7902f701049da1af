"""The stage `score`: networks, shortcuts and maps of one problem, from its input folders."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vismodels.data.scans import RECORDS, Scan, read_scans
from vismodels.data.volumes import VolumeSet
from vismodels.files import read_json
from vismodels.methods.covidnet3d.config import ComparedNetwork, ScoreConfig
from vismodels.methods.covidnet3d.data import load_split, volumes_of_scans
from vismodels.methods.covidnet3d.found import read_compared
from vismodels.methods.covidnet3d.maps import (
    draw_maps,
    score_faithfulness,
    score_maps,
    with_lesions,
)
from vismodels.methods.covidnet3d.montage import store_shown
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.ranking import rank_score
from vismodels.methods.covidnet3d.score import (
    STAGE,
    Logits,
    Scored,
    load_networks,
    scan_shortcuts,
    score,
)
from vismodels.methods.covidnet3d.shapes import FEATURES
from vismodels.methods.covidnet3d.shortcuts import majority, regression
from vismodels.metrics.classification import BALANCED_ACCURACY
from vismodels.results import Score

SHOWN = "maps.npz"


def score_problem(
    config: ScoreConfig,
    networks: Sequence[Path],
    volumes: Path,
    folder: Path,
    *,
    searches: Sequence[Path] = (),
    device: torch.device | str = "cpu",
) -> Scored:
    """Return all records of a problem, and write the maps that the report shows.

    Args:
        config: what is scored.
        networks: folders of the stage `train`.
        volumes: folder of the set.
        folder: where the maps go.
        searches: folders of the searches whose `compared` networks were trained, by name.
        device: where to compute.

    Raises:
        FileError: if a file is missing or damaged.
    """
    loaded = load_networks(networks, device)
    classes = config.data.classes
    scans: list[Scan] = []
    if (volumes / "test" / RECORDS).is_file():
        scans = read_scans(volumes / "test")
        test = volumes_of_scans(config.data, scans)
        shortcuts = scan_shortcuts(read_scans(volumes / "train"), scans, classes)
    else:
        test = load_split(config.data, volumes, "test")
        shortcuts = shape_shortcuts(load_split(config.data, volumes, "train"), test, volumes)
    scored = score(config.data, config.scoring, loaded, test, shortcuts, device)
    scored = replace(scored, scores=[*scored.scores, *_rankings(config, scored.scores, searches)])
    if config.maps is None or not scans:
        return scored
    return replace(
        scored, scores=[*scored.scores, *_map_scores(config, loaded, test, scans, folder)]
    )


def _rankings(
    config: ScoreConfig, scores: Sequence[Score], searches: Sequence[Path]
) -> list[Score]:
    """Return how well each search's supernet ranks the networks it compared."""
    records = []
    for name, folder in zip(config.compared_searches, searches, strict=True):
        supernet = {
            network: float(read_compared(folder, variant.network.number)["loss"])
            for network, variant in config.networks.items()
            if isinstance(variant.network, ComparedNetwork) and variant.network.search == name
        }
        retrained: dict[str, list[float]] = {}
        dataset: Mapping[str, Any] = {}
        for each in scores:
            if each.variant in supernet and each.dataset:
                dataset = each.dataset
                accuracy = each.value(BALANCED_ACCURACY.name).value
                assert accuracy is not None
                retrained.setdefault(each.variant, []).append(accuracy)
        record = rank_score(STAGE, name, dataset, supernet, retrained, config.data.note)
        records += [] if record is None else [record]
    return records


def shape_shortcuts(training: VolumeSet, test: VolumeSet, volumes: Path) -> dict[str, Logits]:
    """Return the logits of all shortcuts of a MedMNIST3D set: name -> (N, classes).

    Those of shapes are left out where the volumes are grey.
    """
    labels, classes = training.labels.numpy(), len(training.classes)
    largest = {"majority": majority(labels, len(test), classes)}
    if not (volumes / "train" / FEATURES).is_file():
        return largest
    tables = {split: _features(volumes / split / FEATURES) for split in ("train", "test")}
    thick = [table[:, [names.index("thickness")]] for names, table in tables.values()]
    return largest | {
        "thickness": regression(thick[0], labels, thick[1], classes),
        "shape_features": regression(tables["train"][1], labels, tables["test"][1], classes),
    }


def _features(path: Path) -> tuple[list[str], Logits]:
    content: Any = read_json(path)
    return content["names"], np.array(content["rows"], float)


def _map_scores(
    config: ScoreConfig,
    networks: Mapping[str, Mapping[int, torch.nn.Module]],
    test: VolumeSet,
    scans: Sequence[Scan],
    folder: Path,
) -> list[Score]:
    """Return the records of all maps; how faithful they are, and pictures, of the first seed."""
    assert config.maps is not None
    settings, records = config.maps, []
    chosen = with_lesions(scans, settings.least_lesion)
    shown: dict[str, np.ndarray[Any, Any]] = {}
    for name in settings.networks:
        for number, (seed, network) in enumerate(sorted(networks[name].items())):
            assert isinstance(network, CovidNet3D)
            drawn = draw_maps(network, test, chosen, settings)
            records += score_maps(config.data, name, seed, drawn, scans)
            if number:  # the rest is dear, or a picture
                continue
            if settings.faithfulness_scans:
                records += score_faithfulness(
                    config.data, name, seed, network, drawn, test, settings
                )
            shown |= {
                f"{name}/{maps.kind}/{scan}": maps.maps[scan].astype(np.float16)
                for maps in drawn
                for scan in settings.shown
                if scan in maps.maps
            }
    names = [scan.name for scan in scans]
    pictured: dict[str, dict[str, np.ndarray[Any, Any]]] = {
        name: {
            "image": test.images[names.index(name), 0].numpy().astype(np.float16),
            "lesion": np.asarray(scans[names.index(name)].lesion),
        }
        for name in settings.shown
        if name in {key.split("/")[2] for key in shown}
    }
    store_shown(folder / SHOWN, pictured, shown)
    return records
