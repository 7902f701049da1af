"""Vision and diffusion models of six papers, with reproducible pipelines.

Importing this package loads neither torch nor diffusers nor monai; the public names below are
resolved on first use (PEP 562). First-party code imports from the defining module instead, so that
the code fingerprint sees what it reaches.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0.dev0"

_PUBLIC = {
    "create_model": "vismodels.zoo",
    "list_models": "vismodels.zoo",
    "find": "vismodels.cards.find",
}

__all__ = ["__version__", "create_model", "find", "list_models"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
