from collections import defaultdict
from functools import cache

import pytest
import yaml

from vismodels.config import ConfigError, merged, parse_config
from vismodels.files import project_root
from vismodels.methods.multilevel_activation.config import (
    CasesConfig,
    MultiLevelActivationConfig,
    TrainConfig,
)
from vismodels.methods.multilevel_activation.names import LOSSES, SIGMOID_LOSSES, SOFTMAX_LOSSES
from vismodels.metrics.bounds import Bound
from vismodels.report.method_files import read_method_files

ARMS = ("multilevel", "softmax", "sigmoid_regions")
RUNS = ("default", "test", "benchmark", "paper")


@cache
def read(run):
    return yaml.safe_load((project_root() / "workflows" / "config" / f"{run}.yaml").read_text())


def section(run="default"):
    config = read("default") if run == "default" else merged(read("default"), read(run))
    return config["multilevel_activation"]


def parsed(run="default"):
    return parse_config(MultiLevelActivationConfig, section(run), "multilevel_activation")


@pytest.mark.parametrize("run", RUNS)
def test_every_configuration_is_valid_and_compares_the_three_heads(run):
    problems = parsed(run).problems
    assert problems
    for problem in problems.values():
        kinds = {variant.head.kind for variant in problem.models.values()}
        assert kinds == set(ARMS)
        assert problem.models[problem.scoring.reference].head.kind == "softmax"


def test_the_arms_of_the_main_claim_run_on_three_seeds_and_five_in_the_benchmark():
    for run, seeds in (("default", 3), ("benchmark", 5)):
        for name, problem in parsed(run).problems.items():
            if name not in ("rates", "flips_bf16"):
                assert [problem.models[arm].runs for arm in ARMS] == [seeds] * 3


def test_every_head_has_a_grid_of_five_rates_and_the_default_lies_inside():
    """Strictly: a best rate at the end of a grid may have a better one beyond it."""
    default = parsed().problems["glioma"].models
    grid = parsed("benchmark").problems["rates"].models.values()
    lowest = {"multilevel": 1.2e-2, "softmax": 3.0e-3, "sigmoid_regions": 1.5e-3}
    for arm in ARMS:
        rates = sorted(each.learning_rate for each in grid if each.head == default[arm].head)
        assert rates == pytest.approx([lowest[arm] * 2**n for n in range(5)])
        assert default[arm].learning_rate in rates[1:-1]
    assert len(grid) == 5 * len(ARMS)


def test_the_grid_of_rates_is_trained_as_the_default_is():
    default, grid = parsed().problems["glioma"], parsed("benchmark").problems["rates"]
    for part in ("cases", "trunk", "training", "inference"):
        assert getattr(grid, part) == getattr(default, part)


def test_trained_networks_are_segmented_with_flips_and_in_half_precision():
    problem = parsed("benchmark").problems["flips_bf16"]
    assert (problem.networks, problem.training) == ("glioma", None)
    assert problem.inference.flips
    assert problem.inference.dtype == "bfloat16"
    assert {(bound.variant, bound.value, bound.at_least) for bound in problem.scoring.bounds} == {
        ("multilevel", 0.0, False)
    }


@pytest.mark.parametrize("run", RUNS)
def test_a_claim_about_violations_requires_that_the_multilevel_head_has_none(run):
    """The claim tests whether sigmoids have any; that the other head has none is a bound."""
    _, _, found = read_method_files("multilevel_activation", project_root() / "workflows")
    claims = [claim for claim in found.claims if str(claim.metric).count("_outside_")]
    assert len(claims) == 4
    problems, checked = parsed(run).problems, 0
    for claim in claims:
        assert (claim.kind, claim.variants[0]) == ("less", "multilevel")
        assert claim.requires == (f"{claim.metric} on {claim.dataset.card}",)
        if problem := problems.get(claim.condition["problem"]):
            none = Bound(
                set=claim.dataset.card, variant="multilevel", metric=claim.metric, value=0.0,
                at_least=False,
            )  # fmt: skip
            assert none in problem.scoring.bounds
            checked += 1
    assert checked == {"default": 2, "test": 2, "benchmark": 4, "paper": 1}[run]


def test_the_benchmark_has_every_loss():
    losses = defaultdict(set)
    for variant in parsed("benchmark").problems["glioma"].models.values():
        losses[variant.head.kind].add(variant.head.loss)
    assert losses["multilevel"] == set(LOSSES)
    assert losses["softmax"] == set(SOFTMAX_LOSSES)
    assert losses["sigmoid_regions"] == set(SIGMOID_LOSSES)


def test_the_paper_run_has_the_size_and_the_settings_of_the_published_network():
    problem = parsed("paper").problems["brats_2018"]
    assert (problem.trunk.width, problem.trunk.depth, problem.trunk.dropout) == (16, 5, 0.3)
    training = problem.training
    assert (training.patch, training.batch_size) == ((128, 128, 128), 2)
    assert (training.schedule, training.decay, training.epoch) == ("exponential", 0.985, 100)
    assert training.weight_decay == 1e-5
    assert {variant.learning_rate for variant in problem.models.values()} == {5e-4}
    assert training.class_weights


def test_windows_are_as_large_as_patches():
    for run in RUNS:
        for problem in parsed(run).problems.values():
            source = parsed(run).problems[problem.networks] if problem.networks else problem
            assert problem.inference.window == source.training.patch


def test_generated_cases_are_called_so_in_every_record():
    assert CasesConfig(card="glioma_semisynthetic").note.startswith("semi-synthetic")
    assert CasesConfig(card="brats2021").note == ""
    for run in ("default", "test"):
        assert all(problem.cases.note for problem in parsed(run).problems.values())


def test_real_cases_are_only_asked_for_where_they_are_present_outside_of_the_paper_run():
    for problem in parsed("benchmark").problems.values():
        assert problem.if_present is not problem.cases.note.startswith("semi-synthetic")
    assert [problem.if_present for problem in parsed("paper").problems.values()] == [False]


def test_a_model_uses_the_trunk_of_all_unless_it_has_its_own():
    problem = section("benchmark")["problems"]["glioma"]
    kinds = {}
    for name in ("multilevel", "segresnet"):
        of_stage = {key: problem[key] for key in ("cases", "trunk", "training")}
        of_stage["variant"] = problem["models"][name]
        kinds[name] = parse_config(TrainConfig, of_stage, "train").network.kind
    assert kinds == {"multilevel": "residual_unet3d", "segresnet": "segresnet"}


def test_an_overlay_can_leave_a_model_or_a_problem_out():
    assert "glioma" in section("paper")["problems"]
    assert "glioma" not in parsed("paper").problems
    config = merged(section(), {"problems": {"glioma": {
        "models": {"sigmoid_regions": None}, "scoring": {"shown": ["multilevel"]}}}})  # fmt: skip
    parsed_config = parse_config(MultiLevelActivationConfig, config, "multilevel_activation")
    assert list(parsed_config.problems["glioma"].models) == ["multilevel", "softmax"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scoring": {"reference": "softmx"}}, "'softmx', which is none.* did you mean 'softmax'"),
        ({"scoring": {"shown": ["multilevl"]}}, "did you mean 'multilevel'"),
        ({"models": {"softmax": None}}, "scoring names the model 'softmax', which is none"),
        (
            {"inference": {"scheme": "brats2012"}},
            "'brats2012', which is none; did you mean 'brats20",
        ),
        ({"models": {"softmax": {"runs": 4}}}, "softmax runs on 4 seeds, but there are 3"),
        ({"models": {"softmax": {"head": {"loss": "mse"}}}}, "cross_entropy"),
        ({"models": {"multilevel": {"head": {"loss": "mes"}}}}, "ordinal"),
        ({"models": {"multilevel": {"head": {"kind": "multi"}}}}, "multilevel"),
        ({"models": {"multilevel": {"head": {"steepness": 0.0}}}}, "greater than 0"),
        ({"models": {"Softmax": {"learning_rate": 1.0, "head": {"kind": "softmax"}}}}, "pattern"),
        ({"training": {"warmup": 320}}, r"warmup \(320\) must be below iterations \(320\)"),
        ({"training": {"patch": [32, 32]}}, "training.patch"),
        ({"training": {"iteratons": 5}}, "iterations"),
        ({"inference": {"overlap": 1.0}}, "less than 1"),
        ({"scoring": {"empty_rule": "brats"}}, "brats2018"),
    ],
)
def test_parts_that_do_not_fit_are_named(change, words):
    config = merged(section(), {"problems": {"glioma": change}})
    with pytest.raises(ConfigError, match=words):
        parse_config(MultiLevelActivationConfig, config, "multilevel_activation")


SOFTMAX = {"softmax": {"runs": 2, "learning_rate": 1.2e-2, "head": {"kind": "softmax"}}}
BORROWED = {
    "networks": "glioma", "cases": {"card": "brats2021"}, "models": SOFTMAX, "inference": {},
    "scoring": {"reference": "softmax", "shown": [], "cases": []},
}  # fmt: skip


def with_borrowed(**changes):
    config = merged(section(), {"problems": {"again": BORROWED | changes}})
    return parse_config(MultiLevelActivationConfig, config, "multilevel_activation")


def test_a_problem_may_use_the_networks_of_another():
    problem = with_borrowed().problems["again"]
    assert (problem.networks, problem.trunk, problem.training) == ("glioma", None, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"networks": None}, "trunk and training are needed .*`networks`"),
        ({"networks": "gliom"}, "which trains none; did you mean 'glioma'"),
        ({"networks": "again"}, "which trains none"),
        ({"trunk": {"width": 8}}, "trunk would do nothing: the networks are those .*'glioma'"),
        ({"models": {"softmax": SOFTMAX["softmax"] | {"runs": 4}}}, "trains on 4 seeds"),
        ({"models": {"softmax": SOFTMAX["softmax"] | {"learning_rate": 1.0}}}, "repeat its set"),
    ],
)
def test_networks_that_nobody_trains_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        with_borrowed(**change)


def test_equal_seeds_no_seeds_and_no_problems_are_refused():
    for change, words in (
        ({"seeds": [1, 1, 2]}, "seeds must differ"),
        ({"seeds": []}, "seeds"),
        ({"problems": {"glioma": None}}, "problems"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse_config(
                MultiLevelActivationConfig, merged(section(), change), "multilevel_activation"
            )
