"""The levels of a page: its paper and its ink brought to the same grey whatever page it is.

Not in the paper. Show-through and faint ink have the same grey; a patch alone does not tell which
of the two it shows, the darkest ink of its page does.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from torch import Tensor

from vismodels.data.cv import opencv
from vismodels.data.pages import PagePair
from vismodels.nn.image_kinds import LUMA

PAPER_SHARE = 70.0  # percentile of the grey that stands for the paper
WINDOW = 51  # pixels, of the median that stands for the paper around a pixel
NOISE = 0.01  # smaller contrasts are the grain of the paper
INK_LEVEL, PAPER_LEVEL = 0.25, 0.9  # what ink and paper become
Levels = TypeVar("Levels", Tensor, NDArray[np.float32])
LEAST_CONTRAST = 0.05  # of a page; an empty one is not stretched further


def ink_and_paper(grey: NDArray[np.float32]) -> tuple[float, float]:
    """Return the levels of ink and paper of a page, (H, W).

    Ink is what is darker than the paper around it: the median contrast of the pixels that Otsu's
    threshold separates by it. Dark borders and stains, which are no ink, are as dark as what is
    around them.
    """
    paper = float(np.percentile(grey, PAPER_SHARE))
    around = opencv().medianBlur(np.round(255 * grey).clip(0, 255).astype(np.uint8), WINDOW)
    contrast = (around / np.float32(255) - grey).clip(0)
    marked = contrast[contrast > NOISE]
    if marked.size == 0:
        return float(grey.min()), paper
    split: Callable[[NDArray[np.float32]], float] = threshold_otsu
    ink = marked[marked > split(marked)] if np.ptp(marked) > 0 else marked
    return paper - float(np.median(ink)), paper


def leveled(pages: Tensor) -> Tensor:
    """Return grey pages whose ink and paper have the same levels everywhere, clipped to [0, 1].

    Args:
        pages: (B, 1, H, W) in [0, 1]; each is stretched by its own levels.
    """
    done = []
    for page in pages:
        ink, paper = ink_and_paper(page[0].float().cpu().numpy())
        done.append(_stretched(page, ink, paper).clamp(0, 1))
    return torch.stack(done)


def leveled_pair(page: PagePair) -> PagePair:
    """Return a page with the levels of its degraded image so; its three channels move alike."""
    levels: NDArray[np.float32] = page.degraded.astype(np.float32) / np.float32(255)
    ink, paper = ink_and_paper(levels @ np.array(LUMA, np.float32))
    stretched = np.clip(_stretched(levels, ink, paper), 0, 1)
    return replace(page, degraded=np.round(255 * stretched).astype(np.uint8))


def _stretched(levels: Levels, ink: float, paper: float) -> Levels:
    scale = (PAPER_LEVEL - INK_LEVEL) / max(paper - ink, LEAST_CONTRAST)
    return (levels - ink) * scale + INK_LEVEL
