"""Scans of a chest that every test can afford: a lung, and a lesion that tells the class."""

import numpy as np

from vismodels.data.scans import Scan

SHAPE = (8, 10, 12)


def scan(number, label, slices=30, lesion=True):
    rng = np.random.default_rng([number, len(label)])
    voxels = rng.normal(-850, 20, SHAPE).round().astype(np.int16)
    lung = np.zeros(SHAPE, bool)
    lung[1:7, 2:8, 1:11] = True
    voxels[~lung] = 40
    marked = np.zeros(SHAPE, bool)
    if label != "Normal" and lesion:
        depth = slice(1, 3) if label == "CP" else slice(5, 7)
        marked[depth, 4:7, 3:6] = True
        voxels[marked] = -300 if label == "NCP" else 0
    return Scan(
        f"{label}_{number}", f"p_{label}_{number // 2}", label, voxels, (4.0, 3.0, 3.0), slices,
        lung, marked,
    )  # fmt: skip


def scans(count=4, **options):
    return [scan(n, label, **options) for label in ("CP", "NCP", "Normal") for n in range(count)]
