"""What is kept of activations while they pass: their extremes, and how often which value occurred.

Legend: R rows that have a range each, n values in a row.
"""

import torch
from torch import Tensor

BINS = 2048


def to_rows(x: Tensor, axis: int | None) -> Tensor:
    """Return (R, n): one row for each index of `axis`, or a single one for None."""
    return x.reshape(1, -1) if axis is None else x.movedim(axis, 0).flatten(1)


class Extremes:
    """The smallest and largest values of batches, or the running mean of each batch's.

    Args:
        momentum: what stays of the old mean at each batch, 0 to 1; None: the extremes of all.
    """

    def __init__(self, momentum: float | None = None) -> None:
        self.momentum = momentum
        self.ends: tuple[Tensor, Tensor] | None = None  # low and high, (R,) each

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Take in a batch, (R, n)."""
        low, high = rows.aminmax(dim=1)
        if self.ends is None:
            self.ends = low, high
        elif self.momentum is None:
            self.ends = torch.minimum(self.ends[0], low), torch.maximum(self.ends[1], high)
        else:
            weight = 1 - self.momentum
            self.ends = self.ends[0].lerp(low, weight), self.ends[1].lerp(high, weight)


class Histogram:
    """How often values of each row fell into bins of equal width between two ends.

    Args:
        low: (R,), lower ends; values below are counted into the first bin.
        high: (R,), upper ends; values above are counted into the last bin.
        bins: of each row.
    """

    def __init__(self, low: Tensor, high: Tensor, bins: int = BINS) -> None:
        self.low, self.bins = low, bins
        self.width = ((high - low) / bins).clamp_min(torch.finfo(low.dtype).tiny)
        self.counts = torch.zeros(len(low), bins, dtype=torch.int64, device=low.device)

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Take in a batch, (R, n)."""
        places = ((rows - self.low[:, None]) / self.width[:, None]).clamp_(0, self.bins - 1).long()
        places += self.bins * torch.arange(len(rows), device=rows.device)[:, None]
        self.counts += places.flatten().bincount(minlength=self.counts.numel()).view_as(self.counts)

    @property
    def centers(self) -> Tensor:
        """The values in the middle of the bins, (R, bins), rising."""
        middle = torch.arange(self.bins, dtype=self.low.dtype, device=self.low.device) + 0.5
        return self.low[:, None] + self.width[:, None] * middle
