import pytest
import torch
from small_brains import HEADS, variant

from vismodels.methods.multilevel_activation.build import build_head, build_trunk
from vismodels.methods.multilevel_activation.config import TrunkConfig
from vismodels.methods.multilevel_activation.heads import (
    MultiLevelHead,
    NestedSegmenter,
    SigmoidRegionsHead,
    SoftmaxHead,
)
from vismodels.methods.multilevel_activation.segresnet import SegResNet3D
from vismodels.nn.residual_unet3d import ResidualUNet3D

TRUNKS = {
    "residual_unet3d": TrunkConfig(width=2, depth=2, dropout=0.1),
    "segresnet": TrunkConfig(kind="segresnet", width=4, dropout=0.1),
}


def test_a_head_has_what_its_configuration_says():
    head = build_head(
        variant("multilevel", steepness=2.0, spacing=2.5, decode="cumulative", loss="nce").head
    )
    assert isinstance(head, MultiLevelHead)
    assert (head.activation.steps.steepness, head.activation.steps.spacing) == (2.0, 2.5)
    assert (head.activation.decode, head.loss_name, head.channels) == ("cumulative", "nce", 1)
    head = build_head(variant("softmax", loss="cross_entropy").head)
    assert isinstance(head, SoftmaxHead)
    assert (head.loss_name, head.channels) == ("cross_entropy", 4)
    head = build_head(variant("sigmoid_regions", loss="bce").head)
    assert isinstance(head, SigmoidRegionsHead)
    assert (head.loss_name, head.channels) == ("bce", 3)


def test_a_trunk_has_the_size_of_its_configuration():
    unet = build_trunk(TRUNKS["residual_unet3d"], 3, seed=0)
    assert isinstance(unet, ResidualUNet3D)
    expected = ResidualUNet3D(4, 3, width=2, depth=2, dropout=0.1)
    assert [p.shape for p in unet.parameters()] == [p.shape for p in expected.parameters()]
    assert {m.p for m in unet.modules() if isinstance(m, torch.nn.Dropout3d)} == {0.1}
    assert isinstance(build_trunk(TRUNKS["segresnet"], 3, seed=0), SegResNet3D)


@pytest.mark.parametrize("kind", TRUNKS)
def test_heads_of_one_seed_stand_on_equal_trunks(kind):
    networks = [
        build_trunk(TRUNKS[kind], build_head(variant(head).head).channels, seed=3) for head in HEADS
    ]
    states = [dict(network.named_parameters()) for network in networks]
    differing = {
        name
        for name, tensor in states[0].items()
        for other in states[1:]
        if tensor.shape != other[name].shape
    }
    assert differing  # the outputs alone
    assert all("heads." in name or "conv_final" in name for name in differing)
    for other in states[1:]:
        for name in states[0].keys() - differing:
            assert torch.equal(states[0][name], other[name]), name


@pytest.mark.parametrize("kind", TRUNKS)
def test_another_seed_gives_another_trunk(kind):
    first, again, other = (
        torch.cat([p.flatten() for p in build_trunk(TRUNKS[kind], 1, seed).parameters()])
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", TRUNKS)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_stands_on_every_trunk_and_starts_at_background(kind, head, generator):
    built = build_head(variant(head).head)
    model = NestedSegmenter(build_trunk(TRUNKS[kind], built.channels, seed=0), built).eval()
    logits = model(torch.randn(1, 4, 16, 8, 8, generator=generator))
    assert logits.shape == (1, built.channels, 16, 8, 8)
    start = built.probabilities(built.bias().view(1, -1, 1, 1, 1))
    assert start[0, 0].item() == pytest.approx(0.0474, abs=1e-3)
    network = model.network
    output = (
        network.output_heads()[-1]
        if isinstance(network, ResidualUNet3D)
        else network.network.conv_final[-1].conv
    )
    assert torch.equal(output.bias, built.bias())
