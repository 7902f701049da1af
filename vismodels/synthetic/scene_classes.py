"""Classes of scenes: a shape in a color, whatever else is in the scene. Torch-free."""

from collections.abc import Mapping
from itertools import product

from vismodels.synthetic.scene_captions import VALUES, Attributes

CLASS_ATTRIBUTES = ("shape", "color")
CLASSES = tuple(product(*(VALUES[name] for name in CLASS_ATTRIBUTES)))  # class -> its two values


def class_of(attributes: Attributes) -> int:
    """Return the class of a scene's content, 0 to 23."""
    return CLASSES.index(tuple(getattr(attributes, name) for name in CLASS_ATTRIBUTES))


def class_labels(number: int) -> Mapping[str, int]:
    """Return attribute -> position of its value in `VALUES`, of what the class says.

    Raises:
        ValueError: if there is no such class.
    """
    if not 0 <= number < len(CLASSES):
        raise ValueError(f"expected a class from 0 to {len(CLASSES) - 1}, got {number}")
    values = zip(CLASS_ATTRIBUTES, CLASSES[number], strict=True)
    return {name: VALUES[name].index(value) for name, value in values}
