from collections import OrderedDict

import pytest
import torch
from monai.networks.nets import DenseNet
from monai.visualize import CAM, GradCAM, GradCAMpp
from torch import nn

from vismodels.explain.cam import cam, class_activation_map, grad_cam, grad_cam_plus_plus, layer_cam
from vismodels.explain.maps import normalize, upsample

GRADIENT_METHODS = [grad_cam, grad_cam_plus_plus, layer_cam]


class Network(nn.Module):
    """Two convolutions, global average pool, dropout, linear layer; sees each item alone."""

    def __init__(self, dims=3, classes=3):
        super().__init__()
        conv, norm, pool = {
            2: (nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d),
            3: (nn.Conv3d, nn.BatchNorm3d, nn.AdaptiveAvgPool3d),
        }[dims]
        self.early = nn.Sequential(
            OrderedDict(conv=conv(1, 6, 3, stride=2, padding=1), norm=norm(6), act=nn.ReLU())
        )
        self.late = nn.Sequential(conv(6, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.pool = pool(1)
        self.flat = nn.Flatten()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(self.drop(self.flat(self.pool(self.late(self.early(x))))))


def network(dims=3, classes=3):
    """Return a network with statistics and logits that are not those of its start."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Network(dims, classes)
        model.train()(torch.randn(8, 1, *[8] * dims))
        nn.init.normal_(model.fc.weight, std=3)
    return model.eval()


def volumes(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def model():
    return network()


@pytest.fixture
def x():
    return volumes(2, 1, 8, 12, 16)


def test_a_map_of_two_channels_computed_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 5.0]]]])  # (1, 2, 1, 2)
    weight = torch.tensor([[1.0, 10.0], [-1.0, 0.0], [0.0, 2.0]])
    expected = torch.tensor([[[[31.0, 52.0]], [[-1.0, -2.0]], [[6.0, 10.0]]]])
    assert torch.equal(class_activation_map(features, weight), expected)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("target", [0, 1, 2])
def test_the_mean_of_a_map_plus_the_bias_is_the_logit(dims, target):
    model, x = network(dims), volumes(3, 1, *(8, 12, 16)[:dims])
    maps = cam(model, x, "late", "fc", target)
    assert maps.shape == (3, *(2, 3, 4)[:dims])
    logits = model(x)[:, target]
    torch.testing.assert_close(
        maps.flatten(1).mean(1) + model.fc.bias[target], logits, atol=1e-5, rtol=0
    )


def test_classes_are_one_for_all_one_each_or_the_largest_logit(model, x):
    maps = torch.stack([cam(model, x, "late", "fc", target) for target in range(3)])
    best = model(x).argmax(1)
    torch.testing.assert_close(cam(model, x, "late", "fc"), maps[best, [0, 1]])
    each = cam(model, x, "late", "fc", torch.tensor([2, 0]))
    torch.testing.assert_close(each, maps[[2, 0], [0, 1]])
    torch.testing.assert_close(cam(model, x, "late", "fc", torch.tensor(1)), maps[1])


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_items_of_a_batch_do_not_see_one_another(method, model, x):
    alone = torch.cat([method(model, x[:1], "early", 2), method(model, x[1:], "early", 0)])
    torch.testing.assert_close(method(model, x, "early", torch.tensor([2, 0])), alone)


def test_grad_cam_before_the_pool_is_the_positive_part_of_cam_per_cell(model, x):
    expected = cam(model, x, "late", "fc", 1).relu() / (2 * 3 * 4)
    assert expected.max() > 0
    torch.testing.assert_close(grad_cam(model, x, "late", 1), expected)


def test_layer_cam_before_the_pool_takes_the_positive_weights_only(model, x):
    positive = network()
    positive.fc.weight = nn.Parameter(positive.fc.weight.clamp(min=0))
    expected = cam(positive, x, "late", "fc", 1) / (2 * 3 * 4)
    torch.testing.assert_close(layer_cam(model, x, "late", 1), expected)


def test_layer_cam_weighs_every_cell_by_its_own_gradient():
    """Score = (3, -2, 1) . features: cells 3 * 1, none, 1 * 4 by hand."""
    model = nn.Sequential(OrderedDict(body=nn.Identity(), flat=nn.Flatten(), fc=nn.Linear(3, 1)))
    with torch.no_grad():
        model.fc.weight.copy_(torch.tensor([[3.0, -2.0, 1.0]]))
    x = torch.tensor([[[[1.0, 5.0, 4.0]]]])
    assert layer_cam(model, x, "body", 0).flatten().tolist() == [3, 0, 4]
    # Grad-CAM has one weight for the channel, (3 - 2 + 1) / 3.
    expected = torch.tensor([1.0, 5.0, 4.0]) * 2 / 3
    torch.testing.assert_close(grad_cam(model, x, "body", 0).flatten(), expected)
    # Grad-CAM++: sum of relu(g) / (2 + 10 g), g = 3 and 1.
    expected = torch.tensor([1.0, 5.0, 4.0]) * (3 / 32 + 1 / 12)
    torch.testing.assert_close(grad_cam_plus_plus(model, x, "body", 0).flatten(), expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_cam_agrees_with_monai(dims):
    """MONAI's adds the bias, takes classes as a tensor only, and by default turns 1 and 0 round."""
    model, x = network(dims), volumes(2, 1, *(8, 12, 16)[:dims])
    classes = torch.tensor([2, 0])
    ours = cam(model, x, "late", "fc", classes)
    oracle = CAM(network(dims), target_layers="late", fc_layers="fc")
    bias = model.fc.bias[classes].reshape(2, 1, *[1] * dims)
    torch.testing.assert_close(ours[:, None] + bias, oracle.compute_map(x, class_idx=classes))
    one = oracle(x[:1], class_idx=classes[:1])  # scales a batch together
    ours = normalize(upsample(ours[:1], x.shape[2:]))
    torch.testing.assert_close(ours[:, None], 1 - one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", ["late", "early", "early.norm"])
def test_grad_cam_agrees_with_monai(layer, model, x):
    """MONAI's default, the largest logit of each, mixes the items of a batch: compare one."""
    oracle = GradCAM(network(), target_layers=layer)
    expected = oracle.compute_map(x.requires_grad_(), class_idx=0).detach()
    torch.testing.assert_close(grad_cam(model, x, layer, 0)[:, None], expected)
    expected = oracle.compute_map(x[1:]).detach()
    torch.testing.assert_close(grad_cam(model, x[1:], layer)[:, None], expected)


def test_grad_cam_plus_plus_agrees_with_monai_where_the_gradient_is_the_same_in_all_cells(model, x):
    """MONAI sums F g^3 over cells where the paper has g^3 times the sum of F; its scale differs."""
    oracle = GradCAMpp(network(), target_layers="late")
    expected = oracle.compute_map(x[:1].requires_grad_(), class_idx=1).detach()
    ours = normalize(grad_cam_plus_plus(model, x[:1], "late", 1))
    torch.testing.assert_close(ours[:, None], normalize(expected), rtol=0, atol=1e-5)


def test_a_published_network_is_explained_at_its_last_layer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DenseNet(3, 1, 2, init_features=8, growth_rate=4, block_config=(1, 1))
    x = volumes(1, 1, 16, 24, 32)
    maps = cam(model, x, "class_layers.relu", "class_layers.out", 1)
    assert maps.shape == (1, 2, 3, 4)
    assert grad_cam(model, x, "features.denseblock1", 1).shape == (1, 4, 6, 8)


def call(method, model, x):
    return cam(model, x, "late", "fc", 0) if method is cam else method(model, x, "early", 0)


@pytest.mark.parametrize("method", [cam, *GRADIENT_METHODS])
def test_the_model_is_given_back_as_it_was(method, model, x):
    model.train()
    model.early.norm.eval()
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    original = x.clone()
    first, second = call(method, model, x), call(method, model, x)
    assert torch.equal(first, second)  # no dropout
    assert not first.requires_grad
    assert [m.training for m in (model, model.drop, model.early.norm)] == [True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.fc.weight.grad, torch.ones_like(model.fc.weight))
    assert model.early.conv.weight.grad is None
    assert torch.equal(x, original)
    assert x.grad is None
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", [cam, *GRADIENT_METHODS])
def test_maps_are_the_same_where_gradients_are_switched_off(off, method, model, x):
    expected = call(method, model, x)
    with off():
        torch.testing.assert_close(call(method, model, x.clone()), expected)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_frozen_networks_and_layers_in_place_are_explained(method, x):
    model = nn.Sequential(OrderedDict(first=nn.ReLU(inplace=True), rest=network()))
    expected = method(network(), x.relu(), "early", 1)
    torch.testing.assert_close(method(model.requires_grad_(False), x, "rest.early", 1), expected)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_a_layer_without_spatial_axes_is_refused_with_those_that_have_some(method, model, x):
    with pytest.raises(
        ValueError, match=r"'flat' has no spatial axes.*\(2, 8\).*'early', .*'late'"
    ):
        method(model, x, "flat", 0)
    with pytest.raises(ValueError, match=r"'pool' has no spatial axes.*\(2, 8, 1, 1, 1\)"):
        method(model, x, "pool", 0)
    with pytest.raises(ValueError, match=r"'flat' has no spatial axes.*'late'"):
        cam(model, x, "flat", "fc", 0)


class SideBranch(Network):
    """A network with layers that its logits do not depend on."""

    def __init__(self):
        super().__init__()
        self.unused, self.detached, self.idle = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x):
        self.unused(x * 2)
        return super().forward(self.detached(x.detach()))


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_a_layer_without_gradient_is_refused_with_those_that_have_one(method, x):
    model = SideBranch()
    for layer in ("unused", "detached"):
        with pytest.raises(ValueError, match=rf"reaches '{layer}'.*: 'early.conv', ") as error:
            method(model, x, layer, 0)
        listed = str(error.value).split("one reaches:")[1]
        assert "'late'" in listed
        assert "unused" not in listed
        assert "detached" not in listed


def test_a_model_without_any_gradient_says_so(x):
    class Detached(Network):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(ValueError, match=r"reaches 'early'.*layers that one reaches: none"):
        grad_cam(Detached(), x, "early", 0)


def test_layers_that_are_unknown_or_do_not_run_are_named(x):
    with pytest.raises(KeyError, match="no module 'laet'; did you mean 'late'"):
        grad_cam(Network(), x, "laet", 0)
    with pytest.raises(KeyError, match="no output of 'idle'"):
        layer_cam(SideBranch(), x, "idle", 0)


class OutOfPlace(Network):
    """A network whose last ReLU leaves the convolution's output as it was."""

    def __init__(self):
        super().__init__()
        self.late[1] = nn.ReLU()


def test_a_layer_that_is_not_averaged_is_no_cam(model, x):
    with pytest.raises(ValueError, match=r"'late.0' is not what is averaged before 'fc'.*grad_cam"):
        cam(OutOfPlace(), x, "late.0", "fc", 0)
    with pytest.raises(ValueError, match="'early' puts out 6 channels and 'fc' takes 8"):
        cam(model, x, "early", "fc", 0)
    with pytest.raises(TypeError, match="'late' is a Sequential"):
        cam(model, x, "late", "late", 0)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, r"classes from 0 to 2, got 3"),
        (-1, r"classes from 0 to 2, got -1"),
        (torch.tensor([0, 1, 2]), r"each of 2 items, as integers, got \(3,\)"),
        (torch.tensor([0.0, 1.0]), r"as integers, got \(2,\) torch.float32"),
    ],
)
def test_impossible_classes_are_refused(target, message, model, x):
    with pytest.raises(ValueError, match=message):
        grad_cam(model, x, "late", target)


def test_a_model_must_put_out_logits(x):
    model = nn.Sequential(OrderedDict(conv=nn.Conv3d(1, 2, 3)))
    with pytest.raises(TypeError, match=r"logits \(B, K\), got \(2, 2, 6, 10, 14\)"):
        grad_cam(model, x, "conv", 0)
