"""Named entries with helpful look-ups, and the registry of architectures filled beside each class.

The workflow's stages load a network by its class; the registry serves users and contract tests.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar, overload

from vismodels.config import suggestion

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Entries of one kind under unique names.

    Args:
        kind: the word for an entry in messages (`architecture`, `metric`).
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    @overload
    def register(self, name: str) -> Callable[[T], T]: ...

    @overload
    def register(self, name: str, entry: T) -> T: ...

    def register(self, name: str, entry: T | None = None) -> T | Callable[[T], T]:
        """Store `entry` under `name` and return it; without `entry`, return a decorator that does.

        Raises:
            ValueError: if the name is taken.
        """
        if entry is None:
            return lambda decorated: self.register(name, decorated)
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered already; choose another name")
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> T:
        """Return the entry called `name`.

        Raises:
            KeyError: if there is none, with the nearest name.
        """
        if name not in self._entries:
            raise KeyError(f"no {self.kind} is called {name!r}{suggestion(name, self._entries)}")
        return self._entries[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Return the sorted names that match a shell pattern (`res*`, `*_sr`)."""
        return sorted(name for name in self._entries if fnmatchcase(name, pattern))


@dataclass(frozen=True)
class Architecture:
    """A network that can be built by name, with what a caller must know about its input.

    Args:
        name: identifier, lower case with underscores.
        build: the class; takes plain keyword arguments.
        task: `super-resolution`, `segmentation`, ...
        input_shape: an example without the batch axis, (C, H, W) or (C, D, H, W).
        source: authors, year and title of the paper, or what the network is modelled on.
        defaults: keyword arguments that differ from the defaults of `build`.
        minimum_size: smallest height and width (and depth).
        multiple_of: height and width (and depth) must be multiples of this.
        scale: output size over input size; None where the output is no image or volume.
    """

    name: str
    build: Callable[..., Any]
    task: str
    input_shape: tuple[int, ...]
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    minimum_size: int = 1
    multiple_of: int = 1
    scale: int | None = None


ARCHITECTURES: Registry[Architecture] = Registry("architecture")


def register_architecture(name: str, **details: Any) -> Callable[[C], C]:
    """Return a decorator that registers a network class in `ARCHITECTURES`, unchanged.

    Args:
        name: the name for `create_model`.
        details: the other fields of `Architecture`, without `build`.

    Raises:
        ValueError: if the name is taken.
    """

    def register(build: C) -> C:
        ARCHITECTURES.register(name, Architecture(name=name, build=build, **details))
        return build

    return register
