"""Published networks with quantized convolutions: the baselines that no search made."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vismodels.config import suggestion
from vismodels.nn.residual_sr import ESPCN
from vismodels.nn.rfdn import RFDN
from vismodels.nn.srresnet import SRResNet
from vismodels.nn.super_resolution import SuperResolutionNetwork, ramp
from vismodels.quantization.layers import initialize_steps_, quantize_convolutions_
from vismodels.quantization.spec import FULL_PRECISION

MODELS: dict[str, type[SuperResolutionNetwork]] = {
    "espcn": ESPCN,
    "rfdn": RFDN,
    "srresnet": SRResNet,
}

READS_IMAGE = {"espcn": "layers.0", "rfdn": "head", "srresnet": "head.0"}  # never negative


def build_model(model: str, scale: int, bicubic_skip: bool = False) -> SuperResolutionNetwork:
    """Return one of `MODELS` at full precision.

    Raises:
        ValueError: for an unknown name (with the nearest one), or a skip of a model without one.
    """
    if model not in MODELS:
        raise ValueError(f"no network is called {model!r}{suggestion(model, MODELS)}")
    if model == "espcn":
        return ESPCN(scale, bicubic_skip)
    if bicubic_skip:
        raise ValueError(f"bicubic_skip is an option of espcn; {model} has none")
    return MODELS[model](scale=scale)


class FixedSR(SuperResolutionNetwork):
    """ESPCN, RFDN or SRResNet whose convolutions are quantized, first and last ones too.

    Weights and activations have LSQ quantizers; activations keep their sign but for the image,
    since these networks have nonlinearities of their own.

    Args:
        model: `espcn`, `rfdn` or `srresnet`.
        bits: of all convolutions, or name of the convolution -> bits; 32 leaves one as it is.
        scale: 2, 3 or 4.
        bicubic_skip: of ESPCN: add the bicubic image to the output.

    Raises:
        ValueError: for an unknown model or convolution, with the nearest name.
    """

    def __init__(
        self,
        model: str,
        bits: int | Mapping[str, int] = FULL_PRECISION,
        scale: int = 4,
        bicubic_skip: bool = False,
    ) -> None:
        super().__init__(scale)
        self.network = build_model(model, scale, bicubic_skip)
        quantize_convolutions_(self.network, bits, unsigned=(READS_IMAGE[model],))

    def initialize_(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, as the network itself does, and fit the quantizers to them.

        Args:
            generator: source of randomness; None for PyTorch's global one.
        """
        self.network.initialize_(generator)
        initialize_steps_(self.network, ramp(next(self.parameters())))

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 3, scale * h, scale * w) of (B, 3, h, w), RGB in [0, 1]; not clamped."""
        result: Tensor = self.network(image)
        return result
