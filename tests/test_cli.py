import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vismodels import __version__, cli, doctor
from vismodels import reproduce as reproduce_module
from vismodels import verify as verify_module
from vismodels.cards.find import FileStatus
from vismodels.cards.schema import list_cards, load_card
from vismodels.cli import DATA_MISSING, FAILURE, OK, UNVERIFIED, USAGE, main
from vismodels.doctor import Check
from vismodels.reproduce import BusyError
from vismodels.verify import Finding

PACKAGED = "wheel_photographs"


def run(*words):
    """Return the exit code of the command, usage errors included."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code


def shell(*words, **options):
    command = [sys.executable, "-m", "vismodels.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, **options)


# --- the whole ---------------------------------------------------------------------------------


def test_exit_codes_are_the_documented_ones():
    assert (OK, FAILURE, USAGE, DATA_MISSING, UNVERIFIED) == (0, 1, 2, 3, 4)


def test_version_is_that_of_the_package(capsys):
    assert run("--version") == OK
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["data"],
        ["dta"],
        ["data", "show"],
        ["data", "lst"],
        ["verify", "--run", "tset"],
        ["verify", "more"],
        ["reproduce", "--cores", "0"],
        ["reproduce", "--cores", "-1"],
        ["reproduce", "--cores", "two"],
    ],
)
def test_wrong_usage_exits_with_2_and_shows_the_usage(capsys, words):
    assert run(*words) == USAGE
    output = capsys.readouterr()
    assert output.err.startswith("usage: vismodels")
    assert output.out == ""


ERRORS = [
    (["data", "show", "set55"], USAGE, "there is no data card 'set55'; did you mean 'set5'?"),
    (["data", "check", "../x"], USAGE, "there is no data card '../x'"),
    (["data", "fetch", "set55"], USAGE, "there is no data card 'set55'"),
    (["verify", "--configfile", "absent.yaml"], USAGE, "absent.yaml: cannot be read as YAML"),
    (["reproduce", "--configfile", "absent.yaml"], USAGE, "absent.yaml: cannot be read as YAML"),
    (["reproduce", "--profile", "slrum"], USAGE, "did you mean 'slurm'?"),
    (["data", "fetch", "set5"], DATA_MISSING, "set5: missing data"),
    (["data", "check", "set5"], DATA_MISSING, "set5: missing data"),
    (["verify", "--directory", "ä b"], FAILURE, "no results of the run 'default'; run `vismodels"),
    (["reproduce", "--directory", "a file/x"], FAILURE, "cannot be used as working directory"),
]


@pytest.mark.parametrize(("words", "code", "text"), ERRORS)
def test_an_error_is_told_on_stderr_without_a_traceback(
    capsys, monkeypatch, tmp_path, words, code, text
):
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("")
    assert run(*words) == code
    output = capsys.readouterr()
    assert text in output.err
    assert output.err.startswith("vismodels: ")
    assert "Traceback" not in output.err


def test_debug_shows_the_traceback(tmp_path):
    words = ("verify", "--directory", tmp_path)
    assert "Traceback" not in shell(*words).stderr
    finished = shell("--debug", *words)
    assert finished.returncode == FAILURE
    assert "Traceback" in finished.stderr


def test_an_interrupt_is_told_without_a_traceback(capsys, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupt)
    assert run("doctor") == FAILURE
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_stops_early_is_no_error(unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "vismodels.cli", "data", "show", PACKAGED]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    finished = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment
    )
    os.close(writing)
    assert (finished.returncode, finished.stderr) == (OK, "")


# --- data --------------------------------------------------------------------------------------


def test_list_shows_every_card_and_whether_the_data_is_there(capsys, tmp_path):
    assert run("data", "list", "--data-root", tmp_path) == OK
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == list_cards()
    count = len(load_card(PACKAGED).files) - len(load_card(PACKAGED).exclude)
    assert f"{count} files" in lines[PACKAGED]
    assert " absent " in lines["set5"]
    assert load_card("set5").title in lines["set5"]


def test_list_tells_unreadable_data_from_absent_data(capsys, tmp_path):
    card = load_card("set5")
    for file in card.files:
        path = tmp_path / card.folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / card.folder / "checksums.json").write_text("{")
    assert run("data", "list", "--data-root", tmp_path) == OK
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("set5 "))
    assert " unreadable " in line


@pytest.mark.parametrize("name", list_cards())
def test_show_prints_a_card_as_yaml_that_means_the_same(capsys, name):
    assert run("data", "show", name) == OK
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown == load_card(name).model_dump(mode="json", exclude_defaults=True)


@pytest.mark.parametrize("name", list_cards())
def test_show_prints_a_card_as_croissant(capsys, name):
    assert run("data", "show", name, "--croissant") == OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["@type"] == "sc:Dataset"
    assert shown["name"] == name


def test_check_of_good_data_lists_every_file(capsys, tmp_path):
    assert run("data", "check", PACKAGED, "--data-root", tmp_path) == OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(load_card(PACKAGED).files)
    assert all(line.startswith("ok   ") for line in lines)


def test_check_of_changed_data_shows_both_digests_and_exits_with_4(capsys, tmp_path):
    card = load_card("set5")
    for file in card.files:
        path = tmp_path / card.folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("other")
    assert run("data", "check", "set5", "--data-root", tmp_path) == UNVERIFIED
    line = capsys.readouterr().out.splitlines()[0]
    digest = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"
    assert line.startswith("changed ")
    assert line.endswith(f"expected sha256 {card.files[0].sha256}, found {digest}")


def test_check_of_missing_data_lists_the_files_and_says_how_to_get_them(capsys, tmp_path):
    root = tmp_path / "Daten mit ü"
    assert run("data", "check", "set5", "--data-root", root) == DATA_MISSING
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == len(load_card("set5").files)
    assert output.out.startswith("missing ")
    assert f"expected at: {root / 'sr' / 'Set5'}" in output.err
    assert not root.exists()


def test_check_sees_a_set_that_is_missing_altogether(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("vismodels.cards.find.check", lambda *_: [])  # a card that lists no files
    assert run("data", "check", "set5", "--data-root", tmp_path) == DATA_MISSING


def test_fetch_of_packaged_data_has_nothing_to_do_and_lists_it(capsys, tmp_path):
    assert run("data", "fetch", PACKAGED, "--data-root", tmp_path) == OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(load_card(PACKAGED).files)
    assert all(line.startswith("ok   ") for line in lines)


@pytest.mark.parametrize(("state", "code"), [("unverified", OK), ("changed", UNVERIFIED)])
def test_fetch_reports_every_file(capsys, monkeypatch, state, code):
    states = {"a ü.png": state, "b.png": "ok"}
    statuses = [FileStatus(name, s, Path("/a"), "1" * 64, "2" * 64) for name, s in states.items()]
    monkeypatch.setattr("vismodels.cards.fetch.fetch", lambda *_: statuses)
    assert run("data", "fetch", "x") == code
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{state:12}a ü.png")
    assert second == f"{'ok':12}b.png"


def test_a_file_where_the_data_root_is_expected_is_an_error(capsys, tmp_path):
    (tmp_path / "data").write_text("")
    assert run("data", "check", "set5", "--data-root", tmp_path / "data") == DATA_MISSING
    assert "Traceback" not in capsys.readouterr().err


# --- verify ------------------------------------------------------------------------------------

GOOD = Finding("results/test/a", "train", "ok")
BAD = Finding("results/test/ü", "score", "stale", ("code changed", "input changed: x"))


@pytest.fixture
def findings(monkeypatch):
    """Have `verify` find what the test says, and keep what it was asked."""
    found, asked = [], []

    def verify(*arguments):
        asked.append(arguments)
        return found

    monkeypatch.setattr(verify_module, "verify", verify)
    monkeypatch.setattr(
        verify_module, "remove_bad", lambda directory, which: asked.append((directory, which))
    )
    return found, asked


def test_verify_lists_folders_with_their_reasons_and_exits_with_4_if_one_is_bad(capsys, findings):
    findings[0].extend([GOOD, BAD])
    assert run("verify") == UNVERIFIED
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "ok      results/test/a",
        "stale   results/test/ü",
        "        code changed",
        "        input changed: x",
    ]
    assert output.err == "2 folders, 1 not good\n"


def test_verify_of_good_results_exits_with_0(capsys, findings):
    findings[0].append(GOOD)
    assert run("verify") == OK
    assert capsys.readouterr().err == "1 folders, 0 not good\n"


def test_verify_prints_json_that_holds_everything(capsys, findings):
    findings[0].extend([GOOD, BAD])
    assert run("verify", "--json") == UNVERIFIED
    assert json.loads(capsys.readouterr().out) == [
        {"folder": "results/test/a", "stage": "train", "state": "ok", "reasons": []},
        {
            "folder": "results/test/ü",
            "stage": "score",
            "state": "stale",
            "reasons": ["code changed", "input changed: x"],
        },
    ]


def test_verify_passes_its_options_on(findings, tmp_path):
    findings[0].append(BAD)
    own = tmp_path / "own.yaml"
    own.write_text("super_resolution: {seeds: [9]}")
    (tmp_path / "data").mkdir()
    words = ("--run", "test", "--directory", tmp_path / "ä", "--data-root", tmp_path / "data")
    assert run("verify", *words, "--configfile", own, "--method", "quest") == UNVERIFIED
    ((directory, name, config, data_root),) = findings[1]
    assert (directory, name, data_root) == (tmp_path / "ä", "test", tmp_path / "data")
    assert config["super_resolution"]["seeds"] == [9]
    assert config["methods"] == ["quest"]


def test_bad_results_are_removed_on_demand_only(findings, tmp_path):
    findings[0].append(BAD)
    assert run("verify", "--directory", tmp_path) == UNVERIFIED
    assert len(findings[1]) == 1
    assert run("verify", "--directory", tmp_path, "--remove-bad") == UNVERIFIED
    assert findings[1][-1] == (tmp_path, [BAD])


# --- reproduce and doctor ----------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "code"), [(0, OK), (1, FAILURE), (-9, FAILURE)])
def test_reproduce_passes_its_options_on_and_fails_if_the_workflow_does(
    monkeypatch, tmp_path, engine, code
):
    asked = []

    def reproduce(*arguments, **options):
        asked.append((arguments, options))
        return engine

    monkeypatch.setattr(reproduce_module, "reproduce", reproduce)
    words = ["--run", "test", "--directory", tmp_path, "--cores", 3, "--dry-run"]
    words += ["--configfile", "a.yaml", "--configfile", "b.yaml", "--profile", "slurm"]
    words += ["--method", "quest"]
    assert run("reproduce", *words, "--data-root", tmp_path) == code
    expected = {
        "directory": tmp_path,
        "cores": 3,
        "profile": "slurm",
        "data_root": tmp_path,
        "configfiles": [Path("a.yaml"), Path("b.yaml")],
        "methods": ["quest"],
        "dry_run": True,
    }
    assert asked == [(("test",), expected)]


@pytest.mark.parametrize("verb", ["reproduce", "verify"])
def test_a_mistyped_data_root_is_a_usage_error(capsys, tmp_path, verb):
    assert run(verb, "--data-root", tmp_path / "absent") == USAGE
    assert "absent' is not a folder" in capsys.readouterr().err


def test_a_busy_directory_is_a_failure_that_names_it(capsys, monkeypatch):
    def busy(*_, **__):
        raise BusyError("a workflow is running in /w")

    monkeypatch.setattr(reproduce_module, "reproduce", busy)
    assert run("reproduce") == FAILURE
    assert capsys.readouterr().err == "vismodels: a workflow is running in /w\n"


def test_a_defect_of_the_program_is_not_hidden(monkeypatch):
    def defect(*_, **__):
        raise KeyError("x")

    monkeypatch.setattr(reproduce_module, "reproduce", defect)
    with pytest.raises(KeyError):
        run("reproduce")


@pytest.mark.parametrize(("good", "code"), [(True, OK), (False, FAILURE)])
def test_doctor_prints_every_check_and_fails_if_one_is_bad(capsys, monkeypatch, good, code):
    checks = [Check("python", True, "3.11"), Check("disk", good, "1.0 GB free")]
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    assert run("doctor") == code
    sign = "ok   " if good else "BAD  "
    assert capsys.readouterr().out == f"ok   python: 3.11\n{sign}disk: 1.0 GB free\n"


def test_the_installed_command_is_this_one():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="vismodels")
    assert entry.load() is cli.main
