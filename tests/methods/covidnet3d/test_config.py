import re

import pytest
import yaml

from vismodels.config import ConfigError, merged, parse_config
from vismodels.files import project_root
from vismodels.methods.covidnet3d.config import CovidNet3DConfig, SearchConfig
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
        assert problem.search.shape == (16, 64, 64)
        assert space.operations == OPERATIONS
        assert problem.training.optimizer == "adam"
        assert problem.training.learning_rate == 1e-3


def test_the_paper_run_has_both_plans_of_every_set_and_the_published_epochs():
    problems = parsed("paper").problems
    scans = {"cc_ccii": 1213 + 1210 + 772, "mosmed": 601 + 178, "covid_ctset": 202 + 200}
    for name, count in scans.items():
        small, large = problems[name], problems[f"{name}_l"]
        assert small.data == large.data
        assert (small.space.widths, large.space.widths) == (WIDTHS["S"], WIDTHS["L"])
        for problem in (small, large):
            epoch = count / 2 / problem.search.batch_size  # weights see one half
            assert problem.search.iterations == pytest.approx(100 * epoch, rel=0.02)
            epoch = count / problem.training.batch_size
            assert problem.training.iterations == pytest.approx(200 * epoch, rel=0.001)


def test_classes_of_the_prepared_sets_are_the_folders_of_their_cards():
    config = yaml.safe_load((project_root() / "workflows/config/paper.yaml").read_text())
    for card, settings in config["ct_sets"].items():
        told = yaml.safe_load((project_root() / f"data_cards/{card}.yaml").read_text())
        words = set(re.findall(r"[\w-]+", told["how_to_get"].split("`<")[1]))
        assert set(settings["classes"]) - {f"CT-{n}" for n in (1, 2, 3)} <= words


def test_a_search_may_see_smaller_scans():
    problem = parsed("paper").problems["cc_ccii"]
    config = SearchConfig(
        data=problem.data, space=problem.space, variant=problem.searches["policy"],
        settings=problem.search, training=problem.training,
    )  # fmt: skip
    assert config.seen.input.shape == (16, 64, 64)
    assert config.data.input.shape is None
    assert config.seen.classes == config.data.classes
    same = config.model_copy(update={"settings": problem.search.model_copy(update={"shape": None})})
    assert same.seen == problem.data


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
        ({"networks": {"one": {"runs": 2, "network":
            {"kind": "compared", "search": "policy", "number": 0}}}}, "set runs to 1"),
        ({"data": {"positive": "COVID"}}, "positive is 'COVID', which is no class"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_named(change, words):
    config = merged(section(), {"problems": {"phantom": change}})
    with pytest.raises(ConfigError, match=words):
        parse_config(CovidNet3DConfig, config, "covidnet3d")


def test_a_search_sees_no_smaller_shapes_of_other_volumes():
    config = merged(
        section("benchmark"), {"problems": {"adrenal": {"search": {"shape": [4, 4, 4]}}}}
    )
    with pytest.raises(ConfigError, match=r"search\.shape is for scans"):
        parse_config(CovidNet3DConfig, config, "covidnet3d")


def test_equal_seeds_are_refused():
    with pytest.raises(ConfigError, match="seeds must differ"):
        parse_config(CovidNet3DConfig, section() | {"seeds": [1, 1]}, "covidnet3d")


def test_an_overlay_can_leave_a_problem_out():
    assert "adrenal" in section()["problems"]
    assert "adrenal" not in parsed().problems
