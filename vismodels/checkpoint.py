"""Weights as folders (`config.json` + safetensors) and resume files of a running training.

A weight folder is public: it carries no code and no pickle. A resume file is private to one stage
and is read back with `weights_only=True`.
"""

import hashlib
import json
import pickle
import zipfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vismodels.files import MANIFEST, FileError, atomic_path, check_manifest, read_json, write_json

CONFIG = "config.json"
ModuleType = TypeVar("ModuleType", bound=nn.Module)


# --- weight folders ----------------------------------------------------------------------------


def save_weights(module: nn.Module, folder: Path | str) -> None:
    """Write `config.json` and the safetensors file of `module` into `folder`.

    The bytes depend on nothing but class, configuration and tensors. The file is called
    `model.safetensors`, or `diffusion_pytorch_model.safetensors` for a module of diffusers, so
    that `from_pretrained` of either library reads the folder too. Give it a folder of
    `files.atomic_folder` to make it appear whole and with a manifest.

    Args:
        module: derived from `huggingface_hub.PyTorchModelHubMixin` or `diffusers.ModelMixin`.
        folder: written into; made if need be.

    Raises:
        TypeError: if the module's class has no `save_pretrained`.
    """
    folder = Path(folder)
    save: Any = getattr(module, "save_pretrained", None)
    if save is None or not isinstance(module, nn.Module):  # a pipeline is no module
        raise TypeError(_not_saveable(type(module)))
    model_card = folder / "README.md"
    had_card = model_card.exists()
    save(folder)
    if not had_card:
        model_card.unlink(missing_ok=True)  # a form without content; a release writes its own
    path = folder / CONFIG
    config = read_json(path) if path.exists() else {}
    config.pop("_name_or_path", None)  # where it was loaded from once
    write_json(path, {**config, "_class_name": type(module).__name__})
    for file in sorted(folder.glob("*.safetensors")):
        _stabilize(file)


def load_weights(
    cls: type[ModuleType], folder: Path | str, device: torch.device | str = "cpu"
) -> ModuleType:
    """Return the module saved in `folder`, in evaluation mode on `device`.

    Every tensor is in the file with the module's shape and type, and the file holds no others. If
    the folder has a manifest, it is checked first.

    Args:
        cls: class of the saved module.
        folder: a local folder written by `save_weights`.
        device: where the module goes.

    Raises:
        FileError: for a missing or damaged folder, one of another class, or tensors that do not
            fit the module.
        TypeError: if the class has no `from_pretrained`.
    """
    folder = Path(folder)
    load: Any = getattr(cls, "from_pretrained", None)
    if load is None:
        raise TypeError(_not_saveable(cls))
    if not folder.is_dir():
        raise FileError(
            f"{folder}: no such folder; weights are read from local folders (fetching them from a "
            "hub needs a network: download the folder first)"
        )
    if (folder / MANIFEST).is_file():
        check_manifest(folder)
    _check_class(cls, folder)
    saved = _saved_tensors(folder)
    options: dict[str, Any] = {"local_files_only": True}
    if not issubclass(cls, PyTorchModelHubMixin):
        options |= {"use_safetensors": True, "low_cpu_mem_usage": False}
    try:
        with redirect_stdout(None):  # the mixin prints
            module: ModuleType = load(str(folder), **options)
    except (RuntimeError, TypeError, ValueError) as error:
        raise FileError(f"{folder} does not fit {cls.__name__}: {error}") from error
    _check_tensors(module, saved, folder)
    return module.to(device).eval()


def tensor_digest(tensors: Mapping[str, Tensor] | nn.Module) -> str:
    """Return the sha256 over names, types, shapes and values of tensors, 64 hex digits.

    The order of the names, the device and the memory layout do not matter; every bit of a value
    does.

    Args:
        tensors: name -> dense tensor, or a module, which stands for its state dict.

    Raises:
        TypeError: if a value is not a dense tensor.
    """
    if isinstance(tensors, nn.Module):
        tensors = tensors.state_dict()
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided:
            raise TypeError(f"{name!r} is not a dense tensor but {type(tensor).__name__}")
        values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        head = json.dumps([name, str(values.dtype), list(values.shape)])
        digest.update(f"{head}\n".encode())  # JSON has no bare line end: the boundary is unique
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _not_saveable(cls: type) -> str:
    return (
        f"{cls.__name__} cannot be saved as a folder; derive it from "
        "huggingface_hub.PyTorchModelHubMixin or diffusers.ModelMixin"
    )


def _stabilize(file: Path) -> None:
    """Rewrite a safetensors file with two metadata keys or more: their order is random."""
    with safe_open(file, framework="pt") as content:
        metadata = content.metadata()
    if metadata and len(metadata) > 1:
        with atomic_path(file) as temporary:
            save_file(load_file(file), temporary, metadata={"format": "pt"})


def _check_class(cls: type, folder: Path) -> None:
    config = read_json(folder / CONFIG)
    found = config.get("_class_name") if isinstance(config, Mapping) else None
    if found != cls.__name__:
        raise FileError(
            f"{folder / CONFIG}: configuration of class {found!r}, expected {cls.__name__!r}; "
            "give the folder of a module of this class, written by save_weights"
        )


def _saved_tensors(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileError(f"{folder}: holds no .safetensors file; run the stage that writes it again")
    saved: dict[str, Tensor] = {}
    for file in files:
        try:
            saved |= load_file(file)
        except SafetensorError as error:
            raise FileError(
                f"{file}: damaged ({error}); remove the folder and run again"
            ) from error
    return saved


def _check_tensors(module: nn.Module, saved: Mapping[str, Tensor], folder: Path) -> None:
    state = module.state_dict()
    # Of tensors that share their memory only one is in the file.
    filled = {state[name].data_ptr() for name in saved.keys() & state.keys()}
    problems = [
        f"missing: {name}"
        for name, tensor in state.items()
        if name not in saved and tensor.data_ptr() not in filled
    ]
    problems += [f"unknown: {name}" for name in sorted(saved.keys() - state.keys())]
    problems += [
        f"{name} is {saved[name].dtype} in the file and {tensor.dtype} in the module"
        for name, tensor in state.items()
        if name in saved and saved[name].dtype != tensor.dtype
    ]
    if problems:
        raise FileError(
            f"{folder} does not fit {type(module).__name__}: {'; '.join(problems)}; "
            "save the weights again with the code that is to read them"
        )


# --- resume files ------------------------------------------------------------------------------


def save_resume(path: Path | str, state: Mapping[str, Any]) -> None:
    """Write `state` to `path`, whole or not at all, after reading it back for a trial.

    Args:
        path: replaced in one step; an older file stays until then.
        state: nested dicts and lists of tensors, numbers, strings, None: what `state_dict()` gives.

    Raises:
        FileError: if it cannot be written (a full disk), or could not be read back (objects that
            only a pickle with code can restore, NumPy scalars among them).
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        try:
            torch.save(dict(state), temporary)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise FileError(_refusal(path, error)) from error
        except (OSError, RuntimeError) as error:
            raise FileError(
                f"{path}: cannot be written, is the disk full? An older file there is untouched "
                f"({_first_line(error)})"
            ) from error
        _read_back(temporary, path)


def load_resume(path: Path | str) -> dict[str, Any]:
    """Return the state that `save_resume` wrote, with its tensors on the CPU.

    Raises:
        FileError: if the file is missing or damaged, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    return _read_back(path, path)


def _read_back(file: Path, path: Path) -> dict[str, Any]:
    """Return the state in `file`, which errors call `path`."""
    try:
        with zipfile.ZipFile(file) as content:
            damaged = content.testzip()  # torch.load checks no checksums
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileError(_refusal(path, error)) from error
    except (zipfile.BadZipFile, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise FileError(
            f"{path}: damaged ({_first_line(error)}); delete it to start again"
        ) from error
    return state


def _refusal(path: Path, error: Exception) -> str:
    return (
        f"{path}: refused, it holds something other than tensors, numbers, strings and their "
        f"lists and dicts ({_first_line(error)})"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
