import pytest
import torch

from vismodels.checkpoint import load_weights, save_weights
from vismodels.cost.counters import count
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.operations import MBConv3d
from vismodels.methods.covidnet3d.space import (
    OPERATIONS,
    WIDTHS,
    SpaceConfig,
    operation_macs,
    operation_parameters,
)

SMALL = {
    "stem_channels": 4, "first_channels": 4, "widths": [6, 8], "blocks": [2, 1],
    "strides": [2, 1], "head_channels": 10,
}  # fmt: skip
MIB = 4 / 2**20
PUBLISHED = {"S": (8.36, 12.48), "L": (53.26, 62.82)}  # MiB, over the three data sets


def extreme(config, choose):
    """Return the network of the smallest or largest operation in every block."""
    widths = {block: stage.channels for stage in config.stages() for block in stage.blocks}
    return config.genotype(
        {
            block: choose(names, key=lambda name: operation_parameters(name, widths[block]))
            for block, names in config.candidates().items()
        }
    )


@pytest.mark.parametrize("plan", ["S", "L"])
def test_published_sizes_lie_between_the_smallest_and_the_largest_network(plan):
    config = SpaceConfig(widths=WIDTHS[plan], layout="reference")
    with torch.device("meta"):
        sizes = [
            MIB * sum(p.numel() for p in CovidNet3D.of(config, extreme(config, f)).parameters())
            for f in (min, max)
        ]
    assert sizes[0] < PUBLISHED[plan][0] < PUBLISHED[plan][1] < sizes[1]


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "skip"])
def test_operations_cost_what_their_formulas_say(operation):
    _, kernel, expansion = operation.split("_")
    block = MBConv3d(6, 6, int(kernel), int(expansion))
    found = count(block, torch.zeros(1, 6, 4, 5, 6))
    assert found.parameters == operation_parameters(operation, 6)
    assert found.macs == operation_macs(operation, 6, (4, 5, 6))


def test_without_a_choice_it_is_what_one_would_write_by_hand():
    assert set(CovidNet3D(SMALL, {}).genotype.choices.values()) == {"mbconv_3_3"}


@pytest.mark.parametrize("shape", [(8, 8, 8), (5, 7, 9), (1, 1, 1), (16, 33, 20)])
def test_volumes_of_any_size_give_logits(shape):
    network = CovidNet3D(SMALL, {}).eval()
    assert network(torch.zeros(2, 1, *shape)).shape == (2, 3)


def test_a_network_of_skips_has_no_blocks():
    network = CovidNet3D(SMALL, dict.fromkeys(SpaceConfig(**_tuples(SMALL)).candidates(), "skip"))
    assert not list(network.trunk.blocks.parameters())


def test_every_block_adds_to_its_input():
    network = CovidNet3D(SMALL, {}).eval()
    block = network.trunk.blocks["stage0_block0"]
    features = torch.randn(1, 6, 3, 3, 3)
    torch.testing.assert_close(block(features), features + block.branch(features))


def test_averages_come_before_a_change_of_resolution_if_wanted():
    space = SMALL | {"calibration_pool": True, "strides": [2, 2]}
    network = CovidNet3D(space, {}).eval()
    torch.manual_seed(0)
    volume = torch.randn(1, 1, 9, 10, 11)
    sizes = network.config.sizes((9, 10, 11))
    assert network.trunk.features(volume).shape[2:] == sizes["stage1_block0"]
    features = torch.randn(1, 4, 4, 4, 4)
    pooled = network.trunk.calibrations["stage0_block0"]
    strided = CovidNet3D(SMALL, {}).trunk.calibrations["stage0_block0"]
    moved = features.clone()
    moved[:, :, 1, 1, 1] += 1  # a voxel that a stride of 2 passes over
    assert not torch.equal(pooled(moved), pooled(features))
    assert torch.equal(strided(moved), strided(features))


def test_weights_come_back(tmp_path):
    network = CovidNet3D(SMALL, {"stage0_block0": "skip", "stage0_block1": "mbconv_5_3",
                                 "stage1_block0": "mbconv_3_4"}).eval()  # fmt: skip
    save_weights(network, tmp_path / "w")
    again = load_weights(CovidNet3D, tmp_path / "w")
    volume = torch.randn(1, 1, 6, 6, 6)
    torch.testing.assert_close(again(volume), network(volume))
    assert again.genotype == network.genotype


def test_the_generator_decides_the_weights():
    first, second, other = (CovidNet3D(SMALL, {}) for _ in range(3))
    for network, seed in ((first, 1), (second, 1), (other, 2)):
        network.initialize_(torch.Generator().manual_seed(seed))
    weights = [network.trunk.head[0].weight for network in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (1, 2, 8, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected a batch of volumes \(B, 1, D, H, W\)"):
        CovidNet3D(SMALL, {})(torch.zeros(shape))


def _tuples(space):
    return {key: tuple(v) if isinstance(v, list) else v for key, v in space.items()}
