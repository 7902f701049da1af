import numpy as np
import pytest
import torch
from small_scans import scans
from small_volumes import DATA, SPACE

from vismodels.config import parse_config
from vismodels.data.scans import PHANTOM_NOTE
from vismodels.explain.maps import upsample
from vismodels.methods.covidnet3d import maps as module
from vismodels.methods.covidnet3d.config import PHANTOM, DataConfig, MapSettings
from vismodels.methods.covidnet3d.data import volumes_of_scans
from vismodels.methods.covidnet3d.maps import (
    across_classes,
    draw_maps,
    score_faithfulness,
    score_maps,
    with_lesions,
)
from vismodels.methods.covidnet3d.network import CovidNet3D

CONFIG = parse_config(DataConfig, DATA, "data")


def settings(**changes):
    section = {"networks": ["hand"], "kinds": ["cam"], "layer": "trunk.blocks.stage0_block0"}
    return parse_config(MapSettings, section | changes, "maps")


class Stopped(Exception):
    """A network that would have computed."""


def recorded(network):
    """Return a list that takes the device of a network's input; it stops there, on no device."""
    seen = []

    def hook(_, arguments):
        seen.append(arguments[0].device.type)
        raise Stopped

    network.to("meta").register_forward_pre_hook(hook)
    return seen


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


@pytest.mark.parametrize("kind", ["cam", "shifted_cam", "grad_cam", "layer_cam"])
def test_maps_are_drawn_where_the_network_is(kind, network):
    seen = recorded(network)
    with pytest.raises(Stopped):
        draw_maps(network, volumes_of_scans(CONFIG, scans(1)), [0], settings(kinds=[kind]))
    assert seen == ["meta"]


def test_probabilities_are_followed_where_the_network_is(network):
    test = volumes_of_scans(CONFIG, scans(1))
    drawn = draw_maps(network, test, [0], settings())
    seen = recorded(network)
    with pytest.raises(Stopped):
        score_faithfulness(CONFIG, "hand", 0, network, drawn, test, settings())
    assert seen == ["meta"]


def test_every_window_is_shuffled_anew(network, monkeypatch):
    orders = []
    monkeypatch.setattr(module, "shuffled", lambda cells, rng: orders.append(cells) or cells)
    test = volumes_of_scans(CONFIG, scans(1))
    (maps,) = draw_maps(network, test, [0], settings(kinds=["shifted_cam"]))
    assert len(orders) == 8
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_allclose(maps.shuffled["CP_0"], maps.maps["CP_0"], rtol=1e-5)


def test_scans_are_taken_from_the_classes_in_turn():
    labels = {"a": 1, "b": 1, "c": 1, "d": 0, "e": 2, "f": 0}
    assert across_classes(labels, 4) == ["d", "a", "e", "f"]
    assert across_classes(labels, 9) == ["d", "a", "e", "f", "b", "c"]


def test_records_say_whose_numbers_they_are(network):
    about = CONFIG.model_copy(update={"card": PHANTOM})
    test = volumes_of_scans(about, scans(1))
    drawn = draw_maps(network, test, [0], settings())
    records = [
        *score_maps(about, "hand", 0, drawn, scans(1)),
        *score_faithfulness(about, "hand", 0, network, drawn, test, settings()),
    ]
    assert {record.note for record in records} == {PHANTOM_NOTE}


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
