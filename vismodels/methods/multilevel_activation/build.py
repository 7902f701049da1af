"""Networks and heads of a configuration."""

from torch import nn

from vismodels.data.brain_cases import MODALITIES
from vismodels.methods.multilevel_activation.config import (
    HeadConfig,
    MultiLevelConfig,
    SigmoidRegionsConfig,
    SoftmaxConfig,
    TrunkConfig,
)
from vismodels.methods.multilevel_activation.heads import (
    Head,
    MultiLevelHead,
    SigmoidRegionsHead,
    SoftmaxHead,
)
from vismodels.methods.multilevel_activation.segresnet import draw_segresnet
from vismodels.nn.residual_unet3d import ResidualUNet3D
from vismodels.seeding import derive_seed, generator


def build_head(config: HeadConfig) -> Head:
    """Return the head that a configuration names."""
    if isinstance(config, MultiLevelConfig):
        return MultiLevelHead(config.steepness, config.spacing, config.decode, config.loss)
    if isinstance(config, SoftmaxConfig):
        return SoftmaxHead(config.loss)
    assert isinstance(config, SigmoidRegionsConfig)
    return SigmoidRegionsHead(config.loss)


def build_trunk(config: TrunkConfig, channels: int, seed: int) -> nn.Module:
    """Return an untrained network with `channels` logits; equal seeds give equal trunks.

    Args:
        config: which network, and its size.
        channels: of the output; the weights of the rest do not depend on it.
        seed: of the weights.
    """
    modalities = len(MODALITIES)
    if config.kind == "segresnet":
        weights = derive_seed(seed, "multilevel_activation", "weights") % 2**63
        return draw_segresnet(modalities, channels, config.width, config.dropout, weights)
    network = ResidualUNet3D(modalities, channels, config.width, config.depth, config.dropout)
    network.initialize_(generator(seed, "multilevel_activation", "weights"))
    return network
