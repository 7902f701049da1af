import numpy as np
import pytest
import torch
from small_scans import scans
from small_volumes import DATA, SPACE

from vismodels.config import parse_config
from vismodels.explain.maps import upsample
from vismodels.methods.covidnet3d.config import DataConfig, MapSettings
from vismodels.methods.covidnet3d.data import volumes_of_scans
from vismodels.methods.covidnet3d.maps import draw_maps, score_maps, with_lesions
from vismodels.methods.covidnet3d.network import CovidNet3D

CONFIG = parse_config(DataConfig, DATA, "data")


def settings(**changes):
    section = {"networks": ["hand"], "kinds": ["cam"], "layer": "trunk.blocks.stage0_block0"}
    return parse_config(MapSettings, section | changes, "maps")


@pytest.fixture
def network():
    made = CovidNet3D(SPACE, {})
    made.initialize_(torch.Generator().manual_seed(0))
    return made.eval()


def test_the_mean_of_a_map_is_the_logit_without_its_bias(network):
    test = volumes_of_scans(CONFIG, scans(2))
    (maps,) = draw_maps(network, test, [0, 3], settings())
    for index in (0, 3):
        x, label = test.images[index : index + 1], int(test.labels[index])
        features = network.trunk.features(x)
        weight = network.trunk.classifier.weight[label]
        cells = (features[0] * weight[:, None, None, None]).sum(0)
        bias = network.trunk.classifier.bias[label]
        assert float((cells.mean() + bias - network(x)[0, label]).detach()) == pytest.approx(
            0, abs=1e-5
        )
        expected = upsample(cells[None].detach(), test.shape)[0].numpy()
        np.testing.assert_allclose(maps.maps[test.names[index]], expected, atol=1e-5)


def test_shuffled_maps_hold_the_same_cells(network):
    test = volumes_of_scans(CONFIG, scans(1))
    (maps,) = draw_maps(network, test, [0], settings())
    whole, other = maps.maps["CP_0"], maps.shuffled["CP_0"]
    assert whole.shape == other.shape == test.shape
    assert not np.array_equal(whole, other)
    again = draw_maps(network, test, [0], settings())[0].shuffled["CP_0"]
    np.testing.assert_array_equal(other, again)


@pytest.mark.parametrize("kind", ["cam", "shifted_cam", "grad_cam", "layer_cam"])
def test_every_kind_is_on_the_grid_of_the_scan(kind, network):
    test = volumes_of_scans(CONFIG, scans(1))
    (maps,) = draw_maps(network, test, [1], settings(kinds=[kind]))
    assert maps.kind == kind
    assert maps.maps["NCP_0"].shape == test.shape
    assert np.isfinite(maps.maps["NCP_0"]).all()


def test_a_map_of_the_lesion_itself_is_perfect():
    from vismodels.methods.covidnet3d.maps import Maps

    known = {scan.name: scan for scan in scans(1)}
    perfect = {"CP_0": known["CP_0"].lesion.astype(np.float32)}
    nothing = {"CP_0": known["CP_0"].lung.astype(np.float32)}
    found, chance = score_maps(
        CONFIG, "hand", 0, [Maps("cam", perfect, nothing)], list(known.values())
    )
    assert (found.variant, chance.variant) == ("hand_cam", "hand_cam_shuffled")
    assert found.value("pointing_game").value == 100
    assert found.value("lesion_iou").value == 1
    assert chance.value("energy_in_lesion").value < 20
    assert chance.value("energy_in_lung").value == 100


def test_scans_without_a_lesion_are_left_out():
    everything = [*scans(1), *scans(1, lesion=False)]
    assert with_lesions(everything, 2) == [0, 1]
    assert with_lesions(everything, 10_000) == []
