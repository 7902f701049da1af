import pytest
import torch
from torch import nn

from vismodels.cost.counters import count
from vismodels.device import deterministic
from vismodels.nn.srresnet import SRResNet


def drawn(seed=0, **arguments):
    model = SRResNet(**arguments)
    model.initialize_(torch.Generator().manual_seed(seed))
    return model


@pytest.mark.parametrize(
    ("scale", "upsampling"),
    [
        (2, 4 * 64 * 64 * 9 + 4 * 64 * 3 * 81),
        (3, 9 * 64 * 64 * 9 + 9 * 64 * 3 * 81),
        (4, (1 + 4) * 4 * 64 * 64 * 9 + 16 * 64 * 3 * 81),
    ],
)
def test_convolutions_cost_what_the_layout_of_the_paper_costs(scale, upsampling):
    cost = count(SRResNet(scale=scale), torch.zeros(1, 3, 4, 5))
    low_resolution = 3 * 64 * 81 + 33 * 64 * 64 * 9
    assert cost.macs == 20 * (low_resolution + upsampling)
    if scale == 4:
        assert cost.macs == 20 * 2_218_176


def test_the_layout_is_that_of_the_paper():
    kinds = {nn.Conv2d: "c", nn.BatchNorm2d: "b", nn.PReLU: "p", nn.PixelShuffle: "s"}
    order = "".join(kinds.get(type(module), "") for module in SRResNet(blocks=2).modules())
    assert order == "cp" + 2 * "cbpcb" + "cb" + 2 * "csp" + "c"


def test_depth_and_width_are_arguments():
    model = SRResNet(scale=2, channels=5, blocks=1)
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 4]
    assert shapes == [(5, 3, 9, 9), *[(5, 5, 3, 3)] * 3, (20, 5, 3, 3), (3, 5, 9, 9)]


def test_convolutions_in_front_of_a_normalization_have_no_bias():
    model = SRResNet(blocks=2)
    biased = [m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert biased == [True, *[False] * 5, True, True, True]


@pytest.mark.parametrize("size", [{"channels": 0}, {"blocks": 0}])
def test_networks_without_channels_or_blocks_are_an_error(size):
    with pytest.raises(ValueError, match="must be at least 1"):
        SRResNet(**size)


def test_blocks_without_a_branch_leave_the_features_as_they_are(generator):
    model = drawn(channels=8, blocks=2)
    for block in model.blocks:
        nn.init.zeros_(block.branch[-1].weight)
    features = torch.rand(1, 8, 5, 4, generator=generator)
    assert torch.equal(model.blocks(features), features)


def test_the_long_skip_passes_by_all_blocks(generator):
    model = drawn(channels=8, blocks=2).eval()
    nn.init.zeros_(model.body_end[-1].weight)
    image = torch.rand(1, 3, 5, 4, generator=generator)
    assert torch.equal(model(image), model.tail(model.upsampling(model.head(image))))


def test_weights_depend_on_the_generator_alone():
    first, second, other = drawn(1, blocks=1), drawn(1, blocks=1), drawn(2, blocks=1)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not torch.equal(first.tail.weight, other.tail.weight)


def test_drawing_anew_forgets_all_training(generator):
    model = drawn(1, channels=4, blocks=1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(torch.rand(2, 3, 8, 8, generator=generator))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    changed = model.state_dict()
    assert not any(torch.equal(changed[key], value) for key, value in before.items())
    model.initialize_(torch.Generator().manual_seed(1))
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


def test_tiles_are_exact_from_the_documented_overlap():
    """No pixel of the result depends on pixels of the image more than 40 away, for scale 4."""
    model = SRResNet(channels=1).double().eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.25)  # positive: no contribution cancels another
    image = torch.ones(1, 3, 1, 97, dtype=torch.float64, requires_grad=True)
    model(image)[..., 4 * 48 : 4 * 49].sum().backward()
    (seen,) = image.grad[0, 0, 0].nonzero(as_tuple=True)
    assert (seen.min().item(), seen.max().item()) == (48 - 40, 48 + 40)


def test_equal_trainings_give_equal_bits_where_determinism_is_enforced(generator):
    image = torch.rand(2, 3, 7, 5, generator=generator)

    def gradients():
        model = drawn(channels=4, blocks=1)
        model(image).square().mean().backward()
        return [parameter.grad for parameter in model.parameters()]

    with deterministic():
        assert all(map(torch.equal, gradients(), gradients()))


def test_a_short_training_learns(generator):
    target = torch.rand(4, 3, 1, 1, generator=generator).expand(4, 3, 24, 24)
    image = target[..., ::4, ::4]
    model = drawn(channels=8, blocks=1)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (model(image) - target).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
