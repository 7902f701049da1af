import pytest
import yaml

from vismodels.config import ConfigError, merged, parse_config
from vismodels.files import project_root
from vismodels.methods.covidnet3d.config import CovidNet3DConfig
from vismodels.methods.covidnet3d.space import OPERATIONS, WIDTHS, SpaceConfig


def section(run="default"):
    folder = project_root() / "workflows" / "config"
    config = yaml.safe_load((folder / "default.yaml").read_text())
    if run != "default":
        config = merged(config, yaml.safe_load((folder / f"{run}.yaml").read_text()))
    return config["covidnet3d"]


def parsed(run="default"):
    return parse_config(CovidNet3DConfig, section(run), "covidnet3d")


@pytest.mark.parametrize("run", ["default", "test", "benchmark", "paper"])
def test_every_configuration_is_valid(run):
    assert parsed(run).problems


def test_the_arms_of_the_main_claim_run_on_three_seeds_and_five_in_the_benchmark():
    for run, seeds in (("default", 3), ("benchmark", 5)):
        networks = parsed(run).problems["phantom"].networks
        for name in ("searched", "hand", "random"):
            assert networks[name].runs == seeds


def test_the_paper_run_has_the_published_space():
    for problem in parsed("paper").problems.values():
        space, published = problem.space, SpaceConfig(classes=problem.space.classes)
        assert space.model_copy(update={"widths": WIDTHS["S"]}) == published
        assert space.operations == OPERATIONS
        assert problem.training.optimizer == "adam"
        assert problem.training.learning_rate == 1e-3


def test_the_benchmark_sees_the_set_at_both_sizes():
    problems = parsed("benchmark").problems
    assert (problems["adrenal"].data.input.size, problems["adrenal"].data.input.form) == (
        64,
        "distance",
    )
    assert problems["adrenal_28"].data.input.size == 28


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"networks": {"searched": {"network": {"kind": "searched", "search": "polcy"}}}},
         "did you mean 'policy'"),
        ({"searches": {"policy": {"runs": 1}}}, "wants 3 seeds of the search 'policy'"),
        ({"searches": {"policy": {"runs": 9}}}, "searches.policy runs on 9 seeds, but there are 3"),
        ({"maps": {"networks": ["hnad"]}}, "did you mean 'hand'"),
        ({"maps": {"networks": ["residual3d"]}}, "a network of another library"),
        ({"space": {"classes": 2}}, "the space has 2 classes, the data 3"),
        ({"training": {"warmup": 150}}, r"warmup \(150\) must be below iterations"),
        ({"data": {"positive": "COVID"}}, "positive is 'COVID', which is no class"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_named(change, words):
    config = merged(section(), {"problems": {"phantom": change}})
    with pytest.raises(ConfigError, match=words):
        parse_config(CovidNet3DConfig, config, "covidnet3d")


def test_equal_seeds_are_refused():
    with pytest.raises(ConfigError, match="seeds must differ"):
        parse_config(CovidNet3DConfig, section() | {"seeds": [1, 1]}, "covidnet3d")


def test_an_overlay_can_leave_a_problem_out():
    assert "adrenal" in section()["problems"]
    assert "adrenal" not in parsed().problems
