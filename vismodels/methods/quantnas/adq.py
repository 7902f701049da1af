"""ADQ, adaptive deviation for quantization: batch normalization that super-resolution survives.

QuantNAS (arXiv 2208.14839), after AdaDM (Liu et al., arXiv 2103.09150): a branch sees normalized
features, and its result is scaled back by the deviation that normalization took away.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

START = 1.5  # of the factor on the deviation


class ADQ(nn.Module):
    """x + branch(BN(x)) * (weight * std(x) + bias), or x + branch(x) when it is off.

    std is over all values of an item, with n - 1 in the denominator.

    Args:
        channels: of x.
        enabled: off, the module has no parameters.
    """

    def __init__(self, channels: int, enabled: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels) if enabled else None
        if enabled:
            self.weight = nn.Parameter(torch.full((1,), START))
            self.bias = nn.Parameter(torch.zeros(1))

    @torch.no_grad()
    def reset_(self) -> None:
        """Put everything back to the start; the normalization forgets its statistics."""
        if self.norm is not None:
            self.norm.reset_parameters()
            self.weight.fill_(START)
            self.bias.zero_()

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a tensor like `x`, (B, C, H, W).

        Args:
            x: (B, C, H, W).
            branch: from and to tensors like `x`.
        """
        if self.norm is None:
            return x + branch(x)
        deviation = x.std(dim=(1, 2, 3), keepdim=True)
        return x + branch(self.norm(x)) * (self.weight * deviation + self.bias)
