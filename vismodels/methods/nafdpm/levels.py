"""The levels of a page: its paper and its ink brought to the same grey whatever page it is.

Not in the paper. Show-through and faint ink have the same grey; a patch alone does not tell which
of the two it shows, the darkest ink of its page does.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vismodels.data.pages import PagePair
from vismodels.nn.image_kinds import LUMA

INK_SHARE, PAPER_SHARE = 2.0, 70.0  # percentiles of the grey
INK_LEVEL, PAPER_LEVEL = 0.1, 0.9  # what they become
Levels = TypeVar("Levels", Tensor, NDArray[np.float32])
LEAST_CONTRAST = 0.05  # of a page; an empty one is not stretched further


def ink_and_paper(grey: NDArray[np.float32]) -> tuple[float, float]:
    """Return the levels of ink and paper of a page, (H, W)."""
    ink, paper = np.percentile(grey, (INK_SHARE, PAPER_SHARE))
    return float(ink), float(paper)


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
