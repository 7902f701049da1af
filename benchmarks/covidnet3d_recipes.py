"""CovidNet3D: recipes for AdrenalMNIST3D by cross-validation on its training and validation splits.

    .venv/bin/python benchmarks/covidnet3d_recipes.py FOLDER [--folds 3] [--network residual3d]

FOLDER is that of the stage `covidnet3d_shapes` of the problem `adrenal` (`vismodels reproduce --run
benchmark --method covidnet3d` makes it below results/benchmark). The test split is not read. Folds
are stratified by class; every recipe sees the same folds, weights and batches. Printed are the mean
area under the curve of the held-out parts, its deviation over the folds, and CPU-seconds.
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

from vismodels.config import parse_config
from vismodels.data.volumes import VolumeSet
from vismodels.methods.covidnet3d.baselines import draw_baseline
from vismodels.methods.covidnet3d.config import CovidNet3DConfig, TrainingSettings
from vismodels.methods.covidnet3d.data import load_split
from vismodels.methods.covidnet3d.evaluation import logits_of
from vismodels.methods.covidnet3d.train import train_network
from vismodels.metrics.classification import classification_scores
from vismodels.verify import load_config

SEED = 0
RECIPES: Mapping[str, Mapping[str, Any]] = {  # name -> what differs from workflows/config
    "as configured": {},
    "two thirds as long": {"iterations": 370},
    "a third of the rate": {"learning_rate": 1.0e-3},
    "twice the rate": {"learning_rate": 6.0e-3},
    "smoothed labels": {"label_smoothing": 0.1},
    "without running mean": {"ema_decay": 0.0},
}


def main() -> None:
    """Print a line for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--network", default="residual3d")
    options = parser.parse_args()
    torch.set_num_threads(1)
    problem = parse_config(
        CovidNet3DConfig, load_config("benchmark")["covidnet3d"], "covidnet3d"
    ).problems["adrenal"]
    parts = [load_split(problem.data, options.folder, name) for name in ("train", "validation")]
    pool = together(*parts)
    positive = problem.data.classes.index(problem.data.positive)
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=SEED)
    places = list(folds.split(np.zeros(len(pool)), pool.labels.numpy()))
    print(f"{len(pool)} volumes, {options.folds} folds, {options.network}", flush=True)
    for name, change in RECIPES.items():
        settings = parse_config(
            TrainingSettings, problem.training.model_dump(mode="json") | dict(change), name
        )
        scores, started = [], time.process_time()
        for kept, held_out in places:
            rest = pool.subset(held_out.tolist())
            network = draw_baseline(
                options.network, problem.space.in_channels, problem.space.classes, "", SEED
            )
            trained, _, _ = train_network(
                network, settings, pool.subset(kept.tolist()), rest, seed=SEED
            )
            logits = logits_of(trained, rest).numpy()
            scores.append(classification_scores(logits, rest.labels.numpy(), positive)["auc"])
        seconds = (time.process_time() - started) / len(scores)
        print(
            f"{name:22} AUC {statistics.fmean(scores):.4f} +- {statistics.stdev(scores):.4f}, "
            f"{seconds:.0f} CPU-s a network",
            flush=True,
        )


def together(first: VolumeSet, second: VolumeSet) -> VolumeSet:
    """Return the volumes of both sets."""
    return VolumeSet(
        torch.cat([first.images, second.images]),
        torch.cat([first.labels, second.labels]),
        first.names + second.names,
        first.patients + second.patients,
        first.classes,
    )


if __name__ == "__main__":
    main()
