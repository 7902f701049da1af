import copy

import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.methods.super_resolution.config import SuperResolutionConfig, TrainConfig
from vismodels.verify import RUNS, load_config

NETWORK = {
    "model": {"architecture": "residual_sr", "channels": 4, "blocks": 1},
    "learning_rate": 1.0e-3,
}
SECTION = {
    "seeds": [0, 1],
    "sets": {"train": ["a"], "validation": ["a"], "test": ["a", "b"], "test_if_present": ["c"]},
    "networks": {
        "residual": NETWORK,
        "espcn": {
            "model": {"architecture": "espcn", "bicubic_skip": False},
            "learning_rate": 1.0e-3,
        },
    },
    "training": {
        "iterations": 10,
        "batch_size": 2,
        "lr_crop": 8,
        "warmup": 2,
        "max_gradient_norm": 1.0,
        "validate_every": 5,
    },
    "scoring": {
        "border": 4,
        "gate": 0.1,
        "gated_set": "a",
        "gated_network": "residual",
        "floors": [{"set": "a", "network": "residual", "psnr_y": 29.0}],
        "crops": [
            {"set": "a", "image": "cat", "top": 0, "left": 0, "height": 8, "width": 8},
            {"set": "b", "image": "dog", "top": 0, "left": 0, "height": 8, "width": 8},
        ],
    },
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
    return parse_config(SuperResolutionConfig, section, "super_resolution")


def test_a_right_section_is_read_with_its_values():
    config = parse()
    assert config.seeds == (0, 1)
    assert config.networks["residual"].model.channels == 4
    assert config.networks["espcn"].model.bicubic_skip is False
    assert config.scoring.crops[1].image == "dog"


def test_an_overlay_takes_a_network_away_with_null():
    assert list(parse("networks.espcn", None).networks) == ["residual"]


@pytest.mark.parametrize("run", RUNS)
def test_the_section_of_every_run_of_the_workflow_is_right(run):
    whole = load_config(run)
    section = whole["super_resolution"]
    parse_config(SuperResolutionConfig, section, "super_resolution")
    part = {
        "scale": whole["photographs"]["scale"],
        "train_sets": section["sets"]["train"],
        "validation_sets": section["sets"]["validation"],
        "network": section["networks"]["residual"],
        "training": section["training"],
    }
    parse_config(TrainConfig, part, "super_resolution")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("seeds", [], "super_resolution.seeds: .* at least 1 item"),
        ("seeds", [-1], "greater than or equal to 0, got -1"),
        ("seeds", [1, 1], r"seeds must differ, got \[1, 1\]"),
        ("sets.test", [], "super_resolution.sets.test: .* at least 1 item"),
        ("sets.train", ["../a"], "sets.train.0: String should match pattern"),
        ("networks.A b", NETWORK, "String should match pattern"),
        ("networks.bicubic", NETWORK, "networks cannot be called bicubic: the table has such"),
        ("networks.original", NETWORK, "networks cannot be called original"),
        ("networks.residual.learning_rate", 0.0, "greater than 0, got 0.0"),
        ("networks.residual.learning_rate", "1e-3", "write 1.0e-3"),
        ("networks.residual.model.chanels", 4, "unknown key; did you mean 'channels'"),
        ("networks.residual.model.architecture", "srcnn", "srcnn"),
        ("training.iterations", 0, "training.iterations: .* greater than 0, got 0"),
        ("training.warmup", 10, r"warmup \(10\) must be below iterations \(10\)"),
        ("training.validate_evry", 5, "validate_evry: unknown key; did you mean 'validate_every'"),
        ("scoring.gated_network", "resnet", "'resnet', which is none of networks .residual, espcn"),
        ("scoring.gated_set", "c", "scoring names c, which is none of sets.test .a, b"),
        ("scoring.crops.0.set", "c", "scoring names c, which is none of sets.test"),
        ("scoring.crops.0.image", "dog", "crops shows an image twice .dog, dog"),
        ("scoring.crops.0.top", -1, "crops.0.top: .* greater than or equal to 0, got -1"),
        ("scoring.crops.0.height", 0, "crops.0.height: .* greater than 0, got 0"),
        ("scoring.border", -1, "scoring.border: .* greater than or equal to 0"),
        ("scoring.gate", float("inf"), "scoring.gate"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(path, value, words):
    with pytest.raises(ConfigError, match=words):
        parse(path, value)


def test_the_gated_set_may_be_absent_if_there_is_no_gate():
    section = copy.deepcopy(SECTION)
    section["scoring"] |= {"gate": None, "gated_set": "c"}
    assert parse_config(SuperResolutionConfig, section, "sr").scoring.gate is None
