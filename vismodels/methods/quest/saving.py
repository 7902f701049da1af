"""A quantized network of diffusers is not saved as it is: it would come back as the float one."""

from typing import Any, NoReturn

from torch import nn

METHODS = ("save_pretrained", "push_to_hub")  # of networks of diffusers


def refuse_saving_(model: nn.Module) -> None:
    """Let the methods that save a network raise an error, until `allow_saving_`.

    Parameters of a quantized network have the names of the float one's, so that diffusers would
    write them, read them back, and drop all else without an error.
    """
    for name in METHODS:
        if hasattr(model, name):
            setattr(model, name, _refuse)


def allow_saving_(model: nn.Module) -> None:
    """Undo `refuse_saving_`; methods that something else has replaced stay."""
    for name in METHODS:
        if vars(model).get(name) is _refuse:
            delattr(model, name)


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    # A function of the module: copies and pickles of a network keep it.
    raise ValueError(
        "this network is quantized, but not packed: it would be read back as the float one; call "
        "vismodels.integrations.diffusers.pack_for_diffusers_(network) first, or dequantize_ it"
    )
