import numpy as np
import pytest
import torch
from small_scans import SHAPE, scans
from small_volumes import DATA, SPACE, volumes

from vismodels.checkpoint import save_weights
from vismodels.config import parse_config
from vismodels.data.scans import write_scans
from vismodels.files import FileError
from vismodels.methods.covidnet3d import score as module
from vismodels.methods.covidnet3d.baselines import draw_baseline
from vismodels.methods.covidnet3d.config import ScoreConfig
from vismodels.methods.covidnet3d.montage import draw_montage
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.score import scan_shortcuts
from vismodels.methods.covidnet3d.scoring_stage import SHOWN, score_problem
from vismodels.results import SCORES, Score, write_scores

SECTION = {
    "seeds": [0],
    "data": DATA,
    "networks": {
        "hand": {"network": {"kind": "uniform", "operation": "mbconv_3_3"}},
        "residual3d": {"network": {"kind": "baseline", "model": "residual3d"}},
    },
    "scoring": {"bootstrap": 20},
    "maps": {
        "networks": ["hand"], "kinds": ["cam", "shifted_cam", "grad_cam", "layer_cam"],
        "layer": "trunk.blocks.stage0_block1", "least_lesion": 2, "faithfulness_scans": 1,
        "faithfulness_steps": 2, "shown": ["CP_0"],
    },
}  # fmt: skip


@pytest.fixture
def inputs(tmp_path):
    """Return folders of two trained networks, and of a set of scans."""
    networks = {
        "hand": CovidNet3D(SPACE, {}),
        "residual3d": draw_baseline("residual3d", 1, 3, "", 0),
    }
    folders = []
    for name, network in networks.items():
        folder = tmp_path / name
        folder.mkdir()
        save_weights(network, folder)
        write_scores(folder / SCORES, [Score("covidnet3d_train", name, [], seed=0)])
        folders.append(folder)
    for split, count in (("train", 6), ("test", 6)):
        (tmp_path / "volumes" / split).mkdir(parents=True)
        write_scans(scans(count), tmp_path / "volumes" / split)
    return folders, tmp_path / "volumes"


def scored(inputs, folder, **changes):
    config = parse_config(ScoreConfig, SECTION | changes, "score")
    return score_problem(config, *inputs, folder)


def by_variant(result):
    return {(s.stage, s.variant, s.dataset.get("split")): s for s in result.scores}


def test_networks_and_shortcuts_are_scored_on_the_same_scans(inputs, tmp_path):
    records = by_variant(scored(inputs, tmp_path))
    wanted = {"hand", "residual3d", "majority", "slice_count", "density_histogram",
              "placed_histogram"}  # fmt: skip
    of_test = {v: s for (stage, v, split), s in records.items() if split == "test"}
    assert of_test.keys() == wanted
    for score in of_test.values():
        assert score.dataset["items"] == 18
        for metric in ("accuracy", "balanced_accuracy", "sensitivity", "f1", "auc"):
            low, mean, high = (score.value(f"{metric}{end}").value for end in ("_low", "", "_high"))
            assert low <= mean <= high
    majority = of_test["majority"].value("accuracy").value
    assert majority == pytest.approx(100 / 3)
    assert of_test["placed_histogram"].value("accuracy").value == 100


def test_the_number_of_slices_tells_nothing_here():
    logits = scan_shortcuts(scans(6), scans(4), ("CP", "NCP", "Normal"))["slice_count"]
    assert len(set(logits.argmax(1).tolist())) == 1


def test_a_scan_without_a_lung_leaves_the_histograms_out():
    test = scans(2)
    for scan in test:
        object.__setattr__(scan, "lung", None)
    found = scan_shortcuts(scans(6), test, ("CP", "NCP", "Normal"))
    assert found.keys() == {"majority", "slice_count"}


def test_costs_are_counted_and_times_kept_apart(inputs, tmp_path):
    result = scored(inputs, tmp_path)
    costs = [s for s in result.scores if s.variant == "hand" and not s.dataset]
    assert costs[0].value("parameters").value == sum(
        p.numel() for p in CovidNet3D(SPACE, {}).parameters()
    )
    assert costs[0].value("macs").value > 0
    assert result.timings["seconds_per_scan/hand"] > 0


def test_costs_are_counted_on_the_networks_device():
    network, seen = CovidNet3D(SPACE, {}).to("meta"), []
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].device.type))
    assert module._cost("hand", 0, network, volumes(3)).value("macs").value > 0
    assert set(seen) == {"meta"}


def test_maps_are_scored_beside_shuffled_ones(inputs, tmp_path):
    result = scored(inputs, tmp_path)
    maps = {s.variant: s for s in result.scores if s.dataset.get("split") == "test, with lesions"}
    kinds = SECTION["maps"]["kinds"]
    assert maps.keys() == {f"hand_{kind}{end}" for kind in kinds for end in ("", "_shuffled")}
    for score in maps.values():
        assert score.dataset["items"] == 12
        assert 0 <= score.value("energy_in_lesion").value <= 100
    some = [s for s in result.scores if s.dataset.get("split") == "test, some"]
    assert {"deletion_area", "insertion_area"} <= {v.metric.name for v in some[0].values}


def test_the_shown_maps_are_drawn_over_their_scan(inputs, tmp_path):
    scored(inputs, tmp_path)
    with (tmp_path / SHOWN).open("rb") as file, np.load(file) as content:
        assert content["image/CP_0"].shape == SHAPE
        assert content["hand/cam/CP_0"].shape == SHAPE
    (picture,) = draw_montage("phantom", tmp_path / SHOWN, tmp_path)
    assert "hand" in picture.title
    assert (tmp_path / picture.file).stat().st_size > 5000


def test_without_maps_there_are_none(inputs, tmp_path):
    result = scored(inputs, tmp_path, maps=None)
    assert {s.stage for s in result.scores} == {"covidnet3d_score"}
    assert not (tmp_path / SHOWN).exists()


def test_a_montage_of_a_damaged_file_is_named(tmp_path):
    (tmp_path / SHOWN).write_bytes(b"PK nothing")
    with pytest.raises(FileError, match=r"maps\.npz: damaged"):
        draw_montage("phantom", tmp_path / SHOWN, tmp_path)


def test_equal_inputs_give_equal_scores(inputs, tmp_path):
    torch.manual_seed(1)
    first = scored(inputs, tmp_path)
    torch.manual_seed(2)
    assert scored(inputs, tmp_path).scores == first.scores
