"""Brain tumor cases that every test can afford: nested boxes, each bright on an image."""

from dataclasses import asdict

import numpy as np

from vismodels.data.brain_cases import MODALITIES, BrainCase
from vismodels.methods.multilevel_activation.config import CasesConfig, ModelVariant

SHAPE = (12, 14, 10)
AFFINE = np.array([[-2.0, 0, 0, 9], [0, 1.5, 0, -4], [0, 0, 3, 5], [0, 0, 0, 1]])
CASES = CasesConfig(card="glioma_semisynthetic")
HEADS = ("multilevel", "softmax", "sigmoid_regions")
TRAINING = {
    "iterations": 6, "batch_size": 2, "patch": [8, 8, 8], "jitter": 1, "warmup": 1,
    "schedule": "poly", "max_gradient_norm": 12.0, "validate_every": 3, "validation_patches": 3,
}  # fmt: skip


def brain(number, enhancing=True):
    """Return a case whose edema is bright on t2 and flair, and whose enhancing tumor on t1ce."""
    rng = np.random.default_rng([number, 6])
    levels = np.zeros(SHAPE, np.uint8)
    corner = np.array([2, 2, 1]) + rng.integers(0, 2, 3)
    for level, edge in ((1, 7), (2, 5), (3, 3)):
        start = corner + level - 1
        if level < 3 or enhancing:
            levels[tuple(slice(a, a + edge) for a in start)] = level
    images = rng.normal(0, 0.3, (4, *SHAPE))
    contrast = {"t1": levels >= 2, "t1ce": levels == 3, "t2": levels >= 1, "flair": levels >= 1}
    for image, modality in zip(images, MODALITIES, strict=True):
        image += (-2 if modality == "t1" else 2) * contrast[modality]
    outside = np.ones(SHAPE, bool)
    outside[1:-1, 1:-1, 1:-1] = False
    images[:, outside] = 0
    return BrainCase(f"case_{number}", images.astype(np.float32), levels, AFFINE, "brats2021")


def brains(count=4, first=0):
    """Return cases, of which the last one has no enhancing tumor."""
    return [brain(first + n, enhancing=n < count - 1) for n in range(count)]


def row(name, levels, images=None):
    """Return a case of one row of voxels, so that scores can be counted by hand.

    Without `images` (modality -> values), its levels are what t1ce and flair show.
    """
    shown = {"t1": range(1, len(levels) + 1), "t2": range(1, len(levels) + 1)}
    shown |= {
        "t1ce": [1 + 9 * (x == 3) for x in levels],
        "flair": [1 + 9 * (x > 0) for x in levels],
    }
    values = [(shown | (images or {}))[modality] for modality in MODALITIES]
    voxels = np.array([list(each) for each in values], np.float32)[:, None, None]
    return BrainCase(name, voxels, np.array(levels, np.uint8)[None, None], np.eye(4))


def variant(head, learning_rate=1e-2, trunk=None, **settings):
    return ModelVariant(learning_rate=learning_rate, head={"kind": head, **settings}, trunk=trunk)


def same_case(first, second):
    """Return whether two cases are equal in every bit."""
    fields = [asdict(case) for case in (first, second)]
    return all(np.array_equal(value, fields[1][name]) for name, value in fields[0].items())
