"""The 15 concepts of the paper's text-to-image runs, and the words for them, which are ours.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Appendix N. Torch-free.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["style", "object", "perspective"]


@dataclass(frozen=True)
class OutsideConcept:
    """A concept to take out of images.

    Args:
        kind: decides how prompts ask for it.
        words: what names it, in prompts and for CLIP.
    """

    kind: Kind
    words: str


CONCEPTS: Mapping[str, OutsideConcept] = {
    "vaporwave": OutsideConcept("style", "vaporwave style"),
    "lush": OutsideConcept("style", "lush style"),
    "low_poly": OutsideConcept("style", "low-poly style"),
    "ukiyo_e": OutsideConcept("style", "ukiyo-e style"),
    "fantasy": OutsideConcept("style", "fantasy style"),
    "robot": OutsideConcept("object", "a robot"),
    "axolotl": OutsideConcept("object", "an axolotl"),
    "book": OutsideConcept("object", "a book"),
    "car": OutsideConcept("object", "a car"),
    "hourglass": OutsideConcept("object", "an hourglass"),
    "macro": OutsideConcept("perspective", "a macro shot"),
    "fisheye": OutsideConcept("perspective", "a fisheye shot"),
    "bokeh": OutsideConcept("perspective", "a bokeh shot"),
    "underwater": OutsideConcept("perspective", "an underwater shot"),
    "tilt_shift": OutsideConcept("perspective", "a tilt-shift shot"),
}
