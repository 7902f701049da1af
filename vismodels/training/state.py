"""Everything a training needs to go on as if it had never stopped."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch


@runtime_checkable
class Stateful(Protocol):
    """What has a state dict: modules (an EMA too), optimizers, schedulers, logs."""

    def state_dict(self) -> Any:
        """Return the state as nested dicts and lists of tensors and plain values."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Replace the state by that of an equally built object."""


Part: TypeAlias = Stateful | torch.Generator


class TrainState:
    """The parts of a training and the number of completed iterations.

    The global random state of PyTorch (CPU and CUDA), which dropout draws from, belongs to it.
    NumPy's and Python's do not: whatever else draws, draws from a generator that is a part.

    Args:
        parts: name -> module, optimizer, scheduler, EMA, log or generator, already on its device.

    Raises:
        TypeError: for a part that has no state.
    """

    def __init__(self, **parts: Part) -> None:
        for name, part in parts.items():
            if not isinstance(part, (Stateful, torch.Generator)):
                raise TypeError(
                    f"part {name!r} is a {type(part).__name__}; expected a torch.Generator or an "
                    "object with state_dict and load_state_dict"
                )
        self.parts: dict[str, Part] = parts
        self.iteration = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state; its tensors are those of the parts, not copies."""
        return {
            "iteration": self.iteration,
            "parts": {name: _state(part) for name, part in self.parts.items()},
            "kinds": self._kinds(),
            "random": _random_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the state of every part and the global random state.

        Raises:
            ValueError: if `state` belongs to other parts, to parts built otherwise, or to another
                number of CUDA devices. The parts may then hold a mixture.
        """
        found, expected = state.get("kinds"), self._kinds()
        if found != expected:
            raise ValueError(
                f"state of another training: expected parts {_listed(expected)}; "
                f"got {_listed(found) if isinstance(found, Mapping) else 'none'}"
            )
        for name, part in self.parts.items():
            try:
                _load(part, state["parts"][name])
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"state of another training: part {name!r} was built otherwise ({error})"
                ) from error
        _set_random_state(state["random"])
        self.iteration = state["iteration"]

    def _kinds(self) -> dict[str, str]:
        return {name: type(part).__name__ for name, part in self.parts.items()}


def _state(part: Part) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _load(part: Part, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    else:
        part.load_state_dict(state)


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: Mapping[str, Any]) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if len(state["cuda"]) != count:
        raise ValueError(
            f"the state has random numbers of {len(state['cuda'])} CUDA devices, this machine has "
            f"{count}; resume on a machine like the first one, or start again"
        )
    torch.set_rng_state(state["cpu"])
    torch.cuda.set_rng_state_all(state["cuda"])


def _listed(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items())) or "none"
