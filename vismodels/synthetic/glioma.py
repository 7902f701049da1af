"""Semi-synthetic glioma cases: real anatomy of the MNI152 template, generated tumors and contrasts.

After Hu et al. (2018), arXiv 1810.09488, whose data, BraTS 2018, cannot be shipped. The generator
is our own: numbers on it say which head learns better, nothing about patients, and every figure and
table of it says "semi-synthetic". Torch-free.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from vismodels.config import Config
from vismodels.data.brain_cases import MODALITIES, BrainCase
from vismodels.seeding import numpy_generator
from vismodels.synthetic.glioma_anatomy import (
    Template,
    draw_anatomy,
    draw_warp,
    read_template,
    sampled,
)
from vismodels.synthetic.glioma_contrast import render
from vismodels.synthetic.glioma_lesions import draw_tumors, grow, pushed
from vismodels.synthetic.glioma_mimics import enhancing_structures, hyperintensities

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SCHEME = "brats2021"  # of files that are made of the levels


class GliomaConfig(Config):
    """A set of generated cases; shares are of its cases.

    Args:
        cases: how many in each split.
        spacing: of the voxels, mm.
        without_enhancement: have no enhancing tumor; exactly this share of every split, rounded.
        multifocal: have one or two further foci.
        mass_effect: have a tumor that pushes its surroundings aside.
        hyperintensities: have bright white matter without tumor.
        modality_dropout: lack one of the four images, which is then 0 everywhere.
    """

    cases: Mapping[Split, PositiveInt]
    spacing: float = Field(2.0, ge=1, le=6)
    without_enhancement: float = Field(0.25, ge=0, le=1)
    multifocal: float = Field(0.2, ge=0, le=1)
    mass_effect: float = Field(0.7, ge=0, le=1)
    hyperintensities: float = Field(0.8, ge=0, le=1)
    modality_dropout: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _splits_are_there(self) -> "GliomaConfig":
        missing = [split for split in SPLITS if split not in self.cases]
        if missing:
            raise ValueError(f"cases says nothing about {', '.join(missing)}")
        return self


def make_cases(config: GliomaConfig, split: Split, seed: int) -> list[BrainCase]:
    """Return the cases of a split, named `<split>_<number>`, with images as a scanner has them.

    A case depends on the seed, its name and the configuration's shares, never on how many cases
    there are; what a share decides about changes, the rest of the case stays as it is.

    Args:
        config: of the whole set.
        split: which cases.
        seed: of the run.

    Raises:
        FileError: if the template is not installed.
    """
    template = read_template(config.spacing)
    return [
        _make_case(config, template, f"{split}_{number:03d}", enhancing, seed)
        for number, enhancing in enumerate(
            _enhancement(config.cases[split], config.without_enhancement)
        )
    ]


def _enhancement(count: int, without: float) -> list[bool]:
    """Return whether each case enhances: among the first n, exactly round(n * without) do not."""
    return [round((n + 1) * without) == round(n * without) for n in range(count)]


def _make_case(
    config: GliomaConfig, template: Template, name: str, enhancing: bool, seed: int
) -> BrainCase:
    def stream(purpose: str) -> np.random.Generator:
        return numpy_generator(seed, "glioma", name, purpose)

    def happens(purpose: str, share: float) -> bool:
        return bool(stream(f"whether {purpose}").random() < share)

    spacing = config.spacing
    places = draw_warp(template, stream("warp"))
    hosts = sampled(template.cerebrum, places)
    tumors = draw_tumors(hosts, spacing, config.multifocal, stream("tumors"))
    if happens("mass effect", config.mass_effect):
        depth = sampled(template.depth, places)
        places = pushed(places, tumors[0], depth, spacing, stream("mass effect"))
    anatomy = draw_anatomy(template, places, stream("anatomy"))
    levels = grow(tumors, anatomy, enhancing, spacing, stream("outlines"))
    spots = np.zeros_like(anatomy.white)
    if happens("spots", config.hyperintensities):
        spots = hyperintensities(anatomy, levels > 0, spacing, stream("spots"))
    vessels = enhancing_structures(anatomy, spacing, stream("vessels"))
    images = render(anatomy, levels, spots, vessels, spacing, stream("images"))
    if happens("dropout", config.modality_dropout):
        images[stream("dropout").integers(len(MODALITIES))] = 0
    return BrainCase(name, images, levels, template.affine.copy(), SCHEME)
