"""The result of a search: the name of the chosen candidate for every decision. Torch-free."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vismodels.config import ConfigError, suggestion
from vismodels.files import FileError, read_json, write_json


@dataclass(frozen=True)
class Genotype:
    """Names, never indices: reordering a list of candidates changes nothing.

    Args:
        space: name of the search space.
        choices: decision -> candidate, e.g. `{"head_0": "simple_3x3@8"}`.
    """

    space: str
    choices: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"space": self.space, "choices": dict(self.choices)}

    @classmethod
    def from_dict(cls, content: Any) -> "Genotype":
        """Return the genotype of `to_dict`.

        Raises:
            ConfigError: for other content.
        """
        choices = content.get("choices") if isinstance(content, Mapping) else None
        named = isinstance(choices, Mapping) and all(
            isinstance(text, str) for pair in choices.items() for text in pair
        )
        if not named or not isinstance(content.get("space"), str):
            raise ConfigError(
                'a genotype is {"space": name, "choices": {decision: candidate}}, '
                f"got {str(content)[:80]}"
            )
        return cls(content["space"], dict(content["choices"]))

    def check(self, space: str, candidates: Mapping[str, Sequence[str]]) -> None:
        """Compare the genotype with a search space.

        Args:
            space: name of the space.
            candidates: decision -> its candidates.

        Raises:
            ConfigError: for another space, a decision or candidate that the space does not have
                (with the nearest name), or one that is missing.
        """
        if self.space != space:
            raise ConfigError(f"genotype of the space {self.space!r}, expected {space!r}")
        for decision, candidate in self.choices.items():
            if decision not in candidates:
                raise ConfigError(
                    f"the space {space} has no decision {decision!r}"
                    f"{suggestion(decision, candidates)}"
                )
            if candidate not in candidates[decision]:
                raise ConfigError(
                    f"{decision} has no candidate {candidate!r}"
                    f"{suggestion(candidate, candidates[decision])}"
                )
        missing = [decision for decision in candidates if decision not in self.choices]
        if missing:
            raise ConfigError(f"the genotype says nothing about {', '.join(missing)}")


def write_genotype(genotype: Genotype, path: Path | str) -> None:
    """Write a genotype as JSON, whole or not at all."""
    write_json(path, genotype.to_dict())


def read_genotype(path: Path | str) -> Genotype:
    """Return the genotype that `write_genotype` stored.

    Raises:
        FileError: if the file is missing, damaged or no genotype.
    """
    try:
        return Genotype.from_dict(read_json(path))
    except ConfigError as error:
        raise FileError(f"{path}: {error}") from error
