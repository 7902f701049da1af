"""How many bytes a network takes, in its files and in memory: counted, not computed from bits."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from vismodels.methods.quest.execute import ExecutedLayer


def file_bytes(path: Path) -> int:
    """Return the bytes of a safetensors file, or of all those in a folder and its subfolders.

    Raises:
        ValueError: if there are none.
    """
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no *.safetensors")
    return sum(file.stat().st_size for file in files)


def resident_bytes(model: nn.Module) -> int:
    """Return the bytes of all parameters, buffers and 8-bit weights of a network, shared ones once.

    What a call needs in addition is not in it: activations, and weights that it unpacks.
    """
    executed = (module for module in model.modules() if isinstance(module, ExecutedLayer))
    held = {tensor.untyped_storage().data_ptr(): tensor for tensor in _tensors(model)}
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values()) + sum(
        layer.kernel_bytes() for layer in executed
    )


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
