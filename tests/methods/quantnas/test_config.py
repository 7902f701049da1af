import copy

import pytest

from vismodels.config import ConfigError, compose, parse_config
from vismodels.methods.quantnas.config import (
    FiguresConfig,
    QuantNASConfig,
    ScoreConfig,
    SearchConfig,
    TrainConfig,
    search_of,
)
from vismodels.verify import RUNS, load_config

SECTION = {
    "seeds": [0, 1],
    "sets": {"train": ["a"], "validation": ["a"], "test": ["a", "b"], "test_if_present": ["c"]},
    "spaces": {
        "small": {"skeleton": {"kind": "basic", "channels": 6, "cells": 1}},
        "bits": {"model": "espcn"},
    },
    "search": {"iterations": 10, "validate_every": 5},
    "searches": {
        "noise": {"runs": 2, "space": "small"},
        "direct": {"space": "small", "mode": "direct"},
        "mixed": {"space": "bits"},
    },
    "networks": {
        "noise": {"runs": 2, "network": {"kind": "searched", "search": "noise"}},
        "uniform": {
            "network": {
                "kind": "uniform",
                "space": "small",
                "like": "direct",
                "bits": 4,
                "operations": {
                    "head": "simple_3x3",
                    "body": "simple_3x3",
                    "skip": "simple_1x1",
                    "upsample": "simple_3x3",
                    "tail": "simple_3x3",
                },
            }
        },
        "random": {"network": {"kind": "random", "space": "small", "draw": 0}},
        "espcn_8": {"network": {"kind": "fixed", "model": "espcn", "bits": 8}},
    },
    "training": {"iterations": 10, "validate_every": 5},
    "counted": [{"kind": "fixed", "model": "srresnet", "bits": 4}],
    "scoring": {
        "border": 4,
        "floors": [{"set": "set5", "network": "noise", "psnr_y": 29.0}],
        "crops": [{"set": "a", "image": "cat", "top": 0, "left": 0, "height": 8, "width": 8}],
    },
    "shown": ["noise", "espcn_8"],
}


def parse(path="", value=None):
    """Parse the section with the value at a dotted path replaced."""
    section = copy.deepcopy(SECTION)
    *place, last = path.split(".")
    target = section
    for part in place:
        target = target[int(part) if part.isdigit() else part]
    if path:
        target[last] = value
    return parse_config(QuantNASConfig, section, "quantnas")


def test_a_right_section_is_read_with_published_defaults():
    config = parse()
    assert config.search.architecture_learning_rate == 3.0e-4
    assert config.search.batch_size == config.training.batch_size == 32
    assert config.searches["noise"].entropy_weight == 1.0e-3
    assert config.spaces["small"].bits == (8, 4)


@pytest.mark.parametrize("run", RUNS)
def test_the_section_of_every_run_is_right_and_so_is_that_of_every_stage(run):
    whole = load_config(run)
    config = parse_config(QuantNASConfig, whole["quantnas"], "quantnas")
    data = {
        "scale": "photographs.scale",
        "train_sets": "quantnas.sets.train",
        "validation_sets": "quantnas.sets.validation",
        "spaces": "quantnas.spaces",
    }
    for name in config.searches:
        keys = {"variant": f"quantnas.searches.{name}", "settings": "quantnas.search"}
        section = parse_config(SearchConfig, compose(whole, data | keys), "search")
        assert section.space is not None
    for name in config.networks:
        keys = {
            "searches": "quantnas.searches",
            "variant": f"quantnas.networks.{name}",
            "training": "quantnas.training",
        }
        parse_config(TrainConfig, compose(whole, data | keys), "train")
    parts = ("seeds", "sets", "networks", "counted", "scoring")
    keys = {"scale": "photographs.scale"} | {part: f"quantnas.{part}" for part in parts}
    parse_config(ScoreConfig, compose(whole, keys), "score")
    parts = ("seeds", "spaces", "searches", "networks", "shown")
    keys = {"crops": "quantnas.scoring.crops"} | {part: f"quantnas.{part}" for part in parts}
    parse_config(FiguresConfig, compose(whole, keys), "figures")


def test_the_arms_of_the_main_claim_run_on_enough_seeds():
    for run, seeds in (("default", 3), ("benchmark", 5)):
        config = parse_config(QuantNASConfig, load_config(run)["quantnas"], "quantnas")
        runs = {config.networks[name].runs for name in ("noise", "uniform_like")}
        assert runs == {seeds}


def test_an_overlay_takes_an_arm_away_with_null():
    config = parse("searches.mixed", None)
    assert list(config.searches) == ["noise", "direct"]
    assert list(parse("networks.random", None).networks) == ["noise", "uniform", "espcn_8"]


def test_a_network_whose_search_was_taken_away_is_refused():
    with pytest.raises(ConfigError, match=r"networks\.uniform names the search 'direct'; there is"):
        parse("searches.direct", None)


def test_only_found_and_equally_expensive_networks_need_a_search():
    networks = parse().networks
    assert {name: search_of(variant) for name, variant in networks.items()} == {
        "noise": "noise",
        "uniform": "direct",
        "random": None,
        "espcn_8": None,
    }


def test_networks_that_are_counted_are_called_by_model_and_bits():
    config = parse("counted.0.bits", 32)
    assert [network.name for network in config.counted] == ["srresnet_float"]
    assert parse().counted[0].name == "srresnet_4"


CROP = SECTION["scoring"]["crops"][0]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("seeds", [], "quantnas.seeds: .* at least 1 item"),
        ("seeds", [1, 1], r"seeds must differ, got \[1, 1\]"),
        ("sets.test", [], "quantnas.sets.test: .* at least 1 item"),
        ("search.iteration", 5, "search.iteration: unknown key; did you mean 'iterations'"),
        ("search.warmup", 10, r"warmup \(10\) must be below iterations \(10\)"),
        ("training.warmup", 12, r"warmup \(12\) must be below iterations \(10\)"),
        ("training.float_warmup", 10, r"warmup \(10\) must be below iterations \(10\)"),
        ("searches.noise.runs", 3, "searches.noise runs on 3 seeds, but there are 2"),
        ("searches.noise.space", "large", "no space is called 'large'; spaces: small, bits"),
        ("searches.noise.mode", "nois", "nois"),
        ("searches.A b", {"space": "small"}, "String should match pattern"),
        ("searches.mixed.operations", {"body": ["simple_3x3"]}, "of 'bits', a published network"),
        ("networks.noise.runs", 3, "networks.noise runs on 3 seeds, but there are 2"),
        ("networks.uniform.runs", 2, "wants 2 seeds of the search 'direct', which runs on 1"),
        ("networks.noise.network.search", "noize", "names the search 'noize'; there is none"),
        ("networks.random.network.space", "large", "names the space 'large'; there is none of"),
        ("networks.random.network.space", "bits", "names the space 'bits'; there is none of"),
        ("networks.uniform.network.like", "mixed", "cannot be like what 'mixed' finds"),
        ("networks.espcn_8.network.bits", 7, r"bits must be one of .*, got 7"),
        ("networks.espcn_8.network.bit", 8, "unknown key; did you mean 'bits'"),
        ("counted", SECTION["counted"] * 2, "need names of their own.*srresnet_4, srresnet_4"),
        ("networks.bicubic", SECTION["networks"]["random"], "got twice: bicubic"),
        ("networks.srresnet_4", SECTION["networks"]["random"], "got twice: srresnet_4"),
        ("shown", ["noise", "espcn"], "names 'espcn'; did you mean 'espcn_8'"),
        ("scoring.floors.0.network", "noize", "names 'noize'; did you mean 'noise'"),
        ("scoring.crops", [CROP, CROP], "shows each image once.*got cat, cat"),
        ("scoring.crops.0.set", "c", r"of sets.test \(a, b\); got c"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(path, value, words):
    with pytest.raises(ConfigError, match=words):
        parse(path, value)
