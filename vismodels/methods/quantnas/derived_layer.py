"""One layer of a network outside the search: a chosen operation at chosen bits."""

from collections.abc import Sequence

from torch import Tensor, nn

from vismodels.methods.quantnas.operations import SKIP_CONNECT, Chain
from vismodels.quantization.layers import QuantConv2d
from vismodels.quantization.quantizers import ActivationKind, Rectifier


class DerivedLayer(nn.Module):
    """The quantized convolutions of one operation, in order.

    Args:
        operation: its name.
        chain: its convolutions.
        out_channels: of the layer.
        bits: of all its weights and activations.
        bias: whether convolutions have biases.
        activation: kind of the activation quantizers.
        rectifier: in front of the activation quantizers.
    """

    def __init__(
        self,
        operation: str,
        chain: Chain,
        out_channels: int,
        bits: int,
        bias: bool,
        activation: ActivationKind,
        rectifier: Rectifier,
    ) -> None:
        super().__init__()
        self.passes = bool(chain) or operation == SKIP_CONNECT
        self.out_channels = out_channels
        self.convolutions = nn.Sequential(
            *(
                QuantConv2d(
                    conv.in_channels,
                    conv.out_channels,
                    conv.kernel,
                    bits=bits,
                    groups=conv.groups,
                    bias=bias,
                    activation=activation,
                    rectifier=rectifier,
                )
                for conv in chain
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out channels, H, W); `zero` gives zeros."""
        if not self.passes:
            return x.new_zeros(x.shape[0], self.out_channels, *x.shape[2:])
        result: Tensor = self.convolutions(x)
        return result

    def last_convolutions(self) -> Sequence[nn.Module]:
        """Return the convolution that ends the operation, if it has any."""
        return list(self.convolutions)[-1:]
