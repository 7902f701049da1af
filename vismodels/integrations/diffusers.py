"""QuEST as a quantization method of diffusers: import this module, and `from_pretrained` knows it.

A network that `methods.quest` has quantized is made ready with `pack_for_diffusers_`; then it, or
the pipeline it is part of, is saved and loaded as any other, from packed codes. A network that is
not quantized can be rounded to nearest while it is loaded; its activations stay floating-point
numbers then, since their ranges cannot be known before a calibration.
"""

import functools
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.quantizers import auto
from diffusers.quantizers.base import DiffusersQuantizer
from diffusers.quantizers.quantization_config import QuantizationConfigMixin
from torch import Tensor

from vismodels.config import parse_config
from vismodels.files import write_text
from vismodels.integrations.model_card import IMPORT, model_card
from vismodels.methods.quest.config import QuantizationSettings
from vismodels.methods.quest.execute import ExecutedLayer
from vismodels.methods.quest.packed import pack_
from vismodels.methods.quest.packed_file import STRINGS, string_members, strung, unstrung
from vismodels.methods.quest.quantize import (
    activation_quantizers,
    dequantize_,
    enable_,
    quantize_,
)
from vismodels.methods.quest.saving import allow_saving_
from vismodels.methods.quest.time_groups import time_groups_of

FORMAT = 1  # of what is saved
CARD = "README.md"
CONFIG = "quantization_config"
TYPES = (torch.float32, torch.bfloat16, torch.float16)


class QuestMethod(StrEnum):
    """The name of the method, in the form that diffusers needs.

    Diffusers puts an unknown name into its error message, and nothing else of ours: so the name
    says what is missing.
    """

    QUEST = f"quest (first: {IMPORT})"


class QuestConfig(QuantizationConfigMixin):
    """How a network is, or is to be quantized.

    Args:
        settings: what is quantized. By default 4-bit weights; shortcuts are split only for a
            network with known `splits`.
        splits: of shortcuts, as `methods.quest.shortcuts.find_splits` returns them.
        calibrated: activations are quantized too. Not while a float network is loaded.
        version: of the format.
        quant_method: the name under which a saved configuration comes back.
        unknown: refused.

    Raises:
        ValueError: for unknown arguments, or another version of the format.
    """

    def __init__(
        self,
        settings: QuantizationSettings | Mapping[str, Any] | None = None,
        splits: Mapping[str, int] | None = None,
        calibrated: bool = False,
        version: int = FORMAT,
        quant_method: str = QuestMethod.QUEST,
        **unknown: Any,
    ) -> None:
        if version != FORMAT:
            raise ValueError(
                f"this network was saved in format {version} of QuEST, and this version of "
                f"vismodels reads format {FORMAT}; install the one it was saved with"
            )
        if unknown:
            raise ValueError(f"QuestConfig has no arguments {', '.join(sorted(unknown))}")
        if settings is None:
            settings = QuantizationSettings(split_shortcuts=splits is not None)
        elif isinstance(settings, Mapping):
            settings = parse_config(QuantizationSettings, settings, f"{CONFIG}.settings")
        self.quant_method: Any = QuestMethod(quant_method)
        self.settings, self.splits = settings, dict(splits or {})
        self.calibrated, self.version = calibrated, version

    def to_dict(self) -> dict[str, Any]:
        """Return what `config.json` holds."""
        return {
            "quant_method": self.quant_method.value,
            "version": self.version,
            "calibrated": self.calibrated,
            "settings": self.settings.model_dump(mode="json"),
            "splits": self.splits,
        }

    def to_diff_dict(self) -> dict[str, Any]:
        """Return `to_dict`: settings without defaults would change with the defaults."""
        return self.to_dict()


class QuestQuantizer(DiffusersQuantizer):
    """What diffusers calls while it loads or saves a network."""

    quantization_config: QuestConfig
    pre_quantized: bool
    _dtype: torch.dtype | None = None  # of the finished network

    def update_torch_dtype(self, torch_dtype: torch.dtype | None) -> Any:
        """Return the type to load in: float32, since scales would be others in half precision.

        What is not quantized gets `torch_dtype` afterwards.

        Raises:
            ValueError: for a type that networks do not compute in.
        """
        if torch_dtype not in (None, *TYPES):
            raise ValueError(
                "a network quantized by QuEST computes in one of "
                f"{', '.join(map(str, TYPES))}, got torch_dtype={torch_dtype}"
            )
        self._dtype = torch_dtype
        return None if torch_dtype is None else torch.float32

    def _process_model_before_weight_loading(self, model: ModelMixin, **unused: Any) -> None:
        config = self.quantization_config
        if self.pre_quantized:
            quantize_(model, config.settings, config.splits)
            pack_(model)
            enable_(model, activations=config.calibrated)
            self._empty = model.state_dict()
        elif config.calibrated:
            raise ValueError(
                "a float network cannot be calibrated while it is loaded: give calibrated=False, "
                "then call calibrate_(network, inputs) of methods.quest.calibration and "
                "enable_(network, activations=True) of methods.quest.quantize"
            )
        elif config.settings.activations.granularity == "channel":
            raise ValueError(
                "scales of channels go into the weights, and are unknown while a float network is "
                "loaded: load it without a configuration, then quantize_, calibrate_ and pack it; "
                "or take granularity: tensor"
            )

    def _process_model_after_weight_loading(self, model: ModelMixin, **unused: Any) -> None:
        config = self.quantization_config
        if self.pre_quantized:
            _check_scales(model)
        else:
            quantize_(model, config.settings, config.splits)
            enable_(model, activations=False)
        pack_for_diffusers_(model)
        if self._dtype is not None:  # by the base class: that of diffusers casts nothing quantized
            torch.nn.Module.to(model, self._dtype)

    def maybe_update_loaded_keys(self, loaded_keys: list[str], files: list[str]) -> list[str]:
        """Return the names in the file, without the strings of several tensors."""
        self._strings = [name for name in loaded_keys if name in STRINGS]
        return [name for name in loaded_keys if name not in STRINGS]

    def maybe_update_state_dict(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what is in the file under the names of the network."""
        return unstrung(state_dict, self._empty) if self.pre_quantized else state_dict

    def update_missing_keys(
        self, model: ModelMixin, missing_keys: list[str], prefix: str
    ) -> list[str]:
        """Return the names that are missing, none: they would be filled with random numbers.

        Raises:
            ValueError: if there are any.
        """
        if not self.pre_quantized:
            return missing_keys
        members = string_members(self._empty)
        found = {name for string in self._strings for name in members[string]}
        if missing := sorted(set(missing_keys) - found):
            raise ValueError(
                f"the file of this {type(model).__name__} lacks {len(missing)} tensors of its "
                f"quantized network, such as {missing[0]}; it is of another network, or damaged"
            )
        return []

    def get_state_dict_and_metadata(
        self, state_dict: dict[str, Tensor], safe_serialization: bool = False
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what is written to the file, and metadata, none.

        Raises:
            ValueError: for a file that is not safetensors.
        """
        if not safe_serialization:
            raise ValueError("quantized networks are saved as safetensors: safe_serialization=True")
        return strung(state_dict), {}

    @property
    def is_serializable(self) -> bool:
        """Whether a network can be saved."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Whether a network can be trained: packed weights get no gradient."""
        return False

    def _dequantize(self, model: ModelMixin) -> ModelMixin:
        dequantize_(model)
        del model.save_pretrained, model._upload_folder  # those of its class are back
        kept = {key: value for key, value in model.config.items() if key != CONFIG}
        model._internal_dict = type(model.config)(kept)
        return model


def pack_for_diffusers_(model: ModelMixin) -> None:
    """Pack the weights of a quantized network, and make it known to diffusers as quantized.

    From then on `save_pretrained`, its own or that of a pipeline, writes packed codes, the
    configuration and a model card; `push_to_hub` uploads them.

    Args:
        model: quantized; its activations all calibrated and enabled, or all disabled.

    Raises:
        ValueError: if it is not quantized, or only some activations are.
    """
    pack_(model)
    config = _configured(model)
    known: Any = model
    known.hf_quantizer = QuestQuantizer(config)
    known.is_quantized = True
    known.quantization_method = config.quant_method
    allow_saving_(model)
    # Bound to the network, so that a copy of the network, or what is unpickled, saves itself; a
    # method would be pickled by its name, which is that of the class.
    known.save_pretrained = functools.partial(_save_pretrained, model)
    known._upload_folder = functools.partial(_upload_folder, model)


def register() -> None:
    """Tell diffusers of the method; more than once does no harm."""
    auto.AUTO_QUANTIZER_MAPPING[QuestMethod.QUEST.value] = QuestQuantizer
    auto.AUTO_QUANTIZATION_CONFIG_MAPPING[QuestMethod.QUEST.value] = QuestConfig


@functools.wraps(ModelMixin.save_pretrained, assigned=())  # pipelines look at its arguments
def _save_pretrained(model: ModelMixin, save_directory: Any, *args: Any, **kwargs: Any) -> None:
    if any(isinstance(module, ExecutedLayer) for module in model.modules()):
        raise ValueError("a network on 8-bit kernels has no codes to save; save it before")
    config = _configured(model)  # it may have been calibrated since it was packed
    type(model).save_pretrained(model, save_directory, *args, **kwargs)
    _write_card(model, config, Path(save_directory))


def _upload_folder(model: ModelMixin, working_dir: Any, *args: Any, **kwargs: Any) -> Any:
    # Both ways to the hub, `push_to_hub` and `save_pretrained(push_to_hub=True)`, put the card of
    # the hub, or an empty one, into the folder right before they call this.
    _write_card(model, _configured(model), Path(working_dir))
    return type(model)._upload_folder(model, working_dir, *args, **kwargs)


def _write_card(model: ModelMixin, config: QuestConfig, folder: Path) -> None:
    """Write the card of a network, or what it has to say into the one that there is."""
    card = folder / CARD
    before = card.read_text(encoding="utf-8") if card.exists() else ""
    settings, calibrated = config.settings, config.calibrated
    write_text(card, model_card(type(model).__name__, settings, calibrated, before))


def _configured(model: ModelMixin) -> QuestConfig:
    """Return how a network is quantized, once it stands in its configuration too."""
    states = {quantizer.enabled for quantizer in activation_quantizers(model).values()}
    if len(states) > 1:
        raise ValueError("some activations are quantized, and some are not; enable_ all or none")
    state = time_groups_of(model)
    config = QuestConfig(state.settings, state.splits, calibrated=states != {False})
    model.register_to_config(**{CONFIG: config})
    return config


def _check_scales(model: ModelMixin) -> None:
    for name, tensor in model.state_dict().items():
        if name.endswith(".scale") and not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} is not finite; the file is damaged")


register()
