import pytest
import torch
from small_volumes import DATA, SPACE, space, volumes
from torch import nn

from vismodels.config import ConfigError, parse_config
from vismodels.methods.covidnet3d.baselines import Baseline
from vismodels.methods.covidnet3d.config import TrainConfig
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.train import build_network, channels_last, train, train_network
from vismodels.nas.genotype import Genotype

SETTINGS = {
    "iterations": 6, "batch_size": 6, "optimizer": "adamw", "learning_rate": 3e-3, "warmup": 1,
    "max_gradient_norm": 5.0, "class_weights": True, "ema_decay": 0.5, "validate_every": 3,
}  # fmt: skip
FOUND = space().genotype(
    {"stage0_block0": "mbconv_5_3", "stage0_block1": "skip", "stage1_block0": "mbconv_3_3"}
)


def config(network=None, **changes):
    section = {
        "data": DATA,
        "space": SPACE,
        "variant": {"network": network or {"kind": "uniform", "operation": "mbconv_3_3"}},
        "training": SETTINGS | changes,
    }
    return parse_config(TrainConfig, section, "train")


def built(network, found=None, seed=0):
    return build_network(config(network), found, (6, 8, 8), seed)


def fit(seed=0, checkpoint_dir=None, **changes):
    return train(
        config(**changes), volumes(), volumes(9, seed=1), found=None, name="hand", seed=seed,
        checkpoint_dir=checkpoint_dir,
    )  # fmt: skip


def test_a_searched_network_is_the_one_that_was_found():
    assert built({"kind": "searched", "search": "policy"}, FOUND).genotype == FOUND


def test_a_random_network_is_the_same_for_all_seeds_and_its_weights_are_not():
    first, second = (built({"kind": "random", "draw": 3}, seed=s) for s in (0, 1))
    assert first.genotype == second.genotype
    assert not torch.equal(first.trunk.head[0].weight, second.trunk.head[0].weight)
    assert first.genotype != built({"kind": "random", "draw": 4}).genotype


def test_a_random_network_can_cost_what_a_searched_one_costs():
    shape = (6, 8, 8)
    random = built({"kind": "random", "draw": 0, "like": "policy"}, FOUND)
    wanted = space().macs(FOUND, shape)
    assert space().macs(random.genotype, shape) == pytest.approx(wanted, rel=0.1)


def test_random_networks_of_equal_cost_differ_from_seed_to_seed():
    like = {"kind": "random", "draw": 0, "like": "policy"}
    drawn = {tuple(built(like, FOUND, seed=seed).genotype.choices.values()) for seed in range(6)}
    assert len(drawn) > 1


def test_a_compared_network_is_the_one_that_was_handed_over():
    source = {"kind": "compared", "search": "policy", "number": 0}
    assert built(source, FOUND).genotype == FOUND


def test_a_genotype_of_another_space_is_refused():
    other = Genotype("covidnet3d", {"stage9_block9": "skip"})
    with pytest.raises(ConfigError, match="no decision 'stage9_block9'"):
        built({"kind": "searched", "search": "policy"}, other)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_training_learns(optimizer):
    trained = fit(iterations=60, optimizer=optimizer, validate_every=30, ema_decay=0.9)
    first, last = (trained.losses.curves["loss"][part] for part in (slice(5), slice(-5, None)))
    assert sum(last) < 0.8 * sum(first)
    assert trained.validation.curves["validation_accuracy"][-1] > 0.6


def test_one_seed_gives_one_network_and_equal_batches():
    first, second, other = fit(), fit(), fit(seed=1)
    assert first.losses.curves == second.losses.curves
    assert first.losses.curves != other.losses.curves
    for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, monkeypatch):
    whole = fit()
    import vismodels.training.loop as loop

    saved = loop.save_resume

    def save_and_stop(path, state):
        saved(path, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_resume", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint_dir=tmp_path)
    monkeypatch.setattr(loop, "save_resume", saved)
    resumed = fit(checkpoint_dir=tmp_path)
    assert resumed.losses.curves == whole.losses.curves
    for a, b in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_running_mean_of_the_weights_is_what_comes_back():
    network = CovidNet3D(SPACE, {})
    result, _, _ = train_network(
        network, config(ema_decay=0.9).settings, volumes(), volumes(9, seed=1), seed=0
    )
    assert result is not network
    assert not torch.equal(result.trunk.head[0].weight, network.trunk.head[0].weight)
    assert not result.training


def test_the_record_tells_budget_and_size():
    trained = fit()
    assert trained.score.budget == {"iterations": 6, "volumes": 36}
    parameters = sum(p.numel() for p in CovidNet3D(SPACE, {}).parameters())
    assert trained.score.value("parameters").value == parameters
    assert trained.validation.iterations == [3, 6]


def test_a_network_may_have_iterations_of_its_own():
    section = config().model_dump(mode="json")
    section["variant"]["iterations"] = 4
    assert parse_config(TrainConfig, section, "train").settings.iterations == 4


@pytest.mark.parametrize("model", ["residual3d", "monai_resnet10", "timm_slices"])
def test_networks_of_other_libraries_are_trained_alike(model):
    source = {"kind": "baseline", "model": model, "backbone": "test_resnet"}
    first, second, other = (built(source, seed=s) for s in (0, 0, 1))
    assert isinstance(first, Baseline)
    weights = [next(n.parameters()) for n in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    result, losses, _ = train_network(
        first, config(iterations=2).settings, volumes(12), volumes(6, seed=1), seed=0
    )
    assert len(losses) == 2
    assert result(volumes(3).images).shape == (3, 3)


def test_every_kernel_is_channels_last_also_those_that_pass_as_both():
    """Kernels of one voxel or one channel: their strides decide which implementation runs."""
    network = nn.Sequential(
        nn.Conv3d(4, 8, 1), nn.Conv3d(8, 8, 3, groups=8), nn.Conv3d(8, 4, 3), nn.Conv2d(4, 2, 1)
    )
    channels_last(network)
    strides = [layer.weight.stride() for layer in network]
    assert strides == [(4, 1, 4, 4, 4), (27, 1, 9, 3, 1), (216, 1, 72, 24, 8), (4, 1, 4, 4)]
