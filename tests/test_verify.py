import json
import re
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from vismodels import reproduce as reproduce_module
from vismodels import verify as module
from vismodels.cli import OK, UNVERIFIED, main
from vismodels.config import ConfigError, compose, config_digest
from vismodels.data.images import write_png
from vismodels.data.manifest import acquire, write_acquired
from vismodels.files import MANIFEST, FileError, atomic_folder, file_digest, write_json
from vismodels.provenance import (
    PROVENANCE,
    CodeIndex,
    Provenance,
    environment,
    environment_digest,
)
from vismodels.results import SCORES, write_scores
from vismodels.verify import RUNS, Finding, load_config, remove_bad, stage_folders, verify

CONFIG = {
    "run": "test",
    "sr": {"scale": 4, "networks": {"net": {"rate": 0.1}, "other": {"rate": 0.2}}},
}
SCRIPT, HELPER = "workflows/scripts/train.py", "workflows/scripts/helper.py"


class Stages:
    """Hand-made stage folders in a working directory, judged against a made-up project."""

    def __init__(self, place):
        self.directory, self.project = place / "Arbeit mit ü", place / "project"
        self.config = json.loads(json.dumps(CONFIG))
        self.write_code(SCRIPT, "from helper import x\n")
        self.write_code(HELPER, "x = 1\n")

    def write_code(self, name, text):
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def add(self, name, keys=None, inputs=(), roots=(SCRIPT,), **changes):
        """Write the stage folder `results/test/<name>` as a stage of the workflow does."""
        keys = keys or {"": "sr.networks.net"}
        config = compose(self.config, keys)
        package = Path(module.__file__).parent
        record = {
            "stage": f"stage_{name}",
            "roots": list(roots),
            "code": CodeIndex(self.project, package).fingerprint(*roots),
            "config_keys": keys,
            "config": config,
            "config_digest": config_digest(config),
            "inputs": {path: file_digest(self.directory / path) for path in inputs},
            "environment": environment(),
            "environment_digest": environment_digest(environment()),
            **changes,
        }
        folder = self.directory / "results" / "test" / name
        with atomic_folder(folder) as inside:
            (inside / "output ä.txt").write_text(name)
            write_json(inside / PROVENANCE, Provenance(**record).to_dict())
        return folder

    def findings(self, **options):
        """Return name -> finding, after a check that nothing was written by looking."""
        before = listing(self.directory)
        found = verify(self.directory, "test", self.config, **options)
        assert listing(self.directory) == before
        assert not (self.directory / ".snakemake").exists()
        return {finding.folder.removeprefix("results/test/"): finding for finding in found}

    def states(self, **options):
        return {name: finding.state for name, finding in self.findings(**options).items()}

    def reason(self, name, **options):
        (reason,) = self.findings(**options)[name].reasons
        return reason


def listing(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def manifest(name):
    return f"results/test/{name}/{MANIFEST}"


@pytest.fixture
def stages(tmp_path, monkeypatch):
    made = Stages(tmp_path)
    monkeypatch.setattr(module, "project_root", lambda: made.project)
    return made


@pytest.fixture
def chain(stages):
    """Three stages, each made from the one before, and one apart."""
    stages.add("data")
    stages.add("train/seed0", inputs=[manifest("data")])
    stages.add("score", inputs=[manifest("train/seed0")])
    stages.add("apart", keys={"": "sr.networks.other"})
    return stages


# --- what is good and what is stale ------------------------------------------------------------


def test_untouched_folders_are_ok_and_inputs_come_first(chain):
    found = list(chain.findings().values())
    assert [finding.state for finding in found] == ["ok"] * 4
    assert [finding.reasons for finding in found] == [()] * 4
    order = [finding.stage for finding in found]
    assert order.index("stage_data") < order.index("stage_train/seed0") < order.index("stage_score")


def test_changed_code_makes_stale_what_reached_it_and_what_was_made_from_that(chain):
    chain.write_code("workflows/scripts/other.py", "y = 1\n")
    chain.add("elsewhere", roots=["workflows/scripts/other.py"])
    chain.write_code(HELPER, "x = 2\n")
    assert chain.states() == {
        "apart": "stale",
        "data": "stale",
        "elsewhere": "ok",
        "score": "stale",
        "train/seed0": "stale",
    }
    assert "code changed (" in chain.reason("apart")


def test_a_comment_makes_nothing_stale(chain):
    chain.write_code(HELPER, "# a comment\nx = 1  # another\n")
    assert set(chain.states().values()) == {"ok"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", "unreadable: .*never closed"),
        ("import vismodels", "unreadable: .*helper.py: imports everything from the top"),
        ("x = 1\0", "unreadable: .*null byte"),
    ],
)
def test_code_that_cannot_be_parsed_is_changed_code_and_no_crash(chain, text, words):
    chain.write_code(HELPER, text)
    assert chain.states()["apart"] == "stale"
    assert re.search(words, chain.reason("apart"))


@pytest.mark.parametrize("into", ["nothing", "a folder"])
def test_code_that_went_away_is_changed_code(chain, into):
    (chain.project / SCRIPT).unlink()
    if into == "a folder":
        (chain.project / SCRIPT).mkdir()
    assert "code changed" in chain.reason("apart")
    assert "train.py" in chain.reason("apart")


def test_a_changed_setting_makes_stale_the_stages_that_have_it(chain):
    chain.config["sr"]["networks"]["other"]["rate"] = 0.3
    assert chain.states() == {"apart": "stale", "data": "ok", "score": "ok", "train/seed0": "ok"}
    assert "configuration changed at sr.networks.other (" in chain.reason("apart")


def test_a_composed_configuration_is_judged_part_by_part(stages):
    keys = {"scale": "sr.scale", "network": "sr.networks.net"}
    stages.add("a", keys=keys)
    assert stages.states() == {"a": "ok"}
    stages.config["sr"]["scale"] = 2
    assert "configuration changed at sr.networks.net, sr.scale" in stages.reason("a")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["sr"]["networks"].pop("other"), "sr.networks has no key 'other'; known: net"),
        (lambda c: c.update(sr=None), "sr has no key 'networks'"),
        (lambda c: c["sr"]["networks"]["other"].update(rate={1, 2}), "not JSON serializable"),
    ],
)
def test_a_setting_that_is_gone_or_no_json_is_changed_and_no_crash(chain, change, words):
    change(chain.config)
    assert words in chain.reason("apart")


def test_a_changed_input_makes_stale_what_was_made_from_it(stages):
    raw = stages.directory / "raw ü.csv"
    raw.parent.mkdir(parents=True)
    raw.write_text("1")
    stages.add("a", inputs=["raw ü.csv"])
    stages.add("b", inputs=[manifest("a")])
    assert set(stages.states().values()) == {"ok"}
    raw.write_text("2")
    assert stages.states() == {"a": "stale", "b": "stale"}
    assert stages.reason("a") == "input changed: raw ü.csv"
    assert stages.reason("b") == f"input is stale: {manifest('a')}"
    raw.unlink()
    assert stages.reason("a") == "input is gone: raw ü.csv"


def test_a_stage_made_anew_makes_stale_what_was_made_from_the_old_one(chain):
    chain.config["sr"]["networks"]["net"]["rate"] = 0.5
    chain.add("data")
    chain.config["sr"]["networks"]["net"]["rate"] = 0.5
    assert chain.states()["data"] == "ok"
    reasons = chain.findings()["train/seed0"].reasons
    assert f"input changed: {manifest('data')}" in reasons


def test_staleness_passes_on_through_any_file_of_a_folder(stages):
    stages.add("a")
    stages.add("b", inputs=["results/test/a/output ä.txt"], keys={"": "sr.networks.other"})
    stages.config["sr"]["networks"]["net"]["rate"] = 0.5
    assert stages.reason("b") == "input is stale: results/test/a/output ä.txt"


def test_a_manifest_outside_the_results_is_an_input_like_any_other(stages):
    foreign = stages.directory / "data" / MANIFEST
    foreign.parent.mkdir(parents=True)
    foreign.write_text("{}")
    stages.add("a", inputs=[f"data/{MANIFEST}"])
    assert stages.states() == {"a": "ok"}
    foreign.write_text("{ }")
    findings = list(stages.findings().values())
    assert remove_bad(stages.directory, findings) == ["results/test/a"]
    assert foreign.exists()


def test_other_versions_of_the_numeric_stack_make_stale(stages):
    stages.add("a", environment_digest=environment_digest({"torch": "1.0.0"}))
    assert stages.reason("a") == "versions of the numeric stack changed"


# --- what is damaged ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "output ä.txt").write_text("x"), "changed: output ä.txt"),
        (lambda folder: (folder / "output ä.txt").unlink(), "missing: output ä.txt"),
        (lambda folder: (folder / "more").write_text(""), "not listed: more"),
        (lambda folder: (folder / PROVENANCE).unlink(), "missing: provenance.json"),
        (lambda folder: (folder / PROVENANCE).write_text("{}"), "changed: provenance.json"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "manifest.json: not valid JSON"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "not a manifest"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff"), "not valid JSON"),
    ],
)
def test_damage_is_named_and_passes_on(chain, damage, words):
    damage(chain.directory / "results/test/train/seed0")
    states = chain.states()
    assert (states["data"], states["train/seed0"]) == ("ok", "damaged")
    assert states["score"] == "stale"
    assert words in chain.reason("train/seed0")


def test_a_folder_without_a_manifest_is_unfinished_and_not_bad(chain):
    (chain.directory / manifest("train/seed0")).unlink()
    found = chain.findings()
    assert {name: finding.state for name, finding in found.items()} == {
        "apart": "ok",
        "data": "ok",
        "score": "stale",
        "train/seed0": "unfinished",
    }
    assert found["train/seed0"].reasons == ("no manifest.json",)
    assert found["score"].reasons == (f"input is gone: {manifest('train/seed0')}",)
    assert [name for name, finding in found.items() if finding.is_bad] == ["score"]
    assert remove_bad(chain.directory, list(found.values())) == ["results/test/score"]


def test_remains_are_unfinished_whatever_is_in_their_record(chain):
    folder = chain.directory / "results/test/apart"
    (folder / MANIFEST).unlink()
    (folder / PROVENANCE).write_text("{")
    assert chain.states()["apart"] == "unfinished"


def test_what_was_made_from_another_file_of_an_unfinished_folder_is_stale(stages):
    stages.add("a")
    stages.add("b", inputs=["results/test/a/output ä.txt"])
    (stages.directory / manifest("a")).unlink()
    assert stages.reason("b") == "input is unfinished: results/test/a/output ä.txt"


def test_remains_around_a_good_folder_make_nothing_stale(stages):
    stages.add("a/seed0")
    stages.add("b", inputs=[manifest("a/seed0")])
    record = stages.directory / "results/test/a/seed0" / PROVENANCE
    shutil.copy(record, stages.directory / "results/test/a")
    assert stages.states() == {"a": "unfinished", "a/seed0": "ok", "b": "ok"}


@pytest.mark.parametrize(
    ("state", "bad"), [("ok", False), ("unfinished", False), ("stale", True), ("damaged", True)]
)
def test_stale_and_damaged_are_bad(state, bad):
    assert Finding("x", "s", state).is_bad is bad


def test_the_commands_pass_over_what_is_unfinished(chain, monkeypatch, capsys):
    monkeypatch.setattr(module, "load_config", lambda *_, **__: chain.config)
    (chain.directory / manifest("apart")).unlink()
    words = ["verify", "--run", "test", "--directory", str(chain.directory)]
    assert main(words) == OK
    output = capsys.readouterr()
    assert "unfinished results/test/apart\n        no manifest.json\n" in output.out
    assert output.err == "4 folders, 0 not good\n"
    (chain.directory / manifest("data")).unlink()
    assert main(words) == UNVERIFIED


def test_reproduce_says_nothing_of_what_is_unfinished(chain, monkeypatch, capsys):
    monkeypatch.setattr(reproduce_module, "load_config", lambda *_, **__: chain.config)
    monkeypatch.setattr(reproduce_module, "_run", lambda _: 0)
    ended = CompletedProcess([], 0)
    monkeypatch.setattr(reproduce_module.subprocess, "run", lambda *_, **__: ended)
    (chain.directory / manifest("apart")).unlink()
    assert reproduce_module.reproduce("test", directory=chain.directory, dry_run=True) == 0
    assert reproduce_module.reproduce("test", directory=chain.directory) == 0
    assert "made again" not in capsys.readouterr().err
    (chain.directory / manifest("train/seed0")).unlink()
    assert reproduce_module.reproduce("test", directory=chain.directory) == 0
    told = capsys.readouterr().err
    assert "will be made again: results/test/score" in told
    assert told.count("made again") == 1


def test_a_folder_in_the_place_of_a_manifest_is_damage(chain):
    path = chain.directory / manifest("apart")
    path.unlink()
    path.mkdir()
    assert chain.states()["apart"] == "damaged"
    with pytest.raises(FileError, match=r"apart/manifest\.json: a folder where a file belongs"):
        remove_bad(chain.directory, list(chain.findings().values()))


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"stage": "a", "unknown": 1}'])
def test_a_record_that_is_none_is_damage(stages, content):
    folder = stages.add("a")
    shutil.rmtree(folder)
    with atomic_folder(folder) as inside:
        (inside / PROVENANCE).write_text(content)
    assert stages.states() == {"a": "damaged"}
    assert "not a provenance record" in stages.reason("a")


def test_scratch_and_half_written_folders_are_passed_over(chain):
    results = chain.directory / "results/test"
    for hidden in (".scratch/x", ".incomplete-abc"):
        shutil.copytree(results / "data", results / hidden)
        (results / hidden / "output ä.txt").write_text("half")
    assert set(chain.states()) == {"apart", "data", "score", "train/seed0"}
    assert len(stage_folders(results)) == 4


def test_results_below_a_hidden_folder_are_seen(tmp_path, monkeypatch):
    made = Stages(tmp_path / ".scratch" / ".incomplete-run")
    monkeypatch.setattr(module, "project_root", lambda: made.project)
    made.add("a")
    assert made.states() == {"a": "ok"}


@pytest.mark.parametrize("results", ["nothing", "an empty folder", "a file", "another run"])
def test_without_results_verifying_says_what_to_do(stages, results):
    place = stages.directory / "results"
    stages.directory.mkdir()
    if results == "an empty folder":
        (place / "test").mkdir(parents=True)
    elif results == "a file":
        place.write_text("")
    elif results == "another run":
        stages.add("a")
        (place / "test").rename(place / "default")
    with pytest.raises(FileError, match="no results of the run 'test'; run `vismodels reproduce`"):
        verify(stages.directory, "test", stages.config)


# --- data --------------------------------------------------------------------------------------


def acquired(stages, name, root):
    """Write the stage folder of an acquired data set."""
    folder = stages.add(f"data/{name}/acquired")
    found = acquire(name, root)
    write_acquired(found, folder)
    write_scores(folder / SCORES, [found.score])
    record = json.loads((folder / PROVENANCE).read_text())
    shutil.move(folder, folder.with_name("old"))
    with atomic_folder(folder) as inside:
        for file in ("acquired.json", SCORES):
            shutil.copy(folder.with_name("old") / file, inside)
        write_json(inside / PROVENANCE, record)
    shutil.rmtree(folder.with_name("old"))
    return f"data/{name}/acquired"


def photograph(path, level):
    write_png(path, np.full((4, 4, 3), level, dtype=np.uint8))


def test_data_that_changed_makes_stale_what_was_acquired_if_it_is_looked_at(stages, tmp_path):
    root = tmp_path / "Daten"
    photograph(root / "sr" / "Own" / "a.png", 1)
    name = acquired(stages, "Own", root)
    assert stages.states(data_root=root) == {name: "ok"}
    photograph(root / "sr" / "Own" / "a.png", 2)
    assert stages.states() == {name: "ok"}  # not looked at
    assert stages.states(data_root=root) == {name: "stale"}
    assert "data changed: sr/Own: 1 files are not" in stages.reason(name, data_root=root)


def test_data_that_was_taken_away_leaves_its_results_good(stages, tmp_path):
    root = tmp_path / "Daten"
    photograph(root / "sr" / "Own" / "a.png", 1)
    name = acquired(stages, "Own", root)
    shutil.rmtree(root)
    assert stages.states(data_root=root) == {name: "ok"}


# --- having bad results made again -------------------------------------------------------------


def test_removing_takes_the_manifests_of_bad_folders_and_nothing_else(chain):
    (chain.directory / "results/test/train/seed0/output ä.txt").write_text("x")
    before = {path for path, _ in listing(chain.directory)}
    findings = verify(chain.directory, "test", chain.config)
    removed = remove_bad(chain.directory, findings)
    assert removed == ["results/test/train/seed0", "results/test/score"]
    after = {path for path, _ in listing(chain.directory)}
    assert before - after == {str(chain.directory / folder / MANIFEST) for folder in removed}
    assert after <= before
    assert chain.states() == {
        "apart": "ok",
        "data": "ok",
        "score": "unfinished",
        "train/seed0": "unfinished",
    }


def test_removing_twice_does_no_harm(chain):
    (chain.directory / "results/test/apart/output ä.txt").unlink()
    for expected in (["results/test/apart"], []):
        assert remove_bad(chain.directory, list(chain.findings().values())) == expected


def test_removing_nothing_from_good_results(chain):
    before = listing(chain.directory)
    assert remove_bad(chain.directory, list(chain.findings().values())) == []
    assert listing(chain.directory) == before
    assert remove_bad(chain.directory, [Finding("x", "s", "ok")]) == []


# --- reading the configuration -----------------------------------------------------------------


def test_the_configuration_of_every_run_names_it():
    for run in RUNS:
        assert load_config(run)["run"] == run


def test_files_on_top_replace_single_settings(tmp_path):
    base = load_config("test")
    assert load_config("test", methods=["quantnas"])["methods"] == ["quantnas"]
    assert "quantnas" in base["methods"]
    (tmp_path / "a ü.yaml").write_text("super_resolution: {training: {iterations: 7}}")
    (tmp_path / "b.yaml").write_text("super_resolution: {seeds: [5]}")
    config = load_config("test", [tmp_path / "a ü.yaml", tmp_path / "b.yaml"])
    assert config["super_resolution"]["training"]["iterations"] == 7
    assert config["super_resolution"]["seeds"] == [5]
    base["super_resolution"]["training"]["iterations"] = 7
    base["super_resolution"]["seeds"] = [5]
    assert config == base


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [", "cannot be read as YAML"),
        (b"\xff\xfe\xfa", "cannot be read as YAML"),
        (b"- 1", r"expected a mapping of settings, got \[1\]"),
        (b"", "expected a mapping of settings, got None"),
        (b"!!python/object/apply:os.getcwd []", "cannot be read as YAML"),
        (b"run: default", "are those of the run 'default', expected 'test'; name that run"),
    ],
)
def test_a_wrong_file_on_top_is_named(tmp_path, content, words):
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        load_config("test", [path])


def test_an_absent_file_on_top_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ConfigError, match=f"{path}: cannot be read"):
            load_config("test", [path])


def test_an_unknown_run_is_refused():
    with pytest.raises(ConfigError, match=r"tset\.yaml: cannot be read"):
        load_config("tset")
