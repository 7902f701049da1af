"""Plans only: no stage runs, no data is needed."""

import re

import pytest
import yaml

RUNS = ("default", "test", "benchmark", "paper")


def overlay(project, name):
    return () if name == "default" else ("--configfile", project / f"workflows/config/{name}.yaml")


@pytest.mark.parametrize("name", RUNS)
def test_every_configuration_plans_on_an_empty_machine(name, here, project):
    plan = here.snakemake("-n", *overlay(project, name))
    assert re.search(r"^total +\d+$", plan, re.MULTILINE)
    assert not (here.directory / "results").exists()


@pytest.mark.parametrize("name", RUNS)
def test_sets_that_are_scored_if_present_fit_into_the_plan(name, here, project, tmp_path):
    """Folders without a card, upper case in their names."""
    for folder in ("BSD100", "Urban100", "Set5", "Set14"):
        (tmp_path / "data" / "sr" / folder).mkdir(parents=True)
    plan = here.snakemake("-n", *overlay(project, name))
    wanted = "BSD100" if name in ("benchmark", "paper") else "set5"
    assert f"data/{wanted}/photographs" in plan


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_cluster_profiles_set_what_the_rules_need(profile, project):
    settings = yaml.safe_load((project / "profiles" / profile / "profile.yaml").read_text())
    default = yaml.safe_load((project / "profiles/default/profile.yaml").read_text())
    assert settings["rerun-triggers"] == default["rerun-triggers"]
    assert "code" not in settings["rerun-triggers"]
    assert settings["executor"] == profile


def test_one_method_alone_can_be_run(here, project):
    plan = here.planned(*overlay(project, "test"), "--config", "methods=[nafdpm]")
    assert plan["table"] == 1
    assert "nafdpm_score" in plan
    assert not [rule for rule in plan if rule.startswith(("quantnas", "super_resolution"))]


def test_the_run_of_continuous_integration_has_few_jobs(here, project):
    """Each imports for seconds before it works."""
    assert here.planned(*overlay(project, "test"))["total"] <= 70


@pytest.mark.parametrize(("name", "trained"), [("default", 1), ("benchmark", 5)])
def test_the_scene_model_is_trained_once_or_on_five_seeds(name, trained, here, project):
    plan = here.planned(*overlay(project, name), "--config", "methods=[lineas]")
    assert plan["scene_model"] == trained


def test_every_finished_method_is_in_the_default(project):
    config = yaml.safe_load((project / "workflows/config/default.yaml").read_text())
    tables = {path.stem for path in (project / "workflows/tables").glob("*.yaml")}
    assert set(config["methods"]) == tables


def test_every_computing_rule_writes_scores_and_runs_on_one_thread(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import OutputSettings, ResourceSettings

    with SnakemakeApi(OutputSettings(quiet=set())) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            snakefile=project / "Snakefile",
        )._workflow
        rules = [rule for rule in workflow.rules if rule.name != "all"]
        rendering = {"table", "report"} | {r.name for r in rules if r.name.endswith("_figures")}
        assert {rule.name for rule in rules} > rendering
        for rule in rules:
            assert rule.output.get("manifest"), f"{rule.name} writes no manifest"
            assert rule.resources["_cores"] == 1, f"{rule.name} has several threads"
            assert "mem_mb" in rule.resources, f"{rule.name} names no memory"
            assert rule.log, f"{rule.name} has no log"
            if rule.name not in rendering:
                assert rule.output.get("scores"), f"{rule.name} writes no scores"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("super_resolution: {trainig: {}}", r"n\.trainig: unknown key; did you mean 'training'"),
        ("super_resolution: {training: {iterations: '1e3'}}", r"training\.iterations: .*'1e3'"),
        ("super_resolution: {training: {warmup: 5000}}", r"warmup \(5000\) must be below"),
        ("super_resolution: {networks: {espcn: {learning_rate: 1e-3}}}", r"write 1\.0e-3"),
        ("super_resolution: {scoring: {gated_network: residul}}", "which is none of networks"),
        ("quantnas: {searches: {noise: {mod: direct}}}", r"noise\.mod: .* did you mean 'mode'"),
        ("quantnas: {spaces: {basic: {skeleton: {channels: 0}}}}", r"channels: .*got 0"),
        ("quantnas: {searches: {no_entropy: null}}", "networks.no_entropy names the search"),
        ("photograph: {scale: 4}", r"photograph: unknown key; did you mean 'photographs'"),
        ("methods: [nafdmp]", "methods: no method 'nafdmp'; did you mean 'nafdpm'"),
        ("methods: []", "methods is empty; there are .*quantnas"),
        ("run: nightly", r"config\.run: .*'nightly'"),
    ],
)
def test_a_mistake_in_the_configuration_stops_the_plan_and_is_named(text, message, here):
    (here.directory / "mine.yaml").write_text(text)
    output = here.snakemake("-n", "--configfile", "mine.yaml", expect=1)
    assert re.search(message, output), output


def test_nested_values_on_the_command_line_are_refused(here):
    output = here.snakemake("-n", "--config", 'photographs={"scale": 4.0}', expect=1)
    assert re.search(r"photographs\.scale: .*'4\.0'", output), output


def test_missing_data_stops_with_one_clear_message(here):
    (here.directory / "mine.yaml").write_text(
        "super_resolution: {sets: {train: [t91], validation: [t91], test: [set5]},"
        " scoring: {gate: null, crops: []}}\n"
        "photographs: {shrink_jpeg: []}\n"
    )
    words = ("--configfile", "mine.yaml", "--data-root", "no such place")
    (here.directory / "no such place").mkdir()
    output = here.vismodels("reproduce", *words, expect=1)
    assert re.search(r"missing data.*\n +expected at: .*no such place", output), output
    assert "licence" in output
    assert "Traceback" not in output
