"""Maps inserted into a pipeline: for the length of a block, or until they are taken out again.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 3.1 and 4.4.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from vismodels.methods.lineas.config import Mode
from vismodels.methods.lineas.hooks import inserted, module_edits, transported
from vismodels.methods.lineas.layers import pipeline_modules, unit_axis
from vismodels.methods.lineas.maps import AffineMap, Maps, check_strength
from vismodels.nn.hooks import Edit


@contextmanager
def steer(pipeline: Any, maps: Maps, strength: float = 1.0) -> Iterator[None]:
    """Let `maps` act on every call of the pipeline inside the block; no hook is left behind.

    Blocks may be nested: the maps of the inner one act first (`Maps.then` says which do).

    Args:
        pipeline: of diffusers.
        maps: of its layers.
        strength: from 0, where every bit is as without maps, to 1.

    Raises:
        KeyError: for a layer that the pipeline does not have, with the nearest one.
        ValueError: for a strength outside [0, 1]; inside the block, for a layer with another number
            of units than its map.
    """
    check_strength(strength)
    changes = {
        layer: _insertion(layer, each, maps.mode) for layer, each in maps.at(strength).items()
    }
    insertion = inserted(pipeline_modules(pipeline), module_edits(changes))
    with insertion if strength > 0 else nullcontext():
        yield


def attach(pipeline: Any, maps: Maps, strength: float = 1.0) -> ExitStack:
    """Let `maps` act on every call of the pipeline from now on.

    Weights stay as they are, and `save_pretrained` writes them without the maps; `folding.fold_`
    puts the maps into them.

    Args:
        pipeline: of diffusers.
        maps: of its layers.
        strength: see `steer`.

    Returns:
        A stack whose `close()` takes the maps out again; it is a context manager too.

    Raises:
        KeyError, ValueError: as `steer`.
    """
    stack = ExitStack()
    stack.enter_context(steer(pipeline, maps, strength))
    return stack


def _insertion(layer: str, each: AffineMap, mode: Mode) -> Edit:
    def change(module: nn.Module, output: Tensor) -> Tensor:
        try:
            return transported(output, each, unit_axis(module, output), mode)
        except ValueError as error:
            raise ValueError(f"{layer} cannot be steered: {error}") from None

    return change
