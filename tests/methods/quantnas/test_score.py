import json
from statistics import fmean

import numpy as np
import pytest
import torch

from vismodels.checkpoint import save_weights, tensor_digest
from vismodels.config import parse_config
from vismodels.cost.counters import count
from vismodels.data.enlarging import upscale
from vismodels.data.pairs import PairSet, make_pair
from vismodels.data.resize import bicubic_resize
from vismodels.files import FileError, atomic_folder
from vismodels.methods.quantnas.config import ScoreConfig
from vismodels.methods.quantnas.fixed import FixedSR
from vismodels.methods.quantnas.network import SearchedSR
from vismodels.methods.quantnas.score import load_networks, score
from vismodels.metrics.image import PSNR_Y, psnr_y
from vismodels.quantization.layers import bits_of
from vismodels.results import SCORES, Score, Value, write_scores

CHOICES = {
    "head_0": "simple_3x3@8",
    "body_0": "simple_3x3@4",
    "skip_0": "simple_1x1@8",
    "upsample": "simple_1x1@4",
}
SKELETON = {
    "kind": "basic",
    "channels": 4,
    "cells": 1,
    "head_layers": 1,
    "body_layers": 1,
    "tail_layers": 0,
}
CROP = {"set": "photos", "image": "a", "top": 3, "left": 5, "height": 10, "width": 20}


def pairs(*names, scale=4):
    made = []
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (7, 8, 3), dtype=np.uint8)
        made.append(make_pair(bicubic_resize(noise, scale=6), scale, name))
    return PairSet(made)


def searched(seed=0):
    made = SearchedSR(SKELETON, CHOICES)
    made.initialize_(torch.Generator().manual_seed(seed))
    return made.eval()


TESTS = {"photos": pairs("a", "b"), "more": pairs("c")}
NETWORKS = {"noise": {0: searched(0), 1: searched(1)}, "espcn_8": {0: FixedSR("espcn", 8).eval()}}


def config(counted=(), **scoring):
    network = {"network": {"kind": "fixed", "model": "espcn", "bits": 8}}
    sets = {"train": ["x"], "validation": ["x"], "test": ["photos", "more"], "test_if_present": []}
    section = {
        "scale": 4,
        "seeds": [0, 1],
        "sets": sets,
        "networks": {"noise": network, "espcn_8": network},
        "counted": [{"kind": "fixed", "model": model, "bits": bits} for model, bits in counted],
        "scoring": {"border": 4, "floors": [], "crops": [], **scoring},
    }
    return parse_config(ScoreConfig, section, "score")


def find(scored, variant, seed=None, card=None):
    (record,) = (
        record
        for record in scored.scores
        if (record.variant, record.seed, record.dataset.get("card")) == (variant, seed, card)
    )
    return record


@pytest.fixture(scope="module")
def scored():
    return score(config(counted=[("srresnet", 4), ("srresnet", 32)], crops=[CROP]), NETWORKS, TESTS)


# --- quality -----------------------------------------------------------------------------------


def test_every_network_and_bicubic_interpolation_is_scored_once_on_every_set(scored):
    found = [(r.dataset["card"], r.variant, r.seed) for r in scored.scores if r.dataset]
    variants = [("bicubic", None), ("noise", 0), ("noise", 1), ("espcn_8", 0)]
    assert found == [(card, *variant) for card in TESTS for variant in variants]
    assert {record.stage for record in scored.scores} == {"quantnas_score"}


def test_every_image_keeps_its_value_and_the_mean_is_theirs(scored):
    value = find(scored, "noise", 1, "photos").value("psnr_y")
    network = NETWORKS["noise"][1]
    expected = {p.name: psnr_y(upscale(network, p.lr), p.hr, border=4) for p in TESTS["photos"]}
    assert value.items == expected
    assert value.value == pytest.approx(fmean(expected.values()), rel=1e-12)


def test_the_border_is_the_configured_one_at_every_scale():
    narrow = score(config(border=2), {}, TESTS)
    (pair,) = TESTS["more"]
    expected = psnr_y(bicubic_resize(pair.lr, scale=4), pair.hr, border=2)
    assert find(narrow, "bicubic", None, "more").value("psnr_y").value == expected


def test_two_scorings_are_equal(scored):
    again = score(config(crops=[CROP]), NETWORKS, TESTS)
    assert again.scores == scored.scores[: len(again.scores)]  # without those only counted


def test_a_floor_is_recorded_as_a_gate():
    floors = [{"set": "more", "network": "noise", "psnr_y": 99.0}]
    gated = [r for r in score(config(floors=floors), NETWORKS, TESTS).scores if r.gates]
    assert [(r.dataset["card"], r.variant, r.seed) for r in gated] == [
        ("more", "noise", 0),
        ("more", "noise", 1),
    ]
    assert not any(record.gates[0].passed for record in gated)


# --- cost --------------------------------------------------------------------------------------


def test_the_cost_of_a_network_is_counted_on_what_was_loaded(scored):
    record = find(scored, "noise", 1)
    network = NETWORKS["noise"][1]
    small = count(network, torch.zeros(1, 3, 32, 32), bits_of=bits_of)
    large = count(network, torch.zeros(1, 3, 256, 256), bits_of=bits_of)
    assert record.value("bitops").value == small.bitops
    assert record.value("bitops_256").value == large.bitops == 64 * small.bitops
    assert record.value("parameters").value == small.parameters
    assert record.budget["bits"] == "4/8"


def test_bitops_are_macs_times_both_widths(scored):
    pixels = 32 * 32
    macs = {8: 3 * 4 * 9 + 4 * 4, 4: 4 * 4 * 9 + 4 * 48}  # head, skip; body, upsampling
    expected = pixels * sum(n * bits * bits for bits, n in macs.items())
    assert find(scored, "noise", 0).value("bitops").value == expected


def test_what_is_not_trained_is_counted_without_a_seed_or_a_set(scored):
    narrow, full = find(scored, "srresnet_4"), find(scored, "srresnet_float")
    # 2,218,176 MACs per LR pixel in the original layout: 36.34 and 2325.9 GBitOPs
    assert narrow.value("bitops").value == 2_218_176 * 1024 * 16
    assert full.value("bitops").value == 2_218_176 * 1024 * 1024
    assert (narrow.budget["bits"], full.budget["bits"]) == ("4", "32")
    assert "not trained" in narrow.note
    assert "psnr_y" not in {value.metric.name for value in narrow.values}


# --- windows, sets, folders --------------------------------------------------------------------


def test_windows_show_the_first_seed_of_every_network(scored):
    (photo,) = TESTS["photos"].subset(["a"])
    window = (slice(3, 13), slice(5, 25))
    variants = {"original", "bicubic", "noise", "espcn_8"}
    assert scored.crops.keys() == {("a", variant) for variant in variants}
    first = upscale(NETWORKS["noise"][0], photo.lr)
    assert np.array_equal(scored.crops["a", "noise"], first[window])


@pytest.mark.parametrize(
    "tests", [{}, {"x2": pairs("d", scale=2)}, {**TESTS, "x2": pairs("d", scale=2)}]
)
def test_test_sets_of_another_scale_are_refused(tests):
    with pytest.raises(ValueError, match="expected test sets of scale 4, got"):
        score(config(), {}, tests)


def trained(folder, module, variant="noise", seed=0):
    with atomic_folder(folder) as inside:
        save_weights(module, inside)
        write_scores(
            inside / SCORES, [Score("quantnas_train", variant, [Value(PSNR_Y, 30.0)], seed)]
        )
    return folder


def test_networks_come_back_by_name_and_seed(tmp_path):
    fixed = NETWORKS["espcn_8"][0]
    folders = [
        trained(tmp_path / "Gewichte ü 0", searched(0)),
        trained(tmp_path / "1", searched(1), seed=1),
        trained(tmp_path / "2", fixed, "espcn_8"),
    ]
    loaded = load_networks(folders)
    assert {name: list(seeds) for name, seeds in loaded.items()} == {
        "noise": [0, 1],
        "espcn_8": [0],
    }
    assert tensor_digest(loaded["noise"][1]) == tensor_digest(searched(1))
    assert dict(loaded["noise"][0].genotype.choices) == CHOICES
    assert tensor_digest(loaded["espcn_8"][0]) == tensor_digest(fixed)
    assert not loaded["noise"][0].training


def test_weights_of_another_class_are_refused(tmp_path):
    folder = trained(tmp_path / "net", searched())
    (folder / "config.json").write_text(json.dumps({"_class_name": "SearchedSr"}))
    with pytest.raises(FileError, match="unknown class; did you mean 'SearchedSR'"):
        load_networks([folder])
