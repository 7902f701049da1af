import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vismodels.checkpoint import load_weights, save_weights, tensor_digest
from vismodels.config import parse_config
from vismodels.cost.counters import count
from vismodels.data.enlarging import evaluate
from vismodels.data.pairs import PairSet, make_pair
from vismodels.methods.quantnas import train as module
from vismodels.methods.quantnas.config import TrainConfig
from vismodels.methods.quantnas.train import train
from vismodels.nas.genotype import Genotype
from vismodels.quantization.layers import QuantConv2d, bits_of
from vismodels.quantization.quantizers import ActivationLSQ, WeightLSQ
from vismodels.results import read_scores, write_scores

SKELETON = {
    "kind": "basic",
    "channels": 12,
    "cells": 1,
    "head_layers": 1,
    "tail_layers": 1,
    "bias": True,
    "bicubic_skip": True,
    "careful_start": True,
    "activation": "lsq",
    "rectifier": "prelu",
}
FOUND = Genotype(
    "basic",
    {
        "head_0": "simple_3x3@8",
        "body_0": "conv_3x1_1x3@4",
        "body_1": "simple_5x5@4",
        "skip_0": "simple_1x1@8",
        "upsample": "simple_3x3_grouped_3@4",
        "tail_0": "simple_3x3@8",
    },
)
OPERATIONS = {
    "head": "simple_3x3",
    "body": "simple_3x3",
    "skip": "simple_1x1",
    "upsample": "simple_3x3",
    "tail": "simple_3x3",
}
SEARCHED = {"kind": "searched", "search": "noise"}
UNIFORM = {"kind": "uniform", "space": "basic", "bits": 4, "operations": OPERATIONS}
ESPCN = {"kind": "fixed", "model": "espcn", "bits": 8}


def pairs(*names, size=48, scale=4):
    """Return smooth random images, so that there is something to learn."""
    made = []
    for number, name in enumerate(names):
        levels = np.random.default_rng(number).integers(0, 256, (size // 8, size // 8, 3))
        image = np.kron(levels, np.ones((8, 8, 1))).astype(np.uint8)
        made.append(make_pair(image, scale, name))
    return PairSet(made)


def config(network=SEARCHED, *, scale=4, skeleton=None, learning_rate=None, **training):
    section = {
        "scale": scale,
        "train_sets": ["a"],
        "validation_sets": ["b", "c"],
        "spaces": {
            "basic": {"skeleton": {**SKELETON, "scale": scale, **(skeleton or {})}},
            "rfdn": {"skeleton": {"kind": "rfdn", "channels": 12, "cells": 1}},
        },
        "searches": {"noise": {"space": "basic"}},
        "variant": {"learning_rate": learning_rate, "network": network},
        "training": {
            "iterations": 10,
            "batch_size": 2,
            "lr_crop": 6,
            "learning_rate": 2.0e-3,
            "warmup": 2,
            "validate_every": 4,
            **training,
        },
    }
    return parse_config(TrainConfig, section, "train")


def run(settings=None, *, seed=0, found=FOUND, train_on=None, validate_on=None, **options):
    return train(
        settings or config(),
        train_on or pairs("a", "b"),
        validate_on or pairs("c"),
        found=found,
        name="net",
        seed=seed,
        **options,
    )


def outcome(trained):
    """Return all that a training gives, in a form that compares bit by bit."""
    return (
        tensor_digest(trained.network),
        trained.losses.state_dict(),
        trained.validation.state_dict(),
        trained.score,
    )


def steps(network):
    """Return the learned steps of all quantizers by name."""
    return {
        f"{name}.scale": layer.scale
        for name, layer in network.named_modules()
        if isinstance(layer, (WeightLSQ, ActivationLSQ)) and layer.scale is not None
    }


# --- equal bits --------------------------------------------------------------------------------

NETWORKS = {"searched": SEARCHED, "uniform": UNIFORM, "espcn": ESPCN}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_equal_seeds_give_equal_bits_and_other_seeds_do_not(network):
    first = run(config(network))
    torch.manual_seed(1)
    assert outcome(first) == outcome(run(config(network)))
    assert tensor_digest(first.network) != tensor_digest(run(config(network), seed=1).network)


def test_networks_of_one_seed_see_equal_batches(monkeypatch):
    seen = []
    real = module.random_patches

    def record(*arguments):
        for batch in real(*arguments):
            seen[-1].append(batch[0])
            yield batch

    monkeypatch.setattr(module, "random_patches", record)
    for network in (SEARCHED, ESPCN):
        seen.append([])
        run(config(network))
    assert len(seen[0]) == 11  # one to fit the steps to
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


class Stopped(Exception):
    pass


def stop(monkeypatch, name, call):
    """Have a function of the module raise when it is called for the `call`-th time."""
    real, calls = getattr(module, name), []

    def counted(*arguments, **keywords):
        calls.append(name)
        if len(calls) == call:
            raise Stopped
        return real(*arguments, **keywords)

    monkeypatch.setattr(module, name, counted)


@pytest.mark.parametrize("float_warmup", [0, 4, 5])
@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("evaluate", 1),  # behind the checkpoint of iteration 4, before its validation
        ("evaluate", 3),  # the last validation
        ("_score", 1),
    ],
)
def test_an_interrupted_training_goes_on_bit_by_bit(
    monkeypatch, tmp_path, place, call, float_warmup
):
    settings = config(float_warmup=float_warmup)
    whole = run(settings)
    with monkeypatch.context() as patched:
        stop(patched, place, call)
        with pytest.raises(Stopped):
            run(settings, checkpoint_dir=tmp_path)
    assert outcome(run(settings, checkpoint_dir=tmp_path)) == outcome(whole)


@pytest.mark.parametrize("iteration", [4, 5, 7])
def test_a_training_interrupted_in_a_step_goes_on_bit_by_bit(monkeypatch, tmp_path, iteration):
    settings = config(float_warmup=4)
    whole = run(settings)
    real, calls = F.l1_loss, []

    def loss(*arguments):
        calls.append(1)
        if len(calls) == iteration:
            raise Stopped
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(F, "l1_loss", loss)
        with pytest.raises(Stopped):
            run(settings, checkpoint_dir=tmp_path)
    assert outcome(run(settings, checkpoint_dir=tmp_path)) == outcome(whole)


# --- the float warm-up -------------------------------------------------------------------------


def test_quantizers_start_after_the_float_warm_up(monkeypatch):
    enabled, fitted = [], []
    real = F.l1_loss
    network = []

    def loss(low, high):
        layers = [m for m in network[0].modules() if isinstance(m, QuantConv2d)]
        enabled.append({layer.enabled for layer in layers})
        return real(low, high)

    def build(*arguments):
        network.append(real_build(*arguments))
        return network[0]

    def initialize(*arguments, **options):
        fitted.append(len(enabled))
        return real_initialize(*arguments, **options)

    real_build, real_initialize = module.build_network, module.initialize_steps_
    monkeypatch.setattr(module, "build_network", build)
    monkeypatch.setattr(module, "initialize_steps_", initialize)
    monkeypatch.setattr(F, "l1_loss", loss)
    trained = run(config(float_warmup=6))
    assert enabled == [{False}] * 6 + [{True}] * 4
    assert fitted == [0, 6]
    assert all(m.enabled for m in trained.network.modules() if isinstance(m, QuantConv2d))


def test_the_steps_fit_the_weights_that_the_float_warm_up_leaves(monkeypatch):
    fitted = []
    real = module.initialize_steps_

    def initialize(network, *arguments, **options):
        real(network, *arguments, **options)
        fitted.append({name: step.detach().clone() for name, step in steps(network).items()})
        for layer in network.modules():
            if isinstance(layer, QuantConv2d) and layer.quantize_weight.scale is not None:
                bits = layer.weight_bits
                mean = layer.weight.abs().mean(dim=(1, 2, 3))
                expected = 2 * mean / (2 ** (bits - 1) - 1) ** 0.5
                torch.testing.assert_close(layer.quantize_weight.scale.flatten(), expected)

    monkeypatch.setattr(module, "initialize_steps_", initialize)
    run(config(float_warmup=6, learning_rate=2.0e-2))
    before, after = fitted
    unchanged = [name for name in before if torch.equal(before[name], after[name])]
    # The head reads the same image.
    assert unchanged == ["network.head.head_0.convolutions.0.quantize_activation.scale"]


def test_the_steps_can_start_at_the_smallest_error():
    starts = [run(config(step_start=start, iterations=3)).network for start in ("lsq", "mse")]
    assert tensor_digest(starts[0]) != tensor_digest(starts[1])


# --- the optimizer -----------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_all_parameters_are_in_the_optimizer_and_all_steps_learn(monkeypatch, network):
    start = {}
    real = module.TrainState

    def record(**parts):
        model, optimizer = parts["network"], parts["optimizer"]
        start.update({name: p.detach().clone() for name, p in model.named_parameters()})
        weights, of_steps = ([*group["params"]] for group in optimizer.param_groups)
        assert {*map(id, weights), *map(id, of_steps)} == set(map(id, model.parameters()))
        assert set(map(id, of_steps)) == set(map(id, steps(model).values()))
        return real(**parts)

    monkeypatch.setattr(module, "TrainState", record)
    trained = run(config(network))
    found = steps(trained.network)
    assert found
    for name, step in found.items():
        assert not torch.equal(step, start[name]), name
    still = [n for n, p in trained.network.named_parameters() if torch.equal(p, start[n])]
    # The slope for negative values of an image, of which there are none.
    assert [name for name in still if "head_0.convolutions.0.rectify" not in name] == []


def test_steps_have_a_rate_of_their_own_and_no_decay(monkeypatch):
    groups = []
    real = torch.optim.Adam.step

    def record(self, *arguments):
        groups.append([(g["lr"], g["weight_decay"]) for g in self.param_groups])
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    run(config(step_rate=0.1, weight_decay=1.0e-4, warmup=0, learning_rate=2.0e-3))
    assert groups[0] == [(2.0e-3, 1.0e-4), (pytest.approx(2.0e-4), 0.0)]
    cosine = 2.0e-3 * (1 + np.cos(np.pi * np.arange(10) / 10)) / 2
    assert [weights for (weights, _), _ in groups] == pytest.approx(cosine.tolist())


def test_a_variant_can_have_a_learning_rate_of_its_own():
    common, own = run(), run(config(learning_rate=1.0e-2))
    assert tensor_digest(common.network) != tensor_digest(own.network)


def test_training_lowers_the_loss():
    losses = run(config(iterations=60, learning_rate=5.0e-3, warmup=5)).losses.curves["loss"]
    assert np.mean(losses[-20:]) < 0.95 * np.mean(losses[:20])


# --- what comes out ----------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_trained_network_survives_storage(network, tmp_path):
    trained = run(config(network)).network
    assert not trained.training
    save_weights(trained, tmp_path)
    again = load_weights(type(trained), tmp_path)
    x = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(x), trained(x))


def test_the_record_says_what_was_trained_on_what_and_at_what_cost(tmp_path):
    validation = pairs("c", "d")
    trained = run(seed=3, validate_on=validation)
    score = trained.score
    assert (score.stage, score.variant, score.seed) == ("quantnas_train", "net", 3)
    assert score.dataset == {"card": "b+c", "split": "validation", "items": 2}
    assert score.budget == {"iterations": 10, "images": 20, "patch": 24, "bits": "4/8"}
    measured = evaluate(trained.network, validation, border=4)["psnr_y"]
    assert score.value("psnr_y").items == measured
    assert trained.validation.iterations == [4, 8, 10]
    assert trained.validation.curves["psnr_y"][-1] == score.value("psnr_y").value
    cost = count(trained.network, torch.zeros(1, 3, 32, 32), bits_of=bits_of)
    assert score.value("parameters").value == cost.parameters
    assert score.value("macs").value == cost.macs
    assert score.value("bitops").value == cost.bitops
    assert score.value("bitops_256").value == 64 * cost.bitops
    last = trained.losses.curves["loss"][-4:]
    assert score.value("train_loss").value == pytest.approx(sum(last) / 4)
    write_scores(tmp_path / "s.json", [score])
    assert read_scores(tmp_path / "s.json")[0].value("macs") == score.value("macs")


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_other_scales_are_trained(scale, network):
    trained = run(
        config(network, scale=scale, iterations=2, warmup=0),
        train_on=pairs("a", scale=scale),
        validate_on=pairs("b", scale=scale),
    )
    assert trained.network.scale == scale


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train_on", "validate_on"])
def test_pairs_of_another_scale_are_refused_before_training(monkeypatch, part):
    monkeypatch.setattr(module, "fit", None)  # would raise if it were called
    with pytest.raises(ValueError, match="expected pairs of scale 4, got scale 2"):
        run(**{part: pairs("a", scale=2)})


def test_a_crop_larger_than_an_image_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(module, "fit", None)
    with pytest.raises(ValueError, match=r"a: the LR image is 12x12, smaller than .* 13x13; set"):
        run(config(lr_crop=13))


def test_a_diverging_training_stops_and_says_where():
    with pytest.raises(FloatingPointError, match=r"loss is \w+ at iteration \d+; lower the"):
        run(config(learning_rate=1.0e30))
