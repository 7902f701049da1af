"""The base of all super-resolution networks, and the entry that enlarges a user's image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from vismodels.nn.image_kinds import (
    AnyImage,
    from_unit,
    like_image,
    to_tensor,
    to_unit,
    wrong_dtype,
)
from vismodels.nn.modes import evaluation_mode
from vismodels.nn.tiles import compute_in_tiles

IMAGE_CHANNELS = 3
SCALES = (2, 3, 4)

MODEL_CARD = """\
---
{{ card_data }}
---

A super-resolution network of the Python package vismodels. Input: RGB in [0, 1], (B, 3, h, w).
Output: (B, 3, scale * h, scale * w), not clamped.
"""


class SuperResolutionNetwork(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="vismodels",
    license="apache-2.0",
    pipeline_tag="image-to-image",
    tags=["super-resolution"],
    model_card_template=MODEL_CARD,
):
    """What super-resolution networks share: a scale, storage, and `super_resolve` for images.

    `forward` of a subclass maps (B, 3, h, w), RGB in [0, 1], to (B, 3, scale * h, scale * w), not
    clamped, and calls `check_image` first.

    Args:
        scale: 2, 3 or 4.

    Raises:
        ValueError: for another scale.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, got {scale!r}")
        self.scale = scale

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how its weights start")

    def super_resolve(
        self, image: AnyImage, *, tile: int | None = 256, overlap: int = 16
    ) -> AnyImage:
        """Return an image, or a batch of them, at `scale` times the height and width.

        Runs in evaluation mode without gradients, in the dtype and on the device of the network,
        one tile of one image at a time. The result is clipped to [0, 1], for 8-bit images rounded
        half up to 0..255. It is a new image of the kind, dtype and device of `image`; what a PIL
        image holds besides pixels is not copied, and its EXIF orientation is not applied.

        Tiles read `overlap` pixels around them, which are cropped from their results. If that is at
        least the radius of the network's receptive field, the result is the untiled one (up to the
        rounding of floating-point sums). Otherwise, and for networks with strided layers or with
        statistics over all pixels of an image, it is an approximation that may show seams:
        `tile=None` computes the whole image at once.

        Args:
            image: PIL image of mode RGB; array (H, W, 3), uint8 or floating point in [0, 1]; tensor
                (3, h, w) or (B, 3, h, w), uint8 or floating point in [0, 1]. Any size from 1 pixel.
            tile: greatest height and width, in pixels of `image`, that a tile fills; it reads
                up to tile + 2 * overlap. None for no tiles.
            overlap: pixels of context at each side of a tile.

        Raises:
            ValueError: if the image is empty or not RGB, if floating-point values leave [0, 1], or
                if `tile` or `overlap` is too small.
            TypeError: for another kind of image or another dtype.
        """
        pixels = _pixels(image)
        weight = next(self.parameters())

        def enlarge(part: Tensor) -> Tensor:
            low = to_unit(part.contiguous().to(weight.device), weight.dtype)
            return from_unit(self(low), part.dtype).to(part.device)

        with torch.no_grad(), evaluation_mode(self):
            enlarged = compute_in_tiles(
                enlarge, pixels, tile=tile, overlap=overlap, scale=self.scale
            )
        return like_image(enlarged, image)


def check_image(image: Tensor) -> None:
    """Check that `image` can be the input of a network: (B, 3, h, w), floating point.

    Raises:
        ValueError: if `image` has another shape.
        TypeError: if `image` is not floating point.
    """
    if image.ndim != 4 or image.shape[1] != IMAGE_CHANNELS:
        raise ValueError(f"expected RGB images (B, 3, h, w), got shape {tuple(image.shape)}")
    if not image.is_floating_point():
        raise TypeError(f"expected values in [0, 1], got {image.dtype}; divide by 255 first")


def ramp(like: Tensor) -> Tensor:
    """Return an image with all values from 0 to 1, (1, 3, 24, 24), of the type and place of `like`.

    Quantizers are fitted to it before there is any data.
    """
    return torch.linspace(0, 1, IMAGE_CHANNELS * 24 * 24).view(1, IMAGE_CHANNELS, 24, 24).to(like)


def bicubic_upsample(image: Tensor, scale: int) -> Tensor:
    """Return `image` enlarged by the bicubic kernel with a = -0.5, that of Pillow and MATLAB.

    `antialias=True` selects that kernel; PyTorch's default has a = -0.75 and other borders.

    Args:
        image: (B, C, h, w), floating point.
        scale: integer factor.

    Returns:
        (B, C, scale * h, scale * w); may overshoot the range of `image`.
    """
    return F.interpolate(
        image, scale_factor=scale, mode="bicubic", antialias=True, align_corners=False
    )


def draw_convolutions_(network: nn.Module, draw: Callable[[Tensor], Tensor]) -> None:
    """Fill the weights of all 2D convolutions by `draw`, in order, and all biases with zeros.

    Other parameters (of normalizations, activations, quantizers) stay as they are.
    """
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name.endswith("weight") and parameter.ndim == 4:
            draw(parameter)


@torch.no_grad()
def shrink_(layer: nn.Module, factor: float) -> None:
    """Multiply the weights of a layer by `factor`."""
    layer.weight.mul_(factor)  # type: ignore[operator]


def _pixels(image: Image.Image | NDArray[Any] | Tensor) -> Tensor:
    """Return a checked RGB image as (B, 3, h, w), of its own dtype and on its device."""
    if isinstance(image, Image.Image):
        if image.mode != "RGB":
            raise ValueError(
                f"expected RGB, got mode {image.mode!r}; convert it with "
                'image.convert("RGB"), which drops an alpha channel'
            )
    elif isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != IMAGE_CHANNELS:
            raise ValueError(
                f"expected RGB, an array (H, W, 3), got shape {image.shape}; make it RGB first: "
                "grey with np.stack([image] * 3, axis=-1), alpha with image[..., :3], channels "
                "first with np.moveaxis(image, 0, -1)"
            )
    elif isinstance(image, Tensor) and (
        image.ndim not in (3, 4) or image.shape[-3] != IMAGE_CHANNELS
    ):
        raise ValueError(
            f"expected RGB, a tensor (3, h, w) or (B, 3, h, w), got shape "
            f"{tuple(image.shape)}; make it RGB first: grey with image.expand(3, -1, -1), "
            "alpha with image[..., :3, :, :], channels last with image.movedim(-1, -3)"
        )
    pixels = to_tensor(image)
    if pixels.dtype == torch.bool:
        raise TypeError(wrong_dtype("bool", "uint8"))
    return pixels
