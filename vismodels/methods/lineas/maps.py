"""Affine maps of activations, one scale and one shift for each unit, and their files.

Rodriguez et al. (2025), "LinEAS", arXiv 2503.10679, Sec. 3.2 (maps), 4.4 (strength, inverse) and
Appendix J (composition).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vismodels.checkpoint import CONFIG
from vismodels.config import suggestion
from vismodels.files import MANIFEST, FileError, atomic_path, check_manifest, read_json, write_json
from vismodels.methods.lineas.config import Mode

WEIGHTS = "model.safetensors"
FIELDS = ("scale", "shift", "low", "high")
SMALLEST_SCALE = 1e-3  # of a unit whose map is inverted


@dataclass(frozen=True)
class AffineMap:
    """T(z) = scale z + shift for each unit, between `low` and `high` where these are given.

    Args:
        scale: (d,), floating point.
        shift: (d,).
        low: (d,); values that are not above it stay as they are. None for no bound.
        high: (d,); values that are not below it stay as they are. Given with `low` only.

    Raises:
        ValueError: for tensors of other shapes, or one bound without the other.
    """

    scale: Tensor
    shift: Tensor
    low: Tensor | None = None
    high: Tensor | None = None

    def __post_init__(self) -> None:
        shapes = {field: tuple(tensor.shape) for field, tensor in self.tensors().items()}
        if self.scale.ndim != 1 or len(set(shapes.values())) > 1:
            raise ValueError(f"a map has one number of each kind for each unit, got {shapes}")
        if (self.low is None) != (self.high is None):
            raise ValueError("a map has both bounds or none")

    @classmethod
    def identity(cls, units: int) -> "AffineMap":
        """Return the map that changes nothing."""
        return cls(torch.ones(units), torch.zeros(units))

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.scale)

    @property
    def is_bounded(self) -> bool:
        """Whether values outside a range stay as they are."""
        return self.low is not None

    def tensors(self) -> dict[str, Tensor]:
        """Return name -> tensor of the fields that are given."""
        fields = {field: getattr(self, field) for field in FIELDS}
        return {field: tensor for field, tensor in fields.items() if tensor is not None}

    def moved(self, values: Tensor) -> Tensor:
        """Return T of `values` (..., d), in the larger type of the two."""
        tensors = {name: tensor.to(values.device) for name, tensor in self.tensors().items()}
        result = values * tensors["scale"] + tensors["shift"]
        if self.is_bounded:
            inside = (values > tensors["low"]) & (values < tensors["high"])
            return torch.where(inside, result, values.to(result.dtype))
        return result

    def at(self, strength: float) -> "AffineMap":
        """Return z -> (1 - strength) z + strength T(z)."""
        if strength == 1:
            return self
        scale = 1 + strength * (self.scale - 1)
        return AffineMap(scale, strength * self.shift, self.low, self.high)

    def inverse(self, smallest: float) -> "AffineMap":
        """Return z -> (z - shift) / scale, for values between the images of the bounds.

        Args:
            smallest: units with a smaller |scale| get the identity.
        """
        keep = self.scale.abs() >= smallest
        scale = torch.where(keep, self.scale, 1).reciprocal()
        shift = torch.where(keep, -self.shift * scale, 0)
        if self.low is None or self.high is None:
            return AffineMap(scale, shift)
        bounds = torch.stack([self.low, self.high])
        images = torch.where(keep, bounds * self.scale + self.shift, bounds)
        return AffineMap(scale, shift, images.amin(0), images.amax(0))  # a scale < 0 swaps them

    def active(self, threshold: float = 0.0) -> Tensor:
        """Return (d,) booleans: whose scale or shift differs from the identity's by more."""
        return ((self.scale - 1).abs() > threshold) | (self.shift.abs() > threshold)


class Maps(Mapping[str, AffineMap]):
    """Layer name -> affine map, with the positions they act on.

    A layer is named as in the pipeline (`unet.mid_block.resnets.0.norm1`); `name:1` is the second
    element of an output that is a tuple, `name` its first.

    Args:
        maps: layer name -> map.
        mode: all: every token or pixel is moved. avg: the mean over them is moved, and each of them
            by as much. last: the last token only.
        about: what the maps come from, of values that JSON can hold; stored with them.

    Raises:
        ValueError: if there is no map, or the mode is unknown.
    """

    def __init__(
        self,
        maps: Mapping[str, AffineMap],
        mode: Mode = "all",
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if not maps:
            raise ValueError("expected a map for at least one layer, got none")
        if mode not in get_args(Mode):
            raise ValueError(f"unknown mode {mode!r}{suggestion(mode, get_args(Mode))}")
        self._maps = dict(maps)
        self.mode: Mode = mode
        self.about = dict(about or {})

    def __getitem__(self, layer: str) -> AffineMap:
        if layer not in self._maps:
            raise KeyError(f"no map of the layer {layer!r}{suggestion(layer, self._maps)}")
        return self._maps[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def __repr__(self) -> str:
        units = sum(each.units for each in self.values())
        return f"Maps({len(self)} layers, {units} units, mode={self.mode!r})"

    def _each(self, change: Callable[[AffineMap], AffineMap]) -> "Maps":
        changed = {layer: change(each) for layer, each in self.items()}
        return Maps(changed, self.mode, self.about)

    def at(self, strength: float) -> "Maps":
        """Return the maps z -> (1 - strength) z + strength T(z).

        Args:
            strength: from 0 (the identity) to 1 (the maps as they are).

        Raises:
            ValueError: for a strength outside [0, 1].
        """
        check_strength(strength)
        return self._each(lambda each: each.at(strength))

    def subset(self, layers: Callable[[str], bool]) -> "Maps":
        """Return the maps of those layers whose name `layers` accepts."""
        kept = {layer: each for layer, each in self.items() if layers(layer)}
        return Maps(kept, self.mode, self.about)

    def inverse(
        self,
        near_zero: Literal["refuse", "identity"] = "refuse",
        smallest: float = SMALLEST_SCALE,
    ) -> "Maps":
        """Return the maps z -> (z - shift) / scale, which bring back what the maps take away.

        What a bounded map moved comes back to where it was. A value outside its bounds that lies
        where others were moved to is moved too: nothing tells it from them.

        Args:
            near_zero: what becomes of units with |scale| < `smallest`, whose inverse would blow up
                whatever comes: refuse all, or leave these units alone.
            smallest: positive.

        Raises:
            ValueError: if there are such units and they are refused.
        """
        lost = {layer: int((each.scale.abs() < smallest).sum()) for layer, each in self.items()}
        if near_zero == "refuse" and any(lost.values()):
            named = ", ".join(f"{layer} ({count})" for layer, count in lost.items() if count)
            raise ValueError(
                f"maps with |scale| < {smallest:g} have no usable inverse; units of {named}. "
                "near_zero='identity' leaves these units alone"
            )
        return self._each(lambda each: each.inverse(smallest))

    def then(self, other: "Maps") -> "Maps":
        """Return the maps that act as these and after them `other`; the order matters.

        A layer that only one side has keeps that side's map.

        Raises:
            ValueError: if the modes or the units of a layer differ, or a map is bounded.
        """
        if self.mode != other.mode:
            raise ValueError(
                f"maps of one mode can be composed, got {self.mode!r} and {other.mode!r}"
            )
        for maps in (self, other):
            maps._refuse_bounds()
        composed = {**self, **other}
        for layer in self.keys() & other.keys():
            first, second = self[layer], other[layer]
            if first.units != second.units:
                raise ValueError(
                    f"{layer} has {first.units} units on one side and {second.units} on the other: "
                    "these are maps of different pipelines"
                )
            shift = second.scale * first.shift + second.shift
            composed[layer] = AffineMap(second.scale * first.scale, shift)
        return Maps(composed, self.mode, {"first": self.about, "then": other.about})

    def support(self, threshold: float = 0.0) -> float:
        """Return the share of all units whose map differs from the identity by more."""
        active = torch.cat([each.active(threshold) for each in self.values()])
        return active.sum().item() / len(active)

    def layer_support(self, threshold: float = 0.0) -> dict[str, float]:
        """Return layer -> share of its units whose map differs from the identity by more."""
        return {layer: each.active(threshold).float().mean().item() for layer, each in self.items()}

    def _refuse_bounds(self) -> None:
        bounded = [layer for layer, each in self.items() if each.is_bounded]
        if bounded:
            raise ValueError(
                "maps that act on a range of values only cannot be composed, "
                f"{bounded[0]} is one; fit them with mask: none"
            )

    def save_pretrained(self, folder: Path | str) -> None:
        """Write `config.json` and `model.safetensors` into `folder`; equal maps give equal bytes.

        Tensors are called `<layer>.scale`, `<layer>.shift`, and `.low`, `.high` where bounded.
        """
        folder = Path(folder)
        tensors = {
            f"{layer}.{field}": tensor.detach().float().cpu().contiguous()
            for layer, each in self.items()
            for field, tensor in each.tensors().items()
        }
        with atomic_path(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
        units = [[layer, each.units] for layer, each in self.items()]  # JSON objects get sorted
        content = {"_class_name": "Maps", "mode": self.mode, "layers": units, "about": self.about}
        write_json(folder / CONFIG, content)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "Maps":
        """Return the maps that `save_pretrained` wrote; a manifest, if there is one, is checked.

        Raises:
            FileError: for a missing or damaged folder, or one that holds something else.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileError(
                f"{folder}: no such folder; maps are read from local folders (download one from a "
                "hub first)"
            )
        if (folder / MANIFEST).is_file():
            check_manifest(folder)
        config = read_json(folder / CONFIG)
        if not isinstance(config, Mapping) or config.get("_class_name") != "Maps":
            raise FileError(f"{folder / CONFIG}: not of steering maps; give the folder of such")
        try:
            tensors = load_file(folder / WEIGHTS)
            maps = {layer: _read_map(tensors, layer, units) for layer, units in config["layers"]}
            if tensors:
                raise ValueError(f"unknown: {', '.join(sorted(tensors))}")
            return cls(maps, config["mode"], config["about"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise FileError(
                f"{folder}: damaged, or not of steering maps ({error}); fit and save them again"
            ) from error


def check_strength(strength: float) -> None:
    """Raise ValueError for a strength outside [0, 1]."""
    if not 0 <= strength <= 1:
        raise ValueError(
            f"strength is from 0 to 1, got {strength}; maps.inverse() steers the other way"
        )


def _read_map(tensors: dict[str, Tensor], layer: str, units: int) -> AffineMap:
    """Return the map of `layer`, and take its tensors out of `tensors`."""
    fields = {
        field: tensors.pop(name) for field in FIELDS if (name := f"{layer}.{field}") in tensors
    }
    read = AffineMap(**fields)
    if read.units != units or not all(tensor.isfinite().all() for tensor in fields.values()):
        raise ValueError(f"{layer} needs {units} finite numbers of each kind")
    return read
