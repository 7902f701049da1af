import pytest
import torch

from vismodels.checkpoint import load_weights, save_weights
from vismodels.methods.covidnet3d.baselines import (
    BUILDERS,
    Baseline,
    Residual3D,
    SliceNetwork,
    draw_baseline,
)


@pytest.mark.parametrize("model", [*BUILDERS, "timm_slices"])
def test_every_network_takes_volumes_of_one_channel(model):
    with torch.device("meta"):
        network = Baseline(model, 1, 3, "test_resnet").eval()
        assert network(torch.zeros(2, 1, 16, 32, 32)).shape == (2, 3)


def test_the_small_residual_network_has_127_thousand_parameters():
    count = sum(p.numel() for p in Residual3D(2, 2).parameters())
    assert count == pytest.approx(127_000, rel=0.01)


def test_slices_are_pooled_whatever_their_order():
    network = SliceNetwork("test_resnet", 1, 3).eval()
    volume = torch.randn(2, 1, 5, 32, 32)
    torch.testing.assert_close(network(volume), network(volume.flip(2)), atol=1e-5, rtol=1e-4)


def test_drawing_a_network_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draw_baseline("residual3d", 1, 2, "", 7)
    assert torch.equal(torch.rand(3), expected)


def test_weights_come_back(tmp_path):
    network = draw_baseline("timm_slices", 1, 3, "test_resnet", 0).eval()
    save_weights(network, tmp_path / "w")
    volume = torch.randn(1, 1, 4, 32, 32)
    again = load_weights(Baseline, tmp_path / "w")
    torch.testing.assert_close(again(volume), network(volume))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected a batch of volumes \(B, 1, D, H, W\)"):
        draw_baseline("residual3d", 1, 2, "", 0)(torch.zeros(2, 3, 8, 8, 8))
