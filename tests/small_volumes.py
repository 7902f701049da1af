"""A small problem of volumes that every test can afford: is there a bright or a dark cube?"""

import torch

from vismodels.data.volumes import VolumeSet
from vismodels.methods.covidnet3d.space import SpaceConfig

CLASSES = ("CP", "NCP", "Normal")
SPACE = {
    "stem_channels": 4, "first_channels": 4, "widths": [6, 8], "blocks": [2, 1],
    "strides": [2, 1], "head_channels": 10, "dropout": 0.1,
    "operations": ["mbconv_3_3", "mbconv_5_3", "skip"],
}  # fmt: skip
DATA = {
    "card": "phantom",
    "input": {"kind": "ct"},
    "classes": list(CLASSES),
    "positive": "NCP",
}


def space(**changes):
    fields = {key: tuple(v) if isinstance(v, list) else v for key, v in SPACE.items()}
    return SpaceConfig(**fields | changes)


def volumes(count=36, shape=(6, 8, 8), seed=0):
    """Return noise with a bright cube in the middle, a dark one, or none."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(count, 1, *shape, generator=generator)
    labels = torch.arange(count) % 3
    images[labels == 0, :, 2:4, 2:6, 2:6] += 2
    images[labels == 1, :, 2:4, 2:6, 2:6] -= 2
    return VolumeSet(
        images,
        labels,
        tuple(f"scan{seed}_{n}" for n in range(count)),
        tuple(f"person{seed}_{n // 3 * 3 + n % 3}" for n in range(count)),
        CLASSES,
    )
