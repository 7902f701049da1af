"""From images to logits through sliding windows.

Hu et al. (2018), arXiv 1810.09488. How the paper tiles a volume is not known; windows of the
training size with Gaussian weights and an overlap of a half are our choice.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from vismodels.nn.modes import evaluation_mode

AXES = (2, 3, 4)  # of a window: depth, height, width


@torch.no_grad()
def predict_logits(
    network: nn.Module,
    image: Tensor,
    *,
    window: int | Sequence[int],
    overlap: float = 0.5,
    batch: int = 1,
    flips: bool = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the logits of a whole volume, (K, D, H, W) float32 on the device of `image`.

    Windows, and mirrored views of a window, are averaged as logits, never as activations: the mean
    of a multi-level activation of 1 (edema) and 3 (enhancing) is 2, a core that no window saw.
    Decode the result afterwards, once.

    Args:
        network: (B, C, d, h, w) -> (B, K, d, h, w); evaluated in evaluation mode and left in its
            own.
        image: (C, D, H, W) float32 of any size; where it is smaller than the window, zeros (the
            value outside of the brain) are added around it and cut off again.
        window: d, h and w in voxels, or one number for all; a size that the network takes. That of
            training is best: normalizations over a window see what they saw there.
        overlap: of neighboring windows along each axis, as a share of the window in [0, 1).
        batch: number of windows at a time.
        flips: average the 8 mirrored views of each window, which takes 8 times as long.
        dtype: `torch.bfloat16` or `torch.float16` for automatic mixed precision within the
            network, None for none; sums are float32 in any case.
        device: of the network; None for that of `image`.

    Raises:
        ValueError: for an image of another shape or type, or an argument out of its range; the
            network's own, for a window it does not take.
        FloatingPointError: for logits that are not finite, which every head would decode: those
            that are no number as healthy brain.
    """
    if image.ndim != 4 or image.dtype != torch.float32 or image.numel() == 0:
        raise ValueError(
            f"expected one image (C, D, H, W) of float32, got {tuple(image.shape)} {image.dtype}"
        )
    sizes = (window,) * 3 if isinstance(window, int) else tuple(window)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"expected a window of three sizes of at least one voxel, got {sizes}")
    if not 0 <= overlap < 1 or batch < 1:
        raise ValueError(
            f"expected an overlap in [0, 1) and a batch of at least 1, got {overlap} and {batch}"
        )
    if dtype not in (None, torch.bfloat16, torch.float16):
        raise ValueError(f"expected torch.bfloat16, torch.float16 or None as dtype, got {dtype}")
    views = _mirrorings() if flips else [()]
    with evaluation_mode(network):
        logits: Any = sliding_window_inference(
            image[None],
            roi_size=sizes,
            sw_batch_size=batch,
            predictor=partial(_mean_of_views, network, views, dtype),
            overlap=overlap,
            mode="gaussian",
            sw_device=torch.device(device) if device is not None else image.device,
            device=image.device,
        )
    result: Tensor = logits[0].contiguous()  # without what was added around the image
    _refuse_not_finite(result, dtype)
    return result


def _refuse_not_finite(logits: Tensor, dtype: torch.dtype | None) -> None:
    wrong = int((~logits.isfinite()).sum())
    if not wrong:
        return
    remedy = (
        "the training diverged, or image or weights are damaged; train again at a lower rate"
        if dtype is None
        else "the network's numbers may exceed what this type holds: try dtype=None"
        + (" or torch.bfloat16, which reaches as far as float32" if dtype == torch.float16 else "")
    )
    raise FloatingPointError(
        f"{wrong} of {logits.numel()} logits are not finite, computed in {dtype or torch.float32}; "
        f"{remedy}"
    )


def _mirrorings() -> list[tuple[int, ...]]:
    return [axes for n in range(len(AXES) + 1) for axes in itertools.combinations(AXES, n)]


def _mean_of_views(
    network: nn.Module,
    views: Sequence[tuple[int, ...]],
    dtype: torch.dtype | None,
    windows: Tensor,
) -> Tensor:
    """Return the float32 logits of `windows`, a tensor of their own: the caller scales them."""
    total = torch.zeros((), device=windows.device)
    for axes in views:
        with torch.autocast(windows.device.type, dtype=dtype, enabled=dtype is not None):
            logits: Tensor = network(windows.flip(axes))
        total = total + logits.float().flip(axes)
    return total / len(views)
