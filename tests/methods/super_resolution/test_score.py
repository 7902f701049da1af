import json
from statistics import fmean

import numpy as np
import pytest
import torch

from vismodels.checkpoint import save_weights, tensor_digest
from vismodels.config import parse_config
from vismodels.data.cv import lanczos_resize
from vismodels.data.enlarging import upscale
from vismodels.data.images import read_image
from vismodels.data.pairs import PairSet, make_pair
from vismodels.data.resize import bicubic_resize
from vismodels.data.windows import write_windows
from vismodels.files import FileError, atomic_folder
from vismodels.methods.super_resolution.config import ScoringConfig
from vismodels.methods.super_resolution.score import load_networks, score
from vismodels.metrics.image import PSNR_Y, psnr_y
from vismodels.nn.residual_sr import ESPCN, ResidualSR
from vismodels.results import SCORES, Score, mean_value, write_scores

CROP = {"set": "photos", "image": "a", "top": 3, "left": 5, "height": 10, "width": 20}


def pairs(*names, scale=4):
    """Return smooth images, which interpolation enlarges well."""
    made = []
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (7, 8, 3), dtype=np.uint8)
        made.append(make_pair(bicubic_resize(noise, scale=6), scale, name))
    return PairSet(made)


TESTS = {"photos": pairs("a", "b"), "more": pairs("c")}


def scoring(**changes):
    section = {
        "border": 4,
        "gate": None,
        "gated_set": "photos",
        "gated_network": "net",
        "floors": [],
        "crops": [],
        **changes,
    }
    return parse_config(ScoringConfig, section, "scoring")


def network(seed=0, kind=ESPCN, **arguments):
    made = kind(scale=4, **arguments)
    made.initialize_(torch.Generator().manual_seed(seed))
    return made.eval()


def espcn(seed=0):
    return network(seed, bicubic_skip=True)


NETWORKS = {"net": {0: espcn(0), 1: espcn(1)}, "other": {0: espcn(2)}}


def find(scored, variant, card="photos", seed=None):
    (record,) = (
        record
        for record in scored.scores
        if (record.variant, record.dataset["card"], record.seed) == (variant, card, seed)
    )
    return record


# --- records -----------------------------------------------------------------------------------


def test_every_variant_is_scored_once_on_every_set():
    scored = score(scoring(), NETWORKS, TESTS)
    found = [(r.dataset["card"], r.variant, r.seed) for r in scored.scores]
    variants = [("bicubic", None), ("lanczos", None), ("net", 0), ("net", 1), ("other", 0)]
    assert found == [(card, *variant) for card in TESTS for variant in variants]
    assert {record.stage for record in scored.scores} == {"super_resolution_score"}
    assert find(scored, "bicubic").dataset == {"card": "photos", "split": "test", "items": 2}


def test_every_image_keeps_its_value_and_the_mean_is_theirs():
    scored = score(scoring(border=3), NETWORKS, TESTS)
    variants = {
        ("bicubic", None): lambda image: bicubic_resize(image, scale=4),
        ("lanczos", None): lambda image: lanczos_resize(image, 4),
        ("net", 1): lambda image: upscale(NETWORKS["net"][1], image),
    }
    for (variant, seed), enlarge in variants.items():
        value = find(scored, variant, seed=seed).value("psnr_y")
        expected = {p.name: psnr_y(enlarge(p.lr), p.hr, border=3) for p in TESTS["photos"]}
        assert value.items == expected
        assert value.value == pytest.approx(fmean(expected.values()), rel=1e-12)
    for record in scored.scores:
        for value in record.values:
            assert value.value == pytest.approx(fmean(value.items.values()), rel=1e-12)


def test_two_scorings_are_equal():
    config = scoring(gate=0.1, crops=[CROP])
    first, again = score(config, NETWORKS, TESTS), score(config, NETWORKS, TESTS)
    assert list(first.scores) == list(again.scores)
    assert all(np.array_equal(first.crops[key], again.crops[key]) for key in first.crops)


# --- the gate ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("bound", "passed"), [(-100.0, True), (100.0, False)])
def test_the_gate_is_recorded_whether_it_holds_or_not(bound, passed):
    scored = score(scoring(gate=bound), NETWORKS, TESTS)
    gated = [record for record in scored.scores if record.gates]
    assert [(r.variant, r.seed, r.dataset["card"]) for r in gated] == [
        ("net", 0, "photos"),
        ("net", 1, "photos"),
    ]
    baseline = find(scored, "bicubic").value("psnr_y").value
    for record in gated:
        (gate,) = record.gates
        assert gate.value == record.value("psnr_y").value - baseline
        assert (gate.bound, gate.at_least, gate.passed) == (bound, True, passed)


def test_a_network_as_good_as_bicubic_gains_nothing():
    class Bicubic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, image):
            levels = (image[0] * 255).byte().permute(1, 2, 0).numpy()
            result = torch.from_numpy(bicubic_resize(levels, scale=4))
            return result.permute(2, 0, 1)[None].float() / 255

    scored = score(scoring(gate=0.1), {"net": {0: Bicubic()}}, TESTS)
    (gate,) = find(scored, "net", seed=0).gates
    assert (gate.value, gate.passed) == (0.0, False)


def test_a_floor_is_recorded_where_its_set_and_network_are_scored():
    floors = [
        {"set": "more", "network": "net", "psnr_y": 99.0},
        {"set": "absent", "network": "net", "psnr_y": 1.0},
    ]
    records = score(scoring(floors=floors), NETWORKS, TESTS).scores
    gated = [record for record in records if record.gates]
    assert [(r.dataset["card"], r.variant, r.seed) for r in gated] == [
        ("more", "net", 0),
        ("more", "net", 1),
    ]
    for record in gated:
        (gate,) = record.gates
        assert gate.value == record.value("psnr_y").value
        assert (gate.name, gate.bound, gate.passed) == ("PSNR-Y on more, dB", 99.0, False)


def test_without_a_gate_none_is_recorded():
    assert not any(record.gates for record in score(scoring(), NETWORKS, TESTS).scores)


@pytest.mark.parametrize("change", [{"gated_network": "nett"}, {"gated_set": "set5"}])
def test_a_gate_on_what_is_not_scored_is_an_error_and_never_silent(change):
    with pytest.raises(ValueError, match="which was not scored; name what was"):
        score(scoring(gate=0.1, **change), NETWORKS, TESTS)


# --- windows -----------------------------------------------------------------------------------


def test_windows_show_the_same_place_in_every_variant_by_its_first_seed(tmp_path):
    scored = score(scoring(crops=[CROP]), NETWORKS, TESTS)
    (photo,) = TESTS["photos"].subset(["a"])
    window = (slice(3, 13), slice(5, 25))
    variants = {"original", "bicubic", "lanczos", "net", "other"}
    assert scored.crops.keys() == {("a", variant) for variant in variants}
    assert np.array_equal(scored.crops["a", "original"], photo.hr[window])
    first = upscale(NETWORKS["net"][0], photo.lr)
    assert np.array_equal(scored.crops["a", "net"], first[window])
    write_windows(scored.crops, tmp_path)
    for (image, name), pixels in scored.crops.items():
        stored = read_image(tmp_path / "crops" / image / f"{name}.png")
        assert np.array_equal(stored, pixels)


def test_a_window_may_touch_the_edges():
    height, width = TESTS["photos"].pairs[0].hr.shape[:2]
    whole = CROP | {"top": 0, "left": 0, "height": height, "width": width}
    scored = score(scoring(crops=[whole]), {}, TESTS)
    assert np.array_equal(scored.crops["a", "original"], TESTS["photos"].pairs[0].hr)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height": 38}, "the crop of a ends at row 41, column 25, but the image is 40x48; make"),
        ({"left": 29}, "the crop of a ends at row 13, column 49, but the image is 40x48"),
        ({"top": 1000}, "ends at row 1010"),
        ({"image": "aa"}, "no image 'aa' in the set; did you mean 'a'"),
        ({"image": "../a"}, "no image '../a' in the set"),
        ({"set": "photo"}, "a crop names the set 'photo'; did you mean 'photos'"),
    ],
)
def test_a_window_that_cannot_be_cut_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        score(scoring(crops=[CROP | change]), {}, TESTS)


# --- what is scored ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tests", "words"),
    [({}, r"got scales \[\]"), ({**TESTS, "x2": pairs("d", scale=2)}, r"got scales \[2, 4\]")],
)
def test_test_sets_without_one_scale_are_refused(tests, words):
    with pytest.raises(ValueError, match=words):
        score(scoring(), {}, tests)


def trained(folder, module, variant="net", seed=0):
    with atomic_folder(folder) as inside:
        save_weights(module, inside)
        value = mean_value(PSNR_Y, {"a": 30.0})
        write_scores(inside / SCORES, [Score("super_resolution_train", variant, [value], seed)])
    return folder


def test_networks_come_back_by_name_and_seed(tmp_path):
    residual = network(kind=ResidualSR, channels=4, blocks=1)
    folders = [
        trained(tmp_path / "Gewichte ü 0", residual, "residual", 0),
        trained(tmp_path / "1", espcn(1), "espcn", 1),
        trained(tmp_path / "2", espcn(2), "espcn", 2),
    ]
    loaded = load_networks(folders)
    assert {name: list(seeds) for name, seeds in loaded.items()} == {
        "residual": [0],
        "espcn": [1, 2],
    }
    assert tensor_digest(loaded["residual"][0]) == tensor_digest(residual)
    assert tensor_digest(loaded["espcn"][2]) == tensor_digest(espcn(2))
    assert not loaded["espcn"][2].training


def test_damaged_weights_are_refused(tmp_path):
    folder = trained(tmp_path / "net", espcn())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(FileError, match=r"changed: model\.safetensors"):
        load_networks([folder])


@pytest.mark.parametrize("content", [{"_class_name": "ESPCM"}, {}])
def test_weights_of_another_class_are_refused(tmp_path, content):
    folder = trained(tmp_path / "net", espcn())
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(FileError, match="net: weights of an unknown class"):
        load_networks([folder])
