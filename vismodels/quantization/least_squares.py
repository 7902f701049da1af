"""What a linear layer has to add to its weight and bias to make up for errors of its inputs.

Legend: n samples, O outputs, K inputs.
"""

import torch
from torch import Tensor


@torch.no_grad()
def compensation(
    inputs: Tensor, residuals: Tensor, *, ridge: float, intercept: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the changes of weight, (O, K), and bias, (O,), that come nearest to the residuals.

    Ridge regression of residuals on inputs. Without an intercept the bias does not change.

    Args:
        inputs: (n, K).
        residuals: (n, O), what the outputs lack.
        ridge: penalty of the squared change of the weight, in units of the inputs' mean square.
        intercept: whether there is a bias, which is not penalized.
    """
    x, y = inputs.double(), residuals.double()
    center = x.mean(0) if intercept else torch.zeros_like(x[0])
    shift = y.mean(0) if intercept else torch.zeros_like(y[0])
    x, y = x - center, y - shift
    gram = x.T @ x / len(x)
    strength = ridge * gram.diagonal().mean()
    if not strength > 0:  # inputs without variance explain nothing
        weight = torch.zeros(y.shape[1], x.shape[1]).to(y)
    else:
        identity = torch.eye(len(gram)).to(gram)
        weight = torch.linalg.solve(gram + strength * identity, x.T @ y / len(x)).T
    bias = shift - weight @ center
    return weight.to(inputs.dtype), bias.to(inputs.dtype)
