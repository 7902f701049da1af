"""Pairs of high- and low-resolution photographs, held in memory, and random patches of them."""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vismodels.cards.find import IMAGE_SUFFIXES
from vismodels.config import suggestion
from vismodels.data.images import box_shrink, crop_to_multiple, read_image, write_png
from vismodels.data.resize import bicubic_resize
from vismodels.files import FileError

_STORED = re.compile(r"(?P<name>.+)_SRF_(?P<scale>[0-9]+)_(?P<kind>HR|LR)", re.IGNORECASE)
_RESULT = re.compile(r".+_SRF_[0-9]+_.+", re.IGNORECASE)  # other methods' images beside pairs


@dataclass(frozen=True, eq=False)
class Pair:
    """A photograph and its small version.

    Args:
        name: says which photograph, in scores and messages.
        hr: (H, W, 3) uint8 RGB, the target.
        lr: (H / scale, W / scale, 3) uint8 RGB, the input.

    Raises:
        ValueError: if an array is empty or not uint8 RGB, or `hr` is not a whole multiple of `lr`.
    """

    name: str
    hr: NDArray[np.uint8]
    lr: NDArray[np.uint8]

    def __post_init__(self) -> None:
        for image in (self.hr, self.lr):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(
                    f"{self.name}: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}; "
                    "read it with data.images.read_image"
                )
        (height, width), (low_height, low_width) = self.hr.shape[:2], self.lr.shape[:2]
        if (height, width) != (low_height * self.scale, low_width * self.scale):
            raise ValueError(
                f"{self.name}: HR {height}x{width} is not a whole multiple of LR "
                f"{low_height}x{low_width}; crop first, e.g. with data.images.crop_to_multiple"
            )

    @property
    def scale(self) -> int:
        """Edge of the HR image over edge of the LR image."""
        return int(self.hr.shape[0] // self.lr.shape[0])


class PairSet:
    """Pairs of one scale with different names, in a fixed order.

    Raises:
        ValueError: if there is no pair, if scales differ, or if a name comes twice.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self.pairs = tuple(pairs)
        if not self.pairs:
            raise ValueError("a pair set needs at least one pair, got none")
        names = self.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two pairs have the name {twice!r}; names must differ")
        scales = {pair.scale for pair in self.pairs}
        if len(scales) > 1:
            raise ValueError(f"pairs of one set must have one scale, got {sorted(scales)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the pairs, in order."""
        return tuple(pair.name for pair in self.pairs)

    @property
    def scale(self) -> int:
        """The one scale of all pairs."""
        return self.pairs[0].scale

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def subset(self, names: Iterable[str]) -> "PairSet":
        """Return the pairs with these names, in the order of `names`.

        Raises:
            ValueError: for an unknown name, with the nearest one.
        """
        by_name = {pair.name: pair for pair in self.pairs}
        chosen = []
        for name in names:
            if name not in by_name:
                raise ValueError(f"no image {name!r} in the set{suggestion(name, by_name)}")
            chosen.append(by_name[name])
        return PairSet(chosen)


def make_pair(hr: NDArray[np.uint8], scale: int, name: str = "image") -> Pair:
    """Return `hr`, cropped to a multiple of `scale`, with its bicubic LR version.

    Args:
        hr: (H, W, 3) uint8 RGB.
        scale: whole shrinking factor.
        name: name of the pair.
    """
    hr = crop_to_multiple(hr, scale)
    return Pair(name, hr, bicubic_resize(hr, scale=1 / scale))


def read_pairs(
    source: Path | str | Sequence[Path], scale: int, halve: Collection[str] = ()
) -> PairSet:
    """Return images as pairs, sorted by file name.

    Stored pairs (`img_001_SRF_4_HR.png` and `img_001_SRF_4_LR.png`, as Set5 and Set14 are
    distributed; case does not matter) are taken as they are, with names like `img_001`; pairs of
    other scales and results of methods (`img_001_SRF_4_bicubic.png`) beside them are passed over.
    Where no small image is stored, all images are plain HR images, which are shrunk.

    Args:
        source: a folder, or the image files themselves.
        scale: whole shrinking factor.
        halve: suffixes (`.jpg`) of plain HR images that are averaged over 2x2 pixels first.

    Raises:
        FileError: if there is no image, one cannot be read or is too small, a stored pair of this
            scale is incomplete, or a plain image lies among stored pairs.
    """
    files = _image_files(source)
    place = files[0].parent
    try:
        if any(is_stored_lr(file) for file in files):
            return PairSet(_stored_pair(*pair, scale) for pair in _partners(files, scale))
        large = [
            file
            for file in files
            if (m := _STORED.fullmatch(file.stem)) and int(m["scale"]) == scale
        ]
        return PairSet(_plain_pair(file, scale, halve) for file in large or files)
    except ValueError as error:
        raise FileError(f"{place}: {error}") from error


def is_stored_lr(file: Path | str) -> bool:
    """Return whether a file is the small image of a stored pair, by its name."""
    match = _STORED.fullmatch(Path(file).stem)
    return match is not None and match["kind"].upper() == "LR"


def write_pairs(pairs: PairSet, folder: Path) -> None:
    """Write each pair as `<name>_SRF_<scale>_HR.png` and `..._LR.png`, for `read_pairs`."""
    for pair in pairs:
        for kind, image in (("HR", pair.hr), ("LR", pair.lr)):
            write_png(folder / f"{pair.name}_SRF_{pair.scale}_{kind}.png", image)


def _image_files(source: Path | str | Sequence[Path]) -> list[Path]:
    if not isinstance(source, (str, Path)):
        files = list(source)
    elif Path(source).is_dir():
        files = [file for file in Path(source).iterdir() if not file.name.startswith(".")]
    else:
        raise FileError(f"{source}: no such folder")
    files = sorted((f for f in files if f.suffix.lower() in IMAGE_SUFFIXES), key=lambda f: f.name)
    if not files:
        raise FileError(f"{source}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return files


def _partners(files: Sequence[Path], scale: int) -> list[tuple[str, Path, Path]]:
    """Return name, HR and LR file of every stored pair of one scale, in the order of `files`."""
    pairs: dict[tuple[Path, str, str], dict[str, tuple[str, Path]]] = {}
    for file in files:
        match = _STORED.fullmatch(file.stem)
        if match is None and _RESULT.fullmatch(file.stem):
            continue
        if match is None:
            raise FileError(
                f"{file}: is no stored pair, but lies among such: move it to a folder of its own"
            )
        if int(match["scale"]) == scale:
            key = (file.parent, match["name"].lower(), file.suffix.lower())
            _, first = pairs.setdefault(key, {}).setdefault(
                match["kind"].upper(), (match["name"], file)
            )
            if first is not file:
                raise FileError(f"{file}: differs from {first.name} in case only; remove one")
    if not pairs:
        raise FileError(
            f"{files[0].parent}: no stored pair of scale {scale}: expected files "
            f"*_SRF_{scale}_HR.png"
        )
    for pair in pairs.values():
        if len(pair) < 2:
            ((kind, (name, file)),) = pair.items()
            other = "LR" if kind == "HR" else "HR"
            partner = f"{name}_SRF_{scale}_{other}{file.suffix}"
            raise FileError(f"{file}: has no partner; expected {partner} beside it")
    return [(*pair["HR"], pair["LR"][1]) for pair in pairs.values()]


def _stored_pair(name: str, high: Path, low: Path, scale: int) -> Pair:
    pair = Pair(name, read_image(high), read_image(low))
    if pair.scale != scale:
        raise FileError(f"{high}: is x{pair.scale} of {low.name}, though its name says x{scale}")
    return pair


def _plain_pair(file: Path, scale: int, halve: Collection[str]) -> Pair:
    image = read_image(file)
    try:
        if file.suffix.lower() in halve:
            image = box_shrink(image, 2)
        return make_pair(image, scale, file.stem)
    except ValueError as error:
        raise FileError(f"{file.parent}: {file.name}: {error}") from error


def random_patches(
    pairs: PairSet, generator: torch.Generator, batch_size: int, lr_crop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield random batches without end: LR and HR patches at the same place, both in [0, 1].

    An image is drawn in proportion to its area, a place and one of the eight flips and quarter
    turns evenly. `generator` is the only state: restoring it restores the sequence.

    Args:
        pairs: where the patches are cut.
        generator: a CPU generator; advanced by one draw a batch.
        batch_size: patches a batch.
        lr_crop: edge of an LR patch in pixels; the HR patch is `scale` times larger.

    Yields:
        LR (B, 3, lr_crop, lr_crop) and HR (B, 3, lr_crop * scale, lr_crop * scale), float32.

    Raises:
        ValueError: if an image is smaller than the crop (at the call, not at the first batch).
    """
    for pair in pairs:
        height, width = pair.lr.shape[:2]
        if min(height, width) < lr_crop:
            raise ValueError(
                f"{pair.name}: the LR image is {height}x{width}, smaller than the crop of "
                f"{lr_crop}x{lr_crop}; set lr_crop to at most {min(height, width)} "
                "or leave the image out"
            )
    return _patches(pairs, generator, batch_size, lr_crop)


def _patches(
    pairs: PairSet, generator: torch.Generator, batch_size: int, lr_crop: int
) -> Iterator[tuple[Tensor, Tensor]]:
    areas = np.cumsum([math.prod(pair.lr.shape[:2]) for pair in pairs])
    while True:
        draws = torch.rand(batch_size, 4, generator=generator, dtype=torch.float64).numpy()
        chosen = np.searchsorted(areas, draws[:, 0] * areas[-1], side="right")
        patches = [
            _patch(pairs.pairs[index], draw, lr_crop)
            for index, draw in zip(chosen, draws[:, 1:], strict=True)
        ]
        yield (
            images_to_tensor(np.stack([lr for lr, _ in patches])),
            images_to_tensor(np.stack([hr for _, hr in patches])),
        )


def _patch(
    pair: Pair, draw: NDArray[np.float64], lr_crop: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the LR and HR patch that three draws from [0, 1) stand for."""
    top = int(draw[0] * (pair.lr.shape[0] - lr_crop + 1))
    left = int(draw[1] * (pair.lr.shape[1] - lr_crop + 1))
    turns, flip = divmod(int(draw[2] * 8), 2)

    def cut(image: NDArray[np.uint8], zoom: int) -> NDArray[np.uint8]:
        edge = lr_crop * zoom
        patch = image[top * zoom : top * zoom + edge, left * zoom : left * zoom + edge]
        patch = np.rot90(patch, turns)
        return patch[:, ::-1] if flip else patch

    return cut(pair.lr, 1), cut(pair.hr, pair.scale)


def images_to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Return (B, H, W, 3) uint8 images as a (B, 3, H, W) float32 tensor in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255


def tensor_to_images(tensor: Tensor) -> NDArray[np.uint8]:
    """Return a (B, 3, H, W) float tensor as (B, H, W, 3) uint8 images: clipped, rounded half up."""
    levels = (tensor.detach().clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
