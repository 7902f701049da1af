import pytest
import torch
from small_volumes import space

from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.supernet import MixedBlock, Path, Supernet
from vismodels.nn.hooks import capture

VOLUME = torch.randn(2, 1, 6, 7, 8, generator=torch.Generator().manual_seed(0))


def supernet(seed=0, **changes):
    made = Supernet(space(**changes))
    made.initialize_(torch.Generator().manual_seed(seed))
    return made


def branches(model):
    """Return the names of all branches of all blocks."""
    return [
        f"network.blocks.{decision}.branches.{name}"
        for decision, block in model.network.blocks.items()
        for name in block.branches
    ]


def test_one_path_runs_exactly_one_operation_in_every_block(generator):
    model = supernet(operations=("mbconv_3_3", "mbconv_5_3", "mbconv_3_4"))
    for _ in range(5):
        weights = model.sample("hard_gumbel", 1.0, generator)
        with capture(model, branches(model)) as ran:
            model(VOLUME, weights)
        assert len(ran) == len(model.choices)
        assert {name.split(".")[2] for name in ran} == set(model.choices)


def test_all_paths_run_under_a_soft_sample(generator):
    model = supernet()
    with capture(model, branches(model)) as ran:
        model(VOLUME, model.sample("gumbel", 1.0, generator))
    assert len(ran) == len(branches(model))


def test_a_path_is_the_network_of_its_genotype():
    model = supernet().eval()
    genotype = model.config.genotype(
        {"stage0_block0": "mbconv_5_3", "stage0_block1": "skip", "stage1_block0": "mbconv_3_3"}
    )
    alone = CovidNet3D.of(model.config, genotype).eval()
    state = {
        name.replace(f".branches.{op}.", ".branch."): tensor
        for name, tensor in model.network.state_dict().items()
        for op in [name.split(".")[3] if ".branches." in name else ""]
        if not op or genotype.choices[name.split(".")[1]] == op
    }
    alone.trunk.load_state_dict(state)
    torch.testing.assert_close(Path(model, genotype)(VOLUME), alone(VOLUME))


def test_the_gradient_of_a_hard_sample_reaches_the_logits(generator):
    """The published code casts the sample to booleans: no logit ever moves."""
    model = supernet(operations=("mbconv_3_3", "mbconv_5_3"))
    model(VOLUME, model.sample("hard_gumbel", 1.0, generator)).square().sum().backward()
    for name in model.choices:
        gradient = model.choice(name).logits.grad
        assert gradient is not None
        assert gradient.abs().max() > 0


def test_the_gradient_of_a_weight_is_that_of_scaling_its_branch():
    block = MixedBlock(("mbconv_3_3", "skip"), 6).eval()
    features = torch.randn(1, 6, 3, 3, 3)
    weights = torch.tensor([1.0, 0.0], requires_grad=True)
    block(features, weights).sum().backward()
    expected = block.branches["mbconv_3_3"](features).sum().detach()
    torch.testing.assert_close(weights.grad[0], expected)


def test_parameters_that_a_path_uses_are_those_that_get_a_gradient(generator):
    model = supernet()
    weights = {k: w.detach() for k, w in model.sample("hard_gumbel", 1.0, generator).items()}
    model(VOLUME, weights).sum().backward()
    used = {id(p) for p in model.used_parameters(weights)}
    assert used == {id(p) for p in model.network.parameters() if p.grad is not None}


def test_the_expected_operations_are_the_mean_over_all_networks():
    model = supernet()
    with torch.no_grad():
        for number, name in enumerate(model.choices):
            model.choice(name).logits.copy_(torch.tensor([0.3, -0.2, 0.1]) * (number + 1))
    shape = (6, 8, 8)
    expected = 0.0
    probabilities = model.probabilities()
    for decision, names in model.config.candidates().items():
        for index, name in enumerate(names):
            genotype = model.config.uniform("skip").choices | {decision: name}
            cost = model.config.macs(model.config.genotype(genotype), shape)
            expected += float(probabilities[decision][index].detach()) * cost
    assert float(model.expected_macs(shape).detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "residual", "factor"),
    [("identity", True, 2), ("zero", True, 1), ("shortcut", True, 1), ("identity", False, 1)],
)
def test_free_operations_of_the_published_layout(name, residual, factor):
    """`identity` doubles its input where there is a residual; that is why ours has `skip`."""
    block = MixedBlock(("mbconv_3_3", name), 6, residual)
    features = torch.randn(1, 6, 2, 2, 2)
    torch.testing.assert_close(block(features, torch.tensor([0.0, 1.0])), factor * features)


def test_the_published_supernet_has_154_million_weights():
    with torch.device("meta"):
        model = Supernet(space_of_the_code())
    assert sum(p.numel() for p in model.network.parameters()) == 153_832_803


def space_of_the_code():
    from vismodels.methods.covidnet3d.space import WIDTHS, SpaceConfig

    return SpaceConfig(widths=WIDTHS["L"], layout="reference")


def test_other_volumes_are_refused():
    with pytest.raises(ValueError, match="expected a batch of volumes"):
        supernet()(VOLUME[0], {})
