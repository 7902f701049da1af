"""Prompts: with what their images should show, and about one concept to be steered.

Torch-free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LabelledPrompt:
    """A prompt, and what its image should show.

    Args:
        text: the prompt; empty where nothing is asked for, or a class.
        labels: attribute -> label, where these are known; else empty.
        class_label: what a model of classes is asked for in place of a text.
    """

    text: str
    labels: Mapping[str, int] = field(default_factory=dict)
    class_label: int | None = None


@dataclass(frozen=True)
class ConceptPrompt:
    """A prompt that asks for the concept, and what its image should be apart from it.

    Args:
        text: the prompt.
        without: the same prompt without the concept: of the same noise, its image is what perfect
            removal would give.
        labels: attribute -> label of the image of `text`, where these are known; else empty.
    """

    text: str
    without: str
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ConceptPrompts:
    """All prompts about a concept; no prompt of one part is in another.

    Args:
        concept: its name.
        words: what names it in a prompt.
        source: prompts that ask for it, to learn from.
        target: prompts that do not, to learn from; unpaired, of any number.
        validation: to choose settings with.
        test: to score with.
        attribute: which label says whether the concept is there; None where no labels are known.
        present: that label, if it is; None as for `attribute`.

    Raises:
        ValueError: if a part is empty, two parts share a prompt, or labels are known of some only.
    """

    concept: str
    words: str
    source: Sequence[str]
    target: Sequence[str]
    validation: Sequence[ConceptPrompt]
    test: Sequence[ConceptPrompt]
    attribute: str | None = None
    present: int | None = None

    def __post_init__(self) -> None:
        parts: dict[str, set[str]] = {
            "source": set(self.source),
            "target": set(self.target),
            "validation": _texts(self.validation),
            "test": _texts(self.test),
        }
        empty = [name for name, texts in parts.items() if not texts]
        if empty:
            raise ValueError(f"no prompts about {self.concept!r} in {', '.join(empty)}")
        learnt = parts["source"] | parts["target"]
        for name, others in (("validation", learnt), ("test", learnt | parts["validation"])):
            shared = sorted(parts[name] & others)
            if shared:
                raise ValueError(
                    f"{name} prompts about {self.concept!r} are also used elsewhere: "
                    f"{shared[0]!r} and {len(shared) - 1} more; give every part prompts of its own"
                )
        if (self.attribute is None) != (self.present is None):
            raise ValueError("attribute and present are given together or not at all")
        unlabelled = [
            prompt.text
            for prompt in (*self.validation, *self.test)
            if (self.attribute is not None) != bool(prompt.labels)
        ]
        if unlabelled:
            raise ValueError(
                f"labels are known of all prompts with an attribute and of none without, got "
                f"{unlabelled[0]!r}"
            )


def _texts(prompts: Sequence[ConceptPrompt]) -> set[str]:
    return {text for prompt in prompts for text in (prompt.text, prompt.without)}
