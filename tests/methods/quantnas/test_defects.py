"""The fourteen defects of the published codes that could return, one by one.

| defect of the published code | what must hold is tested here, and in detail in |
|---|---|
| 1 argmax that starts from the value 0 | `test_supernet`, `test_search` (selection) |
| 2 gradients times 0.31, outputs times 0.88 | `test_mixing` |
| 3 noise with three times the variance of rounding | `test_mixing`, `tests/quantization` |
| 4 search prices linear in bits, the result quadratic | `test_supernet` (one architecture) |
| 5 normalizer of the penalty by the number of block types | `test_search_run` (formulas) |
| 6 validation on images that train the architecture | `test_search` (data) |
| 7 another resize in training than in testing | `tests/data/test_pairs.py` |
| 8 steps of quantizers neither trained nor saved | `test_train` (optimizer, storage) |
| 9 ties counted as several architectures | `test_supernet` |
| 10 frozen channels, scale, tail, kernel of DWS; `zero` | `test_operations`, `test_skeletons` |
| 11 sums that keep the last term | `tests/cost` |
| 12 CUDA only, unseeded `random` | all tests run on the CPU |
| 13 an RFDN that cannot be built or counted; last, not best | `test_fixed`, `test_search` |
| 14 prices computed anew in every step, several times | |
"""

import random

import numpy as np
import pytest
import torch

from vismodels.config import parse_config
from vismodels.cost.counters import count
from vismodels.data.pairs import PairSet, make_pair
from vismodels.data.resize import bicubic_resize
from vismodels.methods.quantnas import search as search_module
from vismodels.methods.quantnas import search_run as run_module
from vismodels.methods.quantnas import space as space_module
from vismodels.methods.quantnas.config import SearchConfig, SearchVariant
from vismodels.methods.quantnas.derived_layer import DerivedLayer
from vismodels.methods.quantnas.fixed import FixedSR
from vismodels.methods.quantnas.mixing import MixedWeight, Mixing
from vismodels.methods.quantnas.network import SearchedSR
from vismodels.methods.quantnas.operations import convolutions
from vismodels.methods.quantnas.search import search
from vismodels.methods.quantnas.search_run import penalty
from vismodels.methods.quantnas.space import (
    BasicSkeleton,
    RFDNSkeleton,
    SpaceConfig,
    genotype_cost,
)
from vismodels.methods.quantnas.supernet import Supernet
from vismodels.nas.genotype import Genotype
from vismodels.quantization.layers import bits_of

OPERATIONS = {
    "head": ["simple_3x3"],
    "body": ["simple_3x3", "zero"],
    "skip": ["simple_1x1"],
    "upsample": ["simple_1x1"],
    "tail": ["simple_1x1", "simple_5x5"],
}
SPACE = SpaceConfig(skeleton=BasicSkeleton(channels=12, cells=1))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def supernet(space=SPACE, **variant):
    """Return a supernet as the default variant builds it."""
    chosen = SearchVariant(space="basic", **variant)
    mixing = Mixing(chosen.mode, seeded(), chosen.distribution)
    net = Supernet(space, mixing, chosen.form, chosen.penalty)
    net.initialize_(seeded())
    return net


def pairs(*names, scale=4):
    images = [
        np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        for i in range(len(names))
    ]
    return PairSet(make_pair(i, scale, n) for i, n in zip(images, names, strict=True))


def searched(scale=4, channels=8, tail_layers=1, **variant):
    skeleton = {"kind": "basic", "channels": channels, "cells": 1, "head_layers": 1}
    section = {
        "scale": scale,
        "train_sets": ["a"],
        "validation_sets": ["b"],
        "spaces": {
            "basic": {
                "skeleton": {**skeleton, "tail_layers": tail_layers, "scale": scale},
                "operations": OPERATIONS,
            }
        },
        "variant": {"space": "basic", **variant},
        "settings": {"iterations": 3, "batch_size": 1, "lr_crop": 5, "validate_every": 2},
    }
    config = parse_config(SearchConfig, section, "search")
    return search(
        config, pairs("a", "b", scale=scale), pairs("c", scale=scale), name="noise", seed=0
    )


def test_1_the_largest_logit_wins_even_if_all_are_negative():
    net = supernet()
    for logits in net.choices.parameters():
        logits.data.fill_(-1.0)
        logits.data[3] = -0.5
    assert net.genotype().choices["body_0"] == SPACE.candidates()["body_0"][3]


def test_2_noise_changes_neither_the_gradient_of_a_weight_nor_its_mean():
    mixed = MixedWeight((8, 8, 3, 3), (8, 4), Mixing("noise", seeded()))
    drawn = torch.stack([mixed(torch.tensor([0.1, 0.2])) for _ in range(50)])
    slope = (drawn.mean(dim=0) * mixed.weight).sum() / mixed.weight.square().sum()
    assert slope.item() == pytest.approx(1, abs=0.01)
    drawn[0].sum().backward()
    assert torch.equal(mixed.weight.grad, torch.ones_like(mixed.weight))


def test_3_the_noise_of_a_search_has_the_variance_of_rounding():
    assert SearchVariant(space="basic").distribution == "uniform"
    mixed = MixedWeight((32, 32, 3, 3), (4,), Mixing("noise", seeded()))
    step = (mixed.weight.max() - mixed.weight.min()).item() / 15
    noise = (mixed(torch.ones(1)) - mixed.weight).detach()
    assert noise.var().item() == pytest.approx(step**2 / 12, rel=0.03)


def test_4_the_search_prices_an_architecture_as_the_tables_do():
    net, genotype = supernet(), SPACE.random_genotype(0)
    network = SearchedSR(SPACE.skeleton.model_dump(), dict(genotype.choices))
    counted = count(network, torch.zeros(1, 3, 32, 32), bits_of=bits_of).bitops
    assert net.expected_cost(net.one_hot(genotype)).item() == counted


@pytest.mark.parametrize("space", [SPACE, SpaceConfig(skeleton=RFDNSkeleton(channels=12))])
def test_5_the_penalty_starts_at_one_in_every_space(space):
    net = supernet(space)
    with torch.no_grad():
        cost = net.expected_cost(net.probabilities())
    assert penalty(cost, cost.item(), SearchVariant(space="basic").penalty_scale).item() == 1.0


def test_6_weights_architecture_and_selection_see_three_disjoint_sets_of_images(monkeypatch):
    parts, real, real_l1 = [], search_module.random_patches, run_module._l1

    def patches(pairs, *arguments):
        parts.append(set(pairs.names))
        return real(pairs, *arguments)

    def l1(net, pairs, device):
        parts.append(set(pairs.names))
        return real_l1(net, pairs, device)

    monkeypatch.setattr(search_module, "random_patches", patches)
    monkeypatch.setattr(run_module, "_l1", l1)
    searched()
    architecture, weights, *validations = parts
    assert architecture
    assert weights
    assert all(part == {"c"} for part in validations)
    assert not architecture & weights
    assert not (architecture | weights) & {"c"}


def test_7_patches_are_cut_from_the_small_images_that_are_evaluated(monkeypatch):
    seen, real = [], run_module.SearchRun.weight_step

    def step(self, batch):
        seen.append(batch)
        return real(self, batch)

    monkeypatch.setattr(run_module.SearchRun, "weight_step", step)
    searched(adq=False)
    small = {
        pair.name: bicubic_resize(pair.hr, scale=1 / 4) for pair in pairs("a", "b")
    }  # the exact kernel, as the test sets have it
    turned = [
        np.rot90(flipped, turns)
        for image in small.values()
        for flipped in (image, image[:, ::-1])
        for turns in range(4)
    ]
    for low, high in seen:
        patch = (low[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view
        found = [
            (windows(image, (5, 5, 3))[..., 0, :, :, :] == patch).all(axis=(2, 3, 4)).any()
            for image in turned
        ]
        assert any(found)
        assert high.shape[-1] == 4 * low.shape[-1]


def test_8_the_steps_of_quantizers_are_trained_and_saved(monkeypatch):
    before, real = {}, run_module.TrainState

    def record(**parts):
        net = parts["supernet"]
        before.update({name: value.clone() for name, value in net.state_dict().items()})
        return real(**parts)

    monkeypatch.setattr(run_module, "TrainState", record)
    after = searched(mode="direct").supernet.state_dict()
    steps = [name for name in after if name.endswith("scale")]
    assert len(steps) == 2 * len([name for name in after if name.endswith("mixed_weight.weight")])
    assert all(not torch.equal(after[name], before[name]) for name in steps)


def test_9_equal_logits_are_one_architecture():
    net = supernet()
    genotype = net.genotype()
    assert dict(genotype.choices) == {n: c[0] for n, c in SPACE.candidates().items()}
    assert net.genotype_bitops(genotype) == genotype_cost(SPACE.skeleton, genotype, (32, 32))
    everything = sum(sum(prices) for prices in SPACE.costs((32, 32)).values())
    assert net.genotype_bitops(genotype) < everything / 4


@pytest.mark.parametrize(
    ("scale", "channels", "tail_layers"), [(2, 24, 1), (3, 16, 2), (4, 24, 0), (2, 6, 1)]
)
def test_10_any_width_scale_and_tail_is_searched_and_rebuilt(scale, channels, tail_layers):
    found = searched(scale, channels, tail_layers)
    skeleton = BasicSkeleton(
        channels=channels, cells=1, head_layers=1, tail_layers=tail_layers, scale=scale
    )
    network = SearchedSR(skeleton.model_dump(), dict(found.genotype.choices))
    assert network(torch.rand(2, 3, 6, 6)).shape == (2, 3, 6 * scale, 6 * scale)


def test_10_zero_is_built_dws_has_its_kernel_and_decenc_takes_any_input():
    zero = DerivedLayer("zero", (), 8, 4, False, "hwgq", "relu")
    assert not zero(torch.rand(1, 4, 3, 3)).any()
    kernels = [convolutions(f"DWS_{k}x{k}", 12, 12, 12)[-1].kernel for k in (3, 5)]
    assert kernels == [(3, 3), (5, 5)]
    chain = convolutions("decenc_3x3_2", 24, 48, 36)
    layer = DerivedLayer("decenc_3x3_2", chain, 48, 4, False, "hwgq", "relu")
    assert layer(torch.rand(1, 24, 4, 4)).shape == (1, 48, 4, 4)


def test_11_activations_are_added_up_over_all_layers():
    choices = dict.fromkeys(("head_0", "body_0", "skip_0", "upsample", "tail_0"), "simple_3x3@8")
    skeleton = BasicSkeleton(channels=4, cells=2, head_layers=1, body_layers=1, tail_layers=1)
    network = SearchedSR(skeleton.model_dump(), choices)
    low, high = 5 * 6, 16 * 5 * 6
    expected = 4 * low + 2 * (4 + 4) * low + 48 * low + 3 * high
    assert count(network, torch.zeros(1, 3, 5, 6)).activations == expected


def test_12_random_genotypes_and_searches_leave_the_global_generators_alone():
    random.seed(0)
    first = SPACE.random_genotype(1)
    states = random.getstate(), torch.get_rng_state()
    random.seed(1)
    assert SPACE.random_genotype(1) == first
    random.setstate(states[0])
    SPACE.random_genotype(2)
    assert random.getstate() == states[0]


def test_13_rfdn_is_built_counted_and_quantized():
    cost = count(FixedSR("rfdn", 4), torch.zeros(1, 3, 32, 32), bits_of=bits_of)
    assert cost.macs > 3e8
    assert cost.bitops == 16 * cost.macs


def test_13_the_best_moment_is_kept_not_the_last(monkeypatch):
    errors, moments = iter([0.1, 0.2]), []
    real = run_module.SearchRun.measure

    def measure(self, validation):
        moments.append(self.supernet.genotype())
        return {**real(self, validation), "validation_l1": next(errors)}

    def scramble(self, batch):
        for logits in self.logits:
            logits.data.copy_(torch.rand(logits.shape, generator=seeded(self.state.iteration)))
        return {"architecture_loss": 0.0, "penalty": 1.0, "entropy": 1.0}

    monkeypatch.setattr(run_module.SearchRun, "measure", measure)
    monkeypatch.setattr(run_module.SearchRun, "architecture_step", scramble)
    found = searched()
    assert moments[0] != moments[1]
    assert found.genotype == moments[0]


def test_14_prices_are_computed_once_and_looked_up_once_an_architecture_step(monkeypatch):
    priced, looked_up = [], []
    real_price, real_cost = space_module.candidate_cost, Supernet.expected_cost

    def price(*arguments):
        priced.append(bool(looked_up))
        return real_price(*arguments)

    def cost(self, weights):
        looked_up.append(next(iter(weights.values())).requires_grad)
        return real_cost(self, weights)

    monkeypatch.setattr(space_module, "candidate_cost", price)
    monkeypatch.setattr(Supernet, "expected_cost", cost)
    searched()
    assert priced
    assert not any(priced)
    assert sum(looked_up) == 3  # with a gradient; without one for logs and scores


def test_a_genotype_is_a_set_of_names():
    """Published genotypes are read by position; names outlive a change of the lists."""
    choices = SPACE.random_genotype(0).choices
    shuffled = dict(sorted(choices.items(), reverse=True))
    skeleton = SPACE.skeleton.model_dump()
    first, second = (SearchedSR(skeleton, c) for c in (dict(choices), shuffled))
    assert first.genotype == second.genotype == Genotype("basic", choices)
    assert str(first) == str(second)
