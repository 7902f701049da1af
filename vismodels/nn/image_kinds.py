"""Images of any kind, PIL, NumPy or tensor, as tensors (B, C, H, W) and back."""

from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

AnyImage = TypeVar("AnyImage", bound=Image.Image | NDArray[Any] | Tensor)
MODES = ("1", "L", "LA", "RGB", "RGBA")  # of PIL; "P" and "PA" are converted
CHANNELS = (1, 3, 4)  # of arrays and tensors: grey, RGB, RGBA
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL converts RGB to grey


def to_tensor(image: Image.Image | NDArray[Any] | Tensor) -> Tensor:
    """Return a checked image as (B, C, H, W), of its own dtype and on its device.

    C is 1 for grey, 3 for RGB, and one more with an alpha channel, which is the last.

    Args:
        image: PIL image of mode 1, L, LA, P, PA, RGB or RGBA (a palette becomes RGB, or RGBA if it
            knows transparency); array (H, W) or (H, W, C) with C in 1, 3, 4; tensor (H, W),
            (C, H, W) or (B, C, H, W). Values are bool, uint8, or floating point in [0, 1].

    Raises:
        ValueError: if the image is empty, has another mode or shape, or floating-point values that
            leave [0, 1].
        TypeError: for another kind of image or another dtype.
    """
    if isinstance(image, Image.Image):
        pixels = _channels_first(_readable(image))
    elif isinstance(image, np.ndarray):
        if image.ndim != 2 and (image.ndim != 3 or image.shape[2] not in CHANNELS):
            raise ValueError(
                "expected a grey, RGB or RGBA image, an array (H, W) or (H, W, 1 | 3 | 4), got "
                f"shape {image.shape}; channels come last: np.moveaxis(image, 0, -1)"
            )
        native = image.dtype.newbyteorder("=")
        if native not in (np.bool_, np.uint8, np.float16, np.float32, np.float64):
            raise TypeError(wrong_dtype(image.dtype, "bool, uint8"))
        pixels = _channels_first(np.array(image, native, order="C"))
    elif isinstance(image, Tensor):
        if image.ndim not in (2, 3, 4) or (image.ndim > 2 and image.shape[-3] not in CHANNELS):
            raise ValueError(
                "expected a grey, RGB or RGBA image, a tensor (H, W), (C, H, W) or (B, C, H, W) "
                f"with C in {CHANNELS}, got shape {tuple(image.shape)}; channels come first: "
                "image.movedim(-1, -3)"
            )
        if image.dtype not in (torch.bool, torch.uint8) and not image.is_floating_point():
            raise TypeError(wrong_dtype(image.dtype, "bool, uint8"))
        pixels = image.detach()[(None,) * (4 - image.ndim)]
    else:
        raise TypeError(
            "expected a PIL image, a NumPy array or a tensor, got "
            f"{type(image).__name__}; read a file with vismodels.data.images.read_image"
        )
    if pixels.numel() == 0:
        raise ValueError(f"expected an image with pixels, got shape {tuple(pixels.shape)}")
    if pixels.is_floating_point():
        low, high = (value.item() for value in pixels.aminmax())
        if not (low >= 0 and high <= 1):  # in this form it catches NaN
            raise ValueError(
                f"expected values in [0, 1], got {low:g} to {high:g}; divide 8-bit values by 255, "
                "clip what interpolation overshot"
            )
    return pixels


def like_image(pixels: Tensor, image: AnyImage) -> AnyImage:
    """Return (B, C, H, W) pixels as an image of the kind of `image` and with its number of axes.

    Args:
        pixels: of the final dtype; a PIL image of mode 1 needs bool, of other modes uint8.
        image: what `to_tensor` was given, with as many channels as `pixels`.
    """
    if isinstance(image, Tensor):
        return cast(AnyImage, pixels[(0,) * (4 - image.ndim)])
    array = pixels[0].permute(1, 2, 0).contiguous().numpy()
    if isinstance(image, Image.Image):
        return cast(AnyImage, Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array))
    return cast(AnyImage, array[:, :, 0] if image.ndim == 2 else array)


def to_unit(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return bool, 8-bit or floating-point pixels as `dtype` in [0, 1]."""
    values = pixels.to(dtype)
    return values / 255 if pixels.dtype == torch.uint8 else values


def from_unit(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values clipped to [0, 1] as pixels of `dtype`: rounded for uint8, cut for bool.

    Args:
        values: any shape, floating point; 0.5 counts as white.
        dtype: bool, uint8 or a floating-point one.
    """
    if dtype == torch.bool:
        return values >= 0.5
    return _eight_bit(values) if dtype == torch.uint8 else values.clamp(0, 1).to(dtype)


def _eight_bit(values: Tensor) -> Tensor:
    """Return values in [0, 1], clipped, as whole numbers in 0..255, rounded half up."""
    exact = torch.promote_types(values.dtype, torch.float32)  # bfloat16 has no 255.5
    return (values.to(exact).clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8)


def to_grey(color: Tensor) -> Tensor:
    """Return the luma of RGB: (B, 3, H, W) -> (B, 1, H, W), floating point."""
    weights = color.new_tensor(LUMA).view(1, 3, 1, 1)
    return (color * weights).sum(1, keepdim=True)


def wrong_dtype(dtype: Any, expected: str) -> str:
    """Return the message for values of another dtype than `expected` or floating point."""
    return (
        f"expected {expected} or floating-point values in [0, 1], got {dtype}; convert to float "
        "and divide by the value of white"
    )


def _readable(image: Image.Image) -> NDArray[Any]:
    if image.mode in ("P", "PA"):
        has_alpha = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    if image.mode not in MODES:
        raise ValueError(
            f"expected a PIL image of mode {', '.join(MODES)} or P, got {image.mode!r}; convert it "
            'with image.convert("RGB")'
        )
    return np.array(image)


def _channels_first(image: NDArray[Any]) -> Tensor:
    """Return an (H, W) or (H, W, C) array as (1, C, H, W); shares memory."""
    return torch.from_numpy(image if image.ndim == 3 else image[:, :, None]).permute(2, 0, 1)[None]
