import pytest
import torch
from monai.networks.nets.segresnet import SegResNet

from vismodels.checkpoint import load_weights, save_weights
from vismodels.methods.multilevel_activation.segresnet import SegResNet3D, draw_segresnet


@pytest.mark.parametrize(("width", "groups"), [(8, 8), (12, 4), (4, 4), (3, 1)])
def test_the_network_is_that_of_monai(width, groups, generator):
    volume = torch.randn(1, 4, 8, 16, 8, generator=generator)
    ours = SegResNet3D(4, 3, width, dropout=0.2).eval()
    theirs = SegResNet(
        init_filters=width, in_channels=4, out_channels=3, dropout_prob=0.2,
        norm=("GROUP", {"num_groups": groups}),
    ).eval()  # fmt: skip
    theirs.load_state_dict(ours.network.state_dict())
    with torch.no_grad():
        assert torch.equal(ours(volume), theirs(volume))


def test_dropout_is_there_only_where_it_is_wanted(generator):
    volume = torch.randn(1, 4, 8, 8, 16, generator=generator)
    with torch.no_grad():
        for dropout, differs in ((0.5, True), (0.0, False)):
            network = SegResNet3D(width=32, dropout=dropout).train()
            assert torch.equal(network(volume), network(volume)) is not differs


def test_drawing_neither_needs_nor_changes_the_global_generator():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = draw_segresnet(4, 1, 4, 0.0, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second = draw_segresnet(4, 1, 4, 0.0, seed=5)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_stored_network_comes_back(tmp_path, generator):
    volume = torch.randn(1, 4, 8, 8, 8, generator=generator)
    network = draw_segresnet(4, 3, 4, 0.1, seed=0).eval()
    save_weights(network, tmp_path)
    with torch.no_grad():
        assert torch.equal(load_weights(SegResNet3D, tmp_path)(volume), network(volume))
