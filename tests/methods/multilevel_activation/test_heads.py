import math
from collections import OrderedDict

import pytest
import torch
from monai.networks.nets import (
    UNETR,
    AttentionUnet,
    BasicUNet,
    BasicUNetPlusPlus,
    DynUNet,
    HighResNet,
    SegResNet,
    SwinUNETR,
    UNet,
    VNet,
)
from torch import nn

from vismodels.methods.multilevel_activation.activation import Steps, background_bias
from vismodels.methods.multilevel_activation.heads import (
    MultiLevelHead,
    NestedSegmenter,
    SigmoidRegionsHead,
    SoftmaxHead,
)
from vismodels.methods.multilevel_activation.losses import (
    multilevel_loss,
    sigmoid_loss,
    softmax_loss,
)
from vismodels.methods.multilevel_activation.nesting import violations
from vismodels.nn.residual_unet3d import ResidualUNet3D

HEADS = [MultiLevelHead, SoftmaxHead, SigmoidRegionsHead]
START = 1 / (1 + math.exp(3))


def segresnet(channels):
    return SegResNet(
        spatial_dims=3, init_filters=8, in_channels=4, out_channels=channels,
        blocks_down=(1, 1), blocks_up=(1,),
    )  # fmt: skip


def dynunet(channels, **options):
    return DynUNet(
        spatial_dims=3, in_channels=4, out_channels=channels, kernel_size=[3, 3, 3],
        strides=[1, 2, 2], upsample_kernel_size=[2, 2], filters=[4, 8, 16], **options,
    )  # fmt: skip


def swin_unetr(channels):
    pytest.importorskip("einops")  # which MONAI's network needs and does not require
    return SwinUNETR(
        in_channels=4, out_channels=channels, feature_size=12, depths=(1, 1, 1, 1),
        num_heads=(1, 1, 1, 1),
    )  # fmt: skip


def unet(channels):
    return UNet(3, 4, channels, channels=(4, 8, 16), strides=(2, 2))


def residual_unet(channels):
    return UNet(3, 4, channels, channels=(4, 8, 16), strides=(2, 2), num_res_units=2)


def basic_unet(channels):
    return BasicUNet(3, 4, channels, features=(4, 4, 8, 8, 16, 4))


def basic_unet_plus_plus(channels, **options):
    return BasicUNetPlusPlus(3, 4, channels, features=(4, 4, 8, 8, 16, 4), **options)


def attention_unet(channels):
    return AttentionUnet(3, 4, channels, channels=(4, 8, 16), strides=(2, 2))


def vnet(channels):
    return VNet(3, 4, channels)


def unetr(channels):
    pytest.importorskip("einops")
    return UNETR(
        in_channels=4, out_channels=channels, img_size=(16, 16, 16), feature_size=4,
        hidden_size=24, mlp_dim=32, num_heads=2,
    )  # fmt: skip


def high_res_net(channels):
    parts = [
        {"name": "first", "n_features": 4, "kernel_size": 3},
        {"name": "residual", "n_features": 4, "kernels": (3, 3), "repeat": 1},
        {"name": "middle", "n_features": 4, "kernel_size": 1},
        {"name": "last", "kernel_size": 1},
    ]
    return HighResNet(3, 4, channels, layer_params=parts)


def small(channels, bias=True):
    return nn.Sequential(
        OrderedDict(first=nn.Conv3d(4, 6, 3, padding=1), last=nn.Conv3d(6, channels, 1, bias=bias))
    )


@pytest.mark.parametrize("head", HEADS)
def test_every_head_starts_with_the_same_small_tumor(head):
    head = head()
    logits = head.bias().view(1, -1, 1, 1, 1)
    assert logits.shape[1] == head.channels
    assert head.probabilities(logits)[0, 0].item() == pytest.approx(START, rel=1e-5)
    assert head.levels(logits).item() == 0
    assert not head.regions(logits).any()


def test_the_biases_by_hand():
    assert MultiLevelHead(2.0, 2.5).bias().tolist() == [-4]
    assert SoftmaxHead().bias().tolist() == pytest.approx([3 + math.log(3), 0, 0, 0])
    assert SigmoidRegionsHead().bias().tolist() == [-3, -3, -3]


def test_the_multilevel_head_decodes_its_logit():
    logits = torch.tensor([-0.8, -0.501, -0.25, 0.25, 0.8]).view(1, 1, 5, 1, 1)
    assert MultiLevelHead().levels(logits).flatten().tolist() == [0, 1, 1, 2, 3]
    cumulative = MultiLevelHead(decode="cumulative")
    assert cumulative.levels(logits).flatten().tolist() == [0, 0, 1, 2, 3]


def test_the_softmax_head_takes_the_most_probable_level():
    logits = torch.tensor([[0.3, 0.25, 0.2, 0.25], [0.1, 0.2, 0.3, 0.4]]).log().T.unsqueeze(0)
    head = SoftmaxHead()
    assert head.levels(logits).tolist() == [[0, 3]]
    # The whole tumor of the first voxel is more probable than not; its levels are less so each.
    assert head.probabilities(logits)[0, :, 0].tolist() == pytest.approx([0.7, 0.45, 0.25])
    assert head.regions(logits)[0].int().tolist() == [[0, 1]] * 3


def test_the_sigmoid_head_may_violate_the_nesting_and_paints_its_levels():
    # voxels: ET alone, TC alone, WT alone, none
    logits = torch.tensor([[-1.0, -1, 1, -1], [-1, 1, -1, -1], [1, -1, -1, -1]]).unsqueeze(0)
    head = SigmoidRegionsHead()
    assert violations(head.regions(logits)[0]) == (1, 1)
    assert head.levels(logits).tolist() == [[3, 2, 1, 0]]


@pytest.mark.parametrize("head", [MultiLevelHead, SoftmaxHead])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_other_heads_cannot_violate_it(generator, head, dtype):
    head = head()
    logits = (torch.randn(1, head.channels, 9, 9, 9, generator=generator) * 3).to(dtype)
    regions = head.regions(logits)
    assert violations(regions[0]).total == 0
    assert torch.equal(regions.sum(1), head.levels(logits))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("spatial", [(3, 4, 5), (6, 7)])
def test_heads_keep_the_grid(generator, head, spatial):
    head = head(classes=5)
    logits = torch.randn(2, head.channels, *spatial, generator=generator)
    assert head.levels(logits).shape == (2, *spatial)
    assert head.levels(logits).dtype == torch.int64
    assert head.regions(logits).shape == head.probabilities(logits).shape == (2, 4, *spatial)
    levels = torch.randint(5, (2, *spatial), generator=generator)
    assert head.loss(logits, levels).ndim == 0


def test_heads_pass_their_settings_and_weights_to_the_losses(generator):
    levels = torch.randint(4, (1, 3, 3, 3), generator=generator)
    weights = torch.tensor([0.2, 0.8, 1.0, 2.0])

    def logits(channels):
        return torch.randn(1, channels, 3, 3, 3, generator=generator)

    z, four, three = logits(1), logits(4), logits(3)
    assert torch.equal(
        MultiLevelHead(2.0, 2.5, loss="mse").loss(z, levels, weights),
        multilevel_loss("mse", z, levels, Steps(4, 2.0, 2.5), weights),
    )
    assert torch.equal(
        SoftmaxHead("cross_entropy").loss(four, levels, weights),
        softmax_loss("cross_entropy", four, levels, 4, weights),
    )
    assert torch.equal(
        SigmoidRegionsHead("bce").loss(three, levels, weights),
        sigmoid_loss("bce", three, levels, 4, weights),
    )


@pytest.mark.parametrize("head", HEADS)
def test_unknown_losses_are_refused_when_a_head_is_made(head):
    with pytest.raises(ValueError, match="unknown loss 'dice'"):
        head(loss="dice")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("method", ["levels", "regions", "probabilities"])
def test_logits_of_another_head_are_refused(head, method):
    with pytest.raises(ValueError, match=r"expected logits \(B, \d, ...\)"):
        getattr(head(), method)(torch.zeros(1, 2, 3, 3, 3))


@pytest.mark.parametrize(
    ("build", "output", "size"),
    [
        (segresnet, "conv_final.2.conv", (8, 8, 8)),
        (dynunet, "output_block.conv.conv", (8, 8, 8)),
        (swin_unetr, "out.conv.conv", (64, 32, 32)),
        (unet, "model.2.conv", (8, 8, 8)),
        (residual_unet, "model.2.1.conv.unit0.conv", (8, 8, 8)),
        (basic_unet, "final_conv", (32, 32, 32)),
        (basic_unet_plus_plus, "final_conv_0_4", (32, 32, 32)),
        (attention_unet, "model.2.conv", (8, 8, 8)),
        (vnet, "out_tr.conv2", (32, 16, 16)),
        (unetr, "out.conv.conv", (16, 16, 16)),
    ],
)
def test_networks_of_monai_are_wrapped_in_one_line(generator, build, output, size):
    segmenter = NestedSegmenter(build(1), MultiLevelHead())
    bias = segmenter.network.get_submodule(output).bias
    assert bias.item() == pytest.approx(background_bias(Steps()))
    image = torch.randn(1, 4, *size, generator=generator)
    segmenter.eval()
    levels, regions = segmenter.predict(image), segmenter.regions(image)
    assert levels.shape == (1, *size)
    assert torch.equal(regions.sum(1), levels)
    with torch.no_grad():
        assert torch.equal(segmenter.head.levels(segmenter(image)), levels)


@pytest.mark.parametrize("head", HEADS)
def test_a_wrapped_network_learns_with_every_head(generator, head):
    torch.manual_seed(0)
    segmenter = NestedSegmenter(segresnet(head().channels), head())
    levels = torch.zeros(1, 8, 8, 8, dtype=torch.int64)
    levels[:, 2:, 2:, 2:], levels[:, 3:, 3:, 3:], levels[:, 5:, 5:, 5:] = 1, 2, 3
    image = torch.stack([levels == n for n in range(4)], dim=1).float()
    image += 0.1 * torch.randn(image.shape, generator=generator)
    optimizer = torch.optim.Adam(segmenter.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        segmenter.head.loss(segmenter(image), levels).backward()
        optimizer.step()
    assert (segmenter.predict(image) == levels).float().mean() > 0.9


@pytest.mark.parametrize("head", HEADS)
def test_the_network_of_the_paper_starts_at_background(generator, head):
    network = ResidualUNet3D(in_channels=4, out_channels=head().channels, width=4, depth=3)
    for convolution in network.output_heads():
        nn.init.zeros_(convolution.weight)
    segmenter = NestedSegmenter(network, head()).eval()
    logits = segmenter(torch.randn(1, 4, 8, 8, 8, generator=generator))
    mean = logits.mean((0, 2, 3, 4))  # biases of the heads on coarser levels add up to it
    torch.testing.assert_close(mean, segmenter.head.bias())


def test_only_the_bias_of_the_output_changes():
    network = small(3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    segmenter = NestedSegmenter(network, SigmoidRegionsHead())
    after = segmenter.network.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["last.bias"]
    assert after["last.bias"].tolist() == [-3, -3, -3]


@pytest.mark.parametrize("bias", [True, False])
def test_a_trained_network_predicts_what_it_did(bias, generator):
    network, image = small(3, bias), torch.randn(2, 4, 4, 4, 4, generator=generator)
    before = network(image).detach()
    wrapped = NestedSegmenter(network, SigmoidRegionsHead(), trained=True)
    assert torch.equal(wrapped(image), before)
    assert torch.equal(wrapped.regions(image), before > 0)


def test_the_output_may_be_named():
    network = nn.ModuleDict({"logits": nn.Sequential(nn.Conv3d(4, 1, 1)), "later": small(2)})
    with pytest.raises(ValueError, match=r"the last convolution 'later.last' makes 2"):
        NestedSegmenter(network, MultiLevelHead())
    NestedSegmenter(network, MultiLevelHead(), output="logits")
    assert network["logits"][0].bias.item() == pytest.approx(-0.8)


@pytest.mark.parametrize(
    ("network", "output", "message"),
    [
        (nn.Linear(4, 1), "", "Linear has no 2D or 3D convolution"),
        (small(4), "", r"the head needs 1 channels, the last convolution 'last' makes 4"),
        (small(1, bias=False), "", "the last convolution 'last' has no bias"),
        (small(1), "lst", "no module 'lst'; did you mean 'last'"),
        (small(1), "first", "the last convolution 'first' makes 6"),
    ],
)
def test_networks_that_cannot_carry_the_head_are_refused(network, output, message):
    with pytest.raises(ValueError, match=message):
        NestedSegmenter(network, MultiLevelHead(), output)


def test_a_network_without_a_bias_at_its_end_is_given_one_as_the_error_says(generator):
    network = high_res_net(1)
    with pytest.raises(ValueError, match=r"nn\.Sequential\(network, nn\.Conv3d\(1, 1, 1\)\)"):
        NestedSegmenter(network, MultiLevelHead())
    segmenter = NestedSegmenter(nn.Sequential(network, nn.Conv3d(1, 1, 1)), MultiLevelHead())
    assert segmenter.network[1].bias.item() == pytest.approx(background_bias(Steps()))
    image = torch.randn(1, 4, 8, 8, 8, generator=generator)
    assert segmenter.predict(image).shape == (1, 8, 8, 8)


def supervised(build):
    if build is dynunet:
        return dynunet(1, deep_supervision=True, deep_supr_num=1)
    return basic_unet_plus_plus(1, deep_supervision=True)


@pytest.mark.parametrize("build", [dynunet, basic_unet_plus_plus])
@pytest.mark.parametrize("around", [nn.Identity, nn.Sequential])
def test_deep_supervision_is_refused_when_a_network_is_to_be_trained(build, around):
    network = supervised(build)
    wrapped = network if around is nn.Identity else around(network)
    with pytest.raises(ValueError, match=r"has deep supervision.* switch deep supervision"):
        NestedSegmenter(wrapped, MultiLevelHead())


def test_a_network_trained_with_deep_supervision_predicts_and_refuses_its_several_outputs():
    segmenter = NestedSegmenter(supervised(dynunet), MultiLevelHead(), trained=True)
    image = torch.zeros(1, 4, 8, 8, 8)
    assert segmenter.eval().predict(image).shape == (1, 8, 8, 8)
    with pytest.raises(ValueError, match="switch deep supervision"):
        segmenter.train()(image)


def test_a_network_of_several_outputs_is_refused():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Conv3d(4, 1, 1)

        def forward(self, image):
            return self.last(image), image

    with pytest.raises(
        ValueError, match=r"expected logits \(1, 1, 2, 2, 2\) of the network, got tup"
    ):
        NestedSegmenter(Pair(), MultiLevelHead())(torch.zeros(1, 4, 2, 2, 2))


def test_predictions_carry_no_gradient_and_leave_the_mode_alone():
    segmenter = NestedSegmenter(small(1), MultiLevelHead())
    image = torch.zeros(1, 4, 2, 2, 2)
    assert segmenter(image).requires_grad
    assert not segmenter.predict(image).requires_grad
    assert segmenter.training
