import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vismodels.methods.quantnas.adq import ADQ
from vismodels.methods.quantnas.skeletons import BRANCH_SCALE, UPSAMPLE_SCALE, build_skeleton
from vismodels.methods.quantnas.space import BasicSkeleton, RFDNSkeleton
from vismodels.nn.super_resolution import bicubic_upsample
from vismodels.quantization.layers import initialize_steps_


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Layer(nn.Module):
    """A 1x1 convolution that remembers which slot it stands in."""

    def __init__(self, slot):
        super().__init__()
        self.slot = slot
        self.conv = nn.Conv2d(slot.in_channels, slot.out_channels, 1, bias=False)

    def forward(self, x):
        return self.conv(x)

    def last_convolutions(self):
        return [self.conv]


def network(config):
    net = build_skeleton(config, Layer)
    net.initialize_(seeded())
    initialize_steps_(net, torch.rand(1, 3, 16, 16, generator=seeded(7)))
    return net.double().eval()


def image(size=6):
    return torch.rand(2, 3, size, size, dtype=torch.float64, generator=seeded(1))


def plain_adq(adq, x, branch):
    """Return what `ADQ` defines, in evaluation mode."""
    norm = adq.norm
    y = (x - norm.running_mean[:, None, None]) / (norm.running_var + 1e-5).sqrt()[:, None, None]
    deviation = x.flatten(1).std(dim=1).view(-1, 1, 1, 1)
    return x + branch(y) * (adq.weight * deviation + adq.bias)


# --- the basic skeleton ------------------------------------------------------------------------


def test_the_basic_skeleton_is_wired_as_published():
    config = BasicSkeleton(channels=4, cells=2, scale=2)
    net, x = network(config), image()
    head = net.head["head_1"](net.head["head_0"](x))

    def cells(y):
        for cell in net.cells:
            y = plain_adq(
                cell.adq,
                y,
                lambda z, cell=cell: (
                    cell.body["body_1"](cell.body["body_0"](z)) + cell.skip["skip_0"](z)
                ),
            )
        return y

    features = plain_adq(net.body_adq, head, cells)
    enlarged = F.pixel_shuffle(net.upsample(features), 2)
    expected = plain_adq(
        net.tail_adq, enlarged, lambda y: net.tail["tail_1"](net.tail["tail_0"](y))
    )
    torch.testing.assert_close(net(x), expected)


def test_without_adq_branches_are_added_as_they_are():
    config = BasicSkeleton(channels=4, cells=1, head_layers=1, tail_layers=1, adq=False, scale=3)
    net, x = network(config), image()
    head = net.head["head_0"](x)
    (cell,) = net.cells
    inner = head + cell.body["body_1"](cell.body["body_0"](head)) + cell.skip["skip_0"](head)
    enlarged = F.pixel_shuffle(net.upsample(head + inner), 3)
    torch.testing.assert_close(net(x), enlarged + net.tail["tail_0"](enlarged))


def test_without_tail_layers_the_tail_is_the_normalization_alone_or_nothing():
    with_adq = network(BasicSkeleton(channels=4, tail_layers=0, scale=2))
    y = image()
    expected = plain_adq(with_adq.tail_adq, y, lambda z: z)
    torch.testing.assert_close(with_adq.tail_of(y, None), expected)
    without = network(BasicSkeleton(channels=4, tail_layers=0, scale=2, adq=False))
    assert torch.equal(without.tail_of(y, None), y)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("tail_layers", [0, 1, 2, 3])
@pytest.mark.parametrize("channels", [16, 24, 36])
def test_any_width_scale_and_length_of_the_tail_runs(scale, tail_layers, channels):
    config = BasicSkeleton(channels=channels, cells=1, tail_layers=tail_layers, scale=scale)
    assert network(config)(image(3)).shape == (2, 3, 3 * scale, 3 * scale)


def test_a_layer_is_called_with_the_name_of_its_decision():
    net, called = network(BasicSkeleton(channels=4, cells=2)), []

    def run(name, layer, x):
        called.append(name)
        assert layer.slot.name == name
        return layer(x)

    net(image(), run)
    cell = ["body_0", "body_1", "skip_0"]
    assert called == ["head_0", "head_1", *cell, *cell, "upsample", "tail_0", "tail_1"]


# --- the RFDN skeleton -------------------------------------------------------------------------


def test_the_rfdn_skeleton_is_wired_as_published():
    config = RFDNSkeleton(channels=12, cells=2, scale=2)
    net, x = network(config), image(16)
    features = repeated = torch.cat([x] * 4, dim=1)
    outputs = []
    for number, cell in enumerate(net.cells):

        def layer(part, cell=cell, number=number):
            return cell.layers[f"cell_{number}_{part}"]

        def distill(y, cell=cell, layer=layer):
            parts = []
            for i in range(3):
                parts.append(layer(f"skip_{i}")(y))
                y = y + layer(f"body_{i}")(y)
            parts.append(layer("body_3")(y))
            return cell.attention(cell.fuse(torch.cat(parts, dim=1)))

        features = plain_adq(cell.adq, features, distill)
        outputs.append(features)
    together = net.aggregate(net.fuse(torch.cat(outputs, dim=1))) + repeated
    enlarged = F.pixel_shuffle(net.upsample(together), 2)
    torch.testing.assert_close(net(x), enlarged + net.tail(enlarged))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("tail_layers", [0, 1])
def test_the_rfdn_skeleton_runs_at_every_scale(scale, tail_layers):
    config = RFDNSkeleton(channels=12, cells=1, tail_layers=tail_layers, scale=scale)
    assert network(config)(image(5)).shape == (2, 3, 5 * scale, 5 * scale)


# --- options for small budgets -----------------------------------------------------------------

CONFIGS = {
    "basic": BasicSkeleton(channels=12, cells=2, bicubic_skip=True, careful_start=True, scale=2),
    "rfdn": RFDNSkeleton(channels=12, cells=2, bicubic_skip=True, careful_start=True, scale=2),
}
both = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@both
def test_the_bicubic_skip_adds_the_bicubic_image(config):
    plain = network(config.model_copy(update={"bicubic_skip": False}))
    difference = network(config)(image()) - plain(image())
    torch.testing.assert_close(difference, bicubic_upsample(image(), 2))


def test_a_careful_start_shrinks_the_last_weights_of_every_branch_and_no_others():
    net = network(CONFIGS["basic"])
    drawn = build_skeleton(CONFIGS["basic"], Layer)
    draws = seeded()
    factors = {}
    for (name, parameter), (_, found) in zip(
        drawn.named_parameters(), net.named_parameters(), strict=True
    ):
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter, generator=draws)
            factors[name] = (found.norm() / parameter.norm()).item()
    shrunk = {name.rpartition(".conv")[0] for name, f in factors.items() if f < 0.99}
    ends = {"cells.0.body.body_1", "cells.0.skip.skip_0", "cells.1.body.body_1"}
    assert shrunk == {*ends, "cells.1.skip.skip_0", "tail.tail_1", "upsample"}
    assert factors["upsample.conv.weight"] == pytest.approx(UPSAMPLE_SCALE, rel=1e-4)
    assert factors["tail.tail_1.conv.weight"] == pytest.approx(BRANCH_SCALE, rel=1e-4)


@both
def test_drawing_anew_forgets_what_was_learned(config):
    def build():
        return build_skeleton(config.model_copy(update={"rectifier": "prelu"}), Layer)

    learned, fresh = build(), build()
    learned(torch.rand(2, 3, 16, 16, generator=seeded(2)))
    for parameter in learned.parameters():
        parameter.data.add_(1.0)
    assert any(isinstance(module, ADQ) for module in learned.modules())
    for net in (learned, fresh):
        net.initialize_(seeded(3))
    for name, value in fresh.state_dict().items():
        if ".quantize_" not in name:  # the network's `initialize_` fits steps afterwards
            assert torch.equal(learned.state_dict()[name], value), name
