"""What can be in a scene, and the caption that says it: one caption for each scene content.

The grammar is `a {size} {color} {shape} on a {background} background[ with an orange star]
[, striped style|, at night]`. Torch-free.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Literal, TypeAlias

from vismodels.config import ConfigError, suggestion

AttributeValue: TypeAlias = str | bool
ConceptName = Literal["star", "striped", "night"]

VALUES: Mapping[str, tuple[AttributeValue, ...]] = {
    "size": ("small", "large"),
    "color": ("red", "green", "blue", "yellow", "pink", "white"),
    "shape": ("circle", "square", "triangle", "cross"),
    "background": ("black", "gray", "brown", "cyan"),
    "star": (False, True),
    "style": ("plain", "striped", "night"),
}
_STAR = " with an orange star"
_STYLES = {"plain": "", "striped": ", striped style", "night": ", at night"}


@dataclass(frozen=True)
class Attributes:
    """The content of a scene; each field is one of its `VALUES`.

    Raises:
        ValueError: for another value, with the nearest one, or stripes on black, which nobody sees.
    """

    size: str
    color: str
    shape: str
    background: str
    star: bool = False
    style: str = "plain"

    def __post_init__(self) -> None:
        for name, known in VALUES.items():
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"{name} {value!r} is unknown{suggestion(str(value), map(str, known))}"
                )
        if not can_be(self.background, self.style):
            raise ValueError("stripes on a black background cannot be seen; choose another one")

    @property
    def caption(self) -> str:
        """The caption, lower case."""
        return (
            f"a {self.size} {self.color} {self.shape} on a {self.background} background"
            f"{_STAR if self.star else ''}{_STYLES[self.style]}"
        )

    @property
    def labels(self) -> dict[str, int]:
        """Attribute -> position of its value in `VALUES`."""
        return {name: known.index(getattr(self, name)) for name, known in VALUES.items()}


@dataclass(frozen=True)
class Concept:
    """Something that a scene has or lacks, whatever else is in it.

    Args:
        name: of the concept.
        attribute: that holds it.
        present: the attribute's value with the concept.
        absent: the value without: what is left when the words are taken out of the caption.
        words: what names it in a prompt.
    """

    name: ConceptName
    attribute: str
    present: AttributeValue
    absent: AttributeValue
    words: str

    def is_in(self, attributes: Attributes) -> bool:
        """Return whether a scene has the concept."""
        return bool(getattr(attributes, self.attribute) == self.present)

    def added(self, attributes: Attributes) -> Attributes:
        """Return the scene's content with the concept.

        Raises:
            ValueError: if it cannot be there: stripes on black.
        """
        return _changed(attributes, self.attribute, self.present)

    def removed(self, attributes: Attributes) -> Attributes:
        """Return the scene's content without the concept; what lacks it stays as it is."""
        if not self.is_in(attributes):
            return attributes
        return _changed(attributes, self.attribute, self.absent)


CONCEPTS: Mapping[ConceptName, Concept] = {
    concept.name: concept
    for concept in (
        Concept("star", "star", True, False, "an orange star"),  # an object
        Concept("striped", "style", "striped", "plain", "striped style"),  # a texture
        Concept("night", "style", "night", "plain", "night"),  # a global style
    )
}


def concept_by_name(name: str) -> Concept:
    """Return the concept of a name.

    Raises:
        ConfigError: if there is none, with the nearest name.
    """
    for concept in CONCEPTS.values():
        if concept.name == name:
            return concept
    raise ConfigError(
        f"scenes have no concept {name!r}{suggestion(name, CONCEPTS)}; there are "
        f"{', '.join(CONCEPTS)}"
    )


def can_be(background: AttributeValue, style: AttributeValue) -> bool:
    """Return whether a style shows on a background."""
    return (background, style) != ("black", "striped")


def list_attributes() -> list[Attributes]:
    """Return every content a scene can have, 1056 in all, in a fixed order."""
    names = [field.name for field in fields(Attributes)]
    combinations = (dict(zip(names, values, strict=True)) for values in product(*VALUES.values()))
    return [
        Attributes(**values)  # type: ignore[arg-type]
        for values in combinations
        if can_be(values["background"], values["style"])
    ]


def caption_words() -> list[str]:
    """Return the sorted words and signs that captions are made of."""
    captions = " ".join(attributes.caption for attributes in list_attributes())
    return sorted(set(re.findall(r"\w+|,", captions)))


def parse_caption(caption: str) -> Attributes:
    """Return the content that a caption says.

    Raises:
        ValueError: if it is no sentence of the grammar, with the nearest word for one that is in no
            caption.
    """
    found = _pattern().fullmatch(caption)
    if found is None:
        known = caption_words()
        foreign = [word for word in re.findall(r"\w+", caption) if word not in known]
        hint = (
            f"; {foreign[0]!r} is in no caption{suggestion(foreign[0], known)}" if foreign else ""
        )
        raise ValueError(
            f"expected a caption like {list_attributes()[0].caption!r}, got {caption!r}{hint}"
        )
    size, color, shape, background, star, style = found.groups()
    styles = {words: name for name, words in _STYLES.items()}
    return Attributes(size, color, shape, background, star is not None, styles[style or ""])


def _pattern() -> re.Pattern[str]:
    size, color, shape, background = (
        f"({'|'.join(map(str, VALUES[name]))})" for name in ("size", "color", "shape", "background")
    )
    styles = "|".join(words for words in _STYLES.values() if words)
    return re.compile(
        rf"a {size} {color} {shape} on a {background} background({_STAR})?({styles})?"
    )


def _changed(attributes: Attributes, name: str, value: AttributeValue) -> Attributes:
    return replace(attributes, **{name: value})  # type: ignore[arg-type]
