import pytest
import torch

from vismodels.config import parse_config
from vismodels.methods.quantnas.config import SearchConfig
from vismodels.methods.quantnas.fixed_supernet import FixedSupernet
from vismodels.methods.quantnas.search_run import (
    SearchRun,
    build_supernet,
    entropy_schedule,
    penalty,
)
from vismodels.methods.quantnas.supernet import Supernet

SPACES = {
    "basic": {"skeleton": {"kind": "basic", "channels": 12, "cells": 1, "rectifier": "prelu"}},
    "espcn": {"model": "espcn"},
}


def config(variant=None, scale=4, **settings):
    section = {
        "scale": scale,
        "train_sets": ["a"],
        "validation_sets": ["b"],
        "spaces": SPACES,
        "variant": {"space": "basic", **(variant or {})},
        "settings": {"iterations": 40, "validate_every": 4, **settings},
    }
    return parse_config(SearchConfig, section, "search")


def seeded():
    return torch.Generator().manual_seed(0)


# --- formulas ----------------------------------------------------------------------------------


def test_the_entropy_schedule_has_the_published_values():
    factors = [entropy_schedule(epoch, 20) for epoch in range(20)]
    assert factors[:5] == [0.0] * 5
    assert [factors[e] for e in (5, 6, 10, 15, 19)] == pytest.approx(
        [0.06579, 0.12513, 0.36939, 0.70756, 1.0], abs=5e-6
    )
    assert factors == sorted(factors)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
def test_the_entropy_schedule_ends_at_one_however_few_epochs_there_are(epochs):
    factors = [entropy_schedule(epoch, epochs) for epoch in range(epochs)]
    assert factors[0] == 0.0
    assert factors[-1] == (0.0 if epochs == 1 else pytest.approx(1.0))


def test_the_penalty_is_the_cost_in_units_of_its_start():
    assert penalty(torch.tensor(6.0), 4.0, "initial").item() == 1.5


@pytest.mark.parametrize(("share", "expected"), [(1.0, 4 / 9), (0.8, 0.0), (1.25, 1.0)])
def test_the_published_penalty_has_the_published_values(share, expected):
    cost = torch.tensor(share * 8.6e9, dtype=torch.float64)
    assert penalty(cost, 8.6e9, "published").item() == pytest.approx(expected, abs=1e-9)


# --- what a variant builds ---------------------------------------------------------------------


def test_the_variant_says_how_the_supernet_blends():
    variant = {"mode": "published_noise", "distribution": "gaussian", "form": "per_operation"}
    net = build_supernet(config(variant), seeded())
    assert isinstance(net, Supernet)
    assert net.form == "per_operation"
    mixing = net.network.upsample.chain("simple_3x3")[0].mixed_weight.mixing
    assert (mixing.mode, mixing.distribution) == ("published_noise", "gaussian")
    assert (mixing.amplitude, mixing.activation, mixing.rectifier) == (1.0, "hwgq", "prelu")
    assert build_supernet(config({"adq": False}), seeded()).network.body_adq.norm is None


def test_the_bits_of_a_published_network_are_a_space_too():
    assert isinstance(build_supernet(config({"space": "espcn"}), seeded()), FixedSupernet)


def test_a_space_of_another_scale_is_refused():
    with pytest.raises(ValueError, match=r"space 'basic' enlarges by 4, .* of scale 2; set"):
        build_supernet(config(scale=2), seeded())


# --- the course of a search --------------------------------------------------------------------


def test_iterations_are_divided_into_epochs():
    run = SearchRun(config(epochs=20, architecture_warmup=9), 0, "cpu")
    epochs = []
    for run.state.iteration in range(40):
        epochs.append(run.epoch)
        assert run.is_warm() == (run.epoch >= 9)
    assert epochs == sorted([*range(20), *range(20)])


def test_the_entropy_is_weighted_by_the_schedule_that_starts_after_the_warm_up():
    variant = {"entropy_weight": 1.0e-3}
    run = SearchRun(config(variant, epochs=24, iterations=24, architecture_warmup=4), 0, "cpu")
    weights = []
    for run.state.iteration in range(24):
        term, parts = run.regularizer()
        weights.append(term.item() / parts["entropy"])
    expected = [0.0] * 4 + [1.0e-3 * entropy_schedule(epoch, 20) for epoch in range(20)]
    assert weights == pytest.approx(expected)


def test_the_penalty_is_weighted_and_measured_from_the_start():
    run = SearchRun(config({"penalty_weight": 0.5, "entropy_weight": 0.0}), 0, "cpu")
    term, parts = run.regularizer()
    assert parts["penalty"] == 1.0
    assert term.item() == pytest.approx(0.5)
    for name, logits in zip(run.supernet.choices, run.logits, strict=True):
        logits.data.copy_(100 * run.supernet.get_buffer(f"cost_{name}").argsort().argsort())
    _, parts = run.regularizer()  # the most expensive of all
    largest = sum(max(prices) for prices in run.supernet.bitops.values())
    assert parts["penalty"] == pytest.approx(largest / run.start_cost, rel=1e-5)


def test_the_temperature_falls_from_ten_to_a_tenth(monkeypatch):
    run, seen = SearchRun(config({"relaxation": "gumbel"}), 0, "cpu"), []
    monkeypatch.setattr(run.supernet, "sample", lambda *arguments: seen.append(arguments[:2]))
    for run.state.iteration in (0, 20, 40):
        run.sampled()
    assert [kind for kind, _ in seen] == ["gumbel"] * 3
    assert [temperature for _, temperature in seen] == pytest.approx([10.0, 5.05, 0.1])
