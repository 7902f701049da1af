import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vismodels import reproduce as module
from vismodels.config import ConfigError
from vismodels.files import MANIFEST, FileError, atomic_folder
from vismodels.provenance import PROVENANCE
from vismodels.reproduce import BusyError, reproduce

SLEEP = "import time; time.sleep(60)"
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="a feature of the Linux kernel")


@pytest.fixture
def place(tmp_path):
    """A working directory with blanks and umlauts in its name."""
    directory = tmp_path / "Arbeit mit ü: #1"
    directory.mkdir()
    return directory


@pytest.fixture
def engine(monkeypatch):
    """Have `reproduce` run Python code in place of the workflow; the code can be set."""

    class Engine:
        code = "pass"

    monkeypatch.setattr(module, "_command", lambda *_: [sys.executable, "-c", Engine.code])
    return Engine


@contextlib.contextmanager
def process(*words, cwd):
    """Run a Python process with these words on its command line until the end of the block."""
    command = [sys.executable, *map(str, words)]
    child = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def lock(directory):
    path = directory / ".snakemake" / "locks" / "0.output.lock"
    path.parent.mkdir(parents=True)
    path.write_text("results/test/x\n")
    return path


def listing(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def damaged_stage(directory):
    """Return the manifest of a stage folder that holds no valid record."""
    with atomic_folder(directory / "results" / "test" / "stage") as folder:
        (folder / PROVENANCE).write_text("{}")
    return directory / "results" / "test" / "stage" / MANIFEST


# --- locks -------------------------------------------------------------------------------------


def test_a_dead_lock_is_removed_and_told(place, engine, capsys):
    path = lock(place)
    assert reproduce("test", directory=place) == 0
    assert not path.exists()
    assert "removed the lock of a workflow that is no longer running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "elsewhere"),
    [
        (["-c", SLEEP, "/venv/bin/snakemake"], False),
        (["-X", "utf8", "-W", "error", "-c", SLEEP, "snakemake", "--cores", "1"], False),
        (["-c", SLEEP, "snakemake", "-d", "{name}"], False),  # it has changed to it meanwhile
        (["-c", SLEEP, "snakemake", "-d", "{name}"], True),
        (["-c", SLEEP, "snakemake", "--directory", "{path}"], True),
        (["-c", SLEEP, "snakemake", "--directory={path}"], True),
    ],
)
def test_a_live_lock_is_never_removed(place, engine, words, elsewhere):
    path, half = lock(place), place / "results" / "test" / ".incomplete-x"
    half.mkdir(parents=True)
    words = [word.format(name=place.name, path=place) for word in words]
    with process(*words, cwd=place.parent if elsewhere else place) as child:
        with pytest.raises(BusyError, match=rf"is running in .* \(process {child.pid}\); wait"):
            reproduce("test", directory=place)
        assert path.exists()
        assert half.exists()
    assert reproduce("test", directory=place) == 0
    assert not path.exists()


def test_a_workflow_elsewhere_or_another_program_here_does_not_count(place, engine, tmp_path):
    path = lock(place)
    with (
        process("-c", SLEEP, "snakemake", cwd=tmp_path),
        process("-c", SLEEP, "snakemake", "-d", place.parent / "other", cwd=tmp_path),
        process("-c", SLEEP, "snakemaker", "x.snakemake.log", cwd=place),
    ):
        assert reproduce("test", directory=place) == 0
    assert not path.exists()


def test_a_working_directory_called_snakemake_is_not_taken_for_the_workflow(tmp_path):
    directory = tmp_path / "snakemake"
    directory.mkdir()
    code = (
        "from pathlib import Path\nimport sys, vismodels.reproduce as r\n"
        "print(r._workflows_in(Path(sys.argv[2])), flush=True)"
    )
    with process("-c", code, "--directory", directory, cwd=directory) as child:
        assert child.stdout.read() == "[]\n"


def test_another_users_lock_is_left_alone(place, engine, monkeypatch):
    path = lock(place)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(BusyError, match=r"0\.output\.lock belongs to another user; ask"):
        reproduce("test", directory=place)
    assert path.exists()


def test_a_second_reproduce_is_refused_until_the_first_one_is_gone_even_by_kill(place, engine):
    code = (
        "import sys, time, pathlib, vismodels.reproduce as r\n"
        "with r.alone(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with process("-c", code, place, cwd=place.parent) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match="`vismodels reproduce` is already running in"):
            reproduce("test", directory=place)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert reproduce("test", directory=place) == 0


def test_two_working_directories_do_not_wait_for_each_other(place, engine, tmp_path):
    with module.alone(place):
        assert reproduce("test", directory=tmp_path / "other") == 0


# --- what is cleaned up before the workflow starts ---------------------------------------------


def test_half_written_files_of_this_run_are_removed_and_told(place, engine, capsys):
    for run in ("test", "default"):
        (place / "results" / run / "a" / ".incomplete-folder").mkdir(parents=True)
        (place / "results" / run / "a" / ".incomplete-folder" / "x").write_text("half")
        (place / "results" / run / "a" / ".incomplete-file.json").write_text("{")
        (place / "results" / run / "a" / "whole.json").write_text("{}")
    assert reproduce("test", directory=place) == 0
    assert [path.name for path in (place / "results/test/a").iterdir()] == ["whole.json"]
    assert len(list((place / "results/default/a").iterdir())) == 3
    told = capsys.readouterr().err
    assert "removed a half-written results/test/a/.incomplete-folder" in told
    assert "removed a half-written results/test/a/.incomplete-file.json" in told


def test_bad_results_lose_their_manifest_before_the_workflow_starts(place, engine, capsys):
    manifest = damaged_stage(place)
    engine.code = f"import os, sys; sys.exit(os.path.exists({str(manifest)!r}))"
    assert reproduce("test", directory=place) == 0
    assert (manifest.parent / PROVENANCE).exists()
    told = capsys.readouterr().err
    assert "out of date or damaged, will be made again: results/test/stage" in told


@pytest.mark.parametrize("root", ["told", "configured"])
def test_stored_data_is_compared_with_the_data_root(place, engine, monkeypatch, tmp_path, root):
    seen = []
    monkeypatch.setattr(module, "verify", lambda *arguments: seen.append(arguments[-1]) or [])
    damaged_stage(place)
    told = tmp_path / "Daten" if root == "told" else None
    assert reproduce("test", directory=place, data_root=told) == 0
    assert seen == [told or place / "data"]


# --- a dry run ---------------------------------------------------------------------------------


def test_a_dry_run_touches_neither_results_nor_locks_and_says_what_is_bad(place, engine, capsys):
    lock(place)
    damaged_stage(place)
    (place / "results/test/.incomplete-x").write_text("half")
    engine.code = "import sys; sys.exit(0 if sys.argv[-1] == '--dry-run' else 9)"
    before = listing(place)
    assert reproduce("test", directory=place, dry_run=True) == 0
    assert listing(place) == before
    assert "damaged, would be made again: results/test/stage" in capsys.readouterr().err


def test_a_dry_run_does_not_create_the_working_directory(tmp_path, engine):
    assert reproduce("test", directory=tmp_path / "new", dry_run=True) == 0
    assert not (tmp_path / "new").exists()


def test_a_dry_run_is_possible_while_a_workflow_runs(place, engine):
    with module.alone(place), process("-c", SLEEP, "snakemake", cwd=place):
        assert reproduce("test", directory=place, dry_run=True) == 0


def test_the_workflow_plans_with_a_data_root_of_any_name(place, capfd):
    root = place / 'Daten "ä": #1'
    (root / "sr" / "Set14").mkdir(parents=True)
    assert reproduce("test", directory=place / "new", data_root=root, dry_run=True) == 0
    assert "results/test/data/set14/acquired/manifest.json" in "".join(capfd.readouterr())
    assert not (place / "new" / "results").exists()


# --- the command -------------------------------------------------------------------------------


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
@example(name="1e5")
@example(name="a: b")
@example(name="a #b")
@example(name="'a'")
@example(name='"a" ')
@example(name="{a} \\n\t= - [b]")
def test_the_workflow_reads_any_path_back(name):
    from snakemake.cli import parse_config

    path = Path("/", name)
    assert parse_config([f"data_root={module._quoted(path)}"]) == {"data_root": str(path)}


def command(**changes):
    settings = {
        "run": "test",
        "directory": Path("/w"),
        "cores": 3,
        "profile": "default",
        "data_root": None,
        "configfiles": (),
        "methods": (),
        **changes,
    }
    return module._command(*settings.values())


def after(words, option):
    return words[words.index(option) + 1]


def test_the_command_names_snakefile_directory_cores_profile_and_overlays(project, tmp_path):
    words = command(configfiles=[tmp_path / "own ü.yaml"])
    assert words[:5] == [sys.executable, "-X", "utf8", "-m", "snakemake"]
    assert after(words, "--snakefile") == str(project / "Snakefile")
    assert (after(words, "--directory"), after(words, "--cores")) == ("/w", "3")
    assert after(words, "--workflow-profile") == str(project / "profiles" / "default")
    start = words.index("--configfile")
    overlay = project / "workflows" / "config" / "test.yaml"
    assert words[start + 1 : start + 3] == [str(overlay), str(tmp_path / "own ü.yaml")]
    assert "--config" not in words
    assert "--configfile" not in command(run="default")


def test_the_command_names_the_methods_and_the_data(tmp_path):
    words = command(methods=["quantnas", "nafdpm"], data_root=tmp_path)
    start = words.index("--config")
    assert words[start + 2 :] == ["methods=[quantnas, nafdpm]"]
    assert words[start + 1].startswith("data_root=")


def test_a_profile_may_be_a_folder(tmp_path):
    assert after(command(profile=str(tmp_path)), "--workflow-profile") == str(tmp_path)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("slrum", "'slrum' is neither a folder nor a profile.*did you mean 'slurm'"),
        ("", "'' is neither a folder nor a profile.*known: default, kubernetes, slurm"),
        ("/no/such/folder", "is neither a folder nor a profile"),
    ],
)
def test_a_profile_that_does_not_exist_is_refused(profile, words):
    with pytest.raises(ConfigError, match=words):
        command(profile=profile)


# --- what is refused and told ------------------------------------------------------------------


@pytest.mark.parametrize("blocked", ["", ".snakemake", ".snakemake/reproduce.lock"])
def test_a_working_directory_that_cannot_be_used_is_named(tmp_path, engine, blocked):
    directory = tmp_path / "work"
    path = directory / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    if blocked.endswith(".lock"):
        path.mkdir()
    else:
        path.write_text("a file where a folder is expected")
    with pytest.raises(FileError, match=r"work: cannot be used as working directory .*choose"):
        reproduce("test", directory=directory)


def test_a_wrong_configuration_is_refused_before_anything_is_made(tmp_path, engine):
    (tmp_path / "own.yaml").write_text("run: default")
    with pytest.raises(ConfigError, match="are those of the run 'default', expected 'test'"):
        reproduce("test", directory=tmp_path / "new", configfiles=[tmp_path / "own.yaml"])
    assert not (tmp_path / "new").exists()


def test_success_says_where_the_report_is(place, engine, capsys):
    assert reproduce("test", directory=place) == 0
    page = place / "results" / "test" / "report" / "index.html"
    assert f"the report is at {page}" in capsys.readouterr().err


def test_failure_says_where_the_logs_are_and_returns_the_code(place, engine, capsys):
    engine.code = "import sys; sys.exit(3)"
    assert reproduce("test", directory=place) == 3
    told = capsys.readouterr().err
    assert f"each job's log lies under {place / 'logs' / 'test'}" in told
    assert "the report is at" not in told


# --- signals -----------------------------------------------------------------------------------

RUN = "import sys, vismodels.reproduce as r; sys.exit(abs(r._run([sys.executable, '-c', {!r}])))"
TELL = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


@only_linux
def test_the_workflow_is_killed_when_its_parent_is_killed(tmp_path):
    with process("-c", RUN.format(TELL), cwd=tmp_path) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        psutil.wait_procs([child], timeout=10)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_termination_is_passed_on_to_the_workflow(tmp_path):
    with process("-c", RUN.format(TELL), cwd=tmp_path) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.terminate()
        assert parent.wait(timeout=10) == signal.SIGTERM
        assert not child.is_running()


def test_an_interrupt_waits_for_the_workflow_to_end_by_itself(tmp_path):
    code = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "print('ready', flush=True); time.sleep(1); print('ended', flush=True)"
    )
    with process("-c", RUN.format(code), cwd=tmp_path) as parent:
        assert parent.stdout.readline() == "ready\n"
        parent.send_signal(signal.SIGINT)
        assert parent.stdout.readline() == "ended\n"
        assert parent.wait(timeout=10) == 0


def test_signal_handlers_are_as_before(place, engine):
    before = signal.getsignal(signal.SIGTERM)
    reproduce("test", directory=place)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_engine_never_sees_copies_of_older_rules_and_settings(place, engine):
    copies = place / ".snakemake" / "source-cache"
    copies.mkdir(parents=True)
    (copies / "default.yaml").write_text("old")
    engine.code = (
        "import pathlib, sys; sys.exit(pathlib.Path(sys.argv[2], 'default.yaml').exists())"
    )
    assert reproduce("test", directory=place) == 0
    assert not copies.exists()


def test_a_dry_run_neither_uses_nor_removes_older_copies(place, engine):
    copies = place / ".snakemake" / "source-cache"
    copies.mkdir(parents=True)
    (copies / "default.yaml").write_text("old")
    engine.code = (
        "import pathlib, sys; sys.exit(pathlib.Path(sys.argv[2], 'default.yaml').exists())"
    )
    assert reproduce("test", directory=place, dry_run=True) == 0
    assert (copies / "default.yaml").read_text() == "old"
