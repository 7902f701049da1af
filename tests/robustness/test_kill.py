"""Kill, starve and damage a run; then start it again and ask for the same bits."""

import os
import re
import resource
import signal
import subprocess
import time

import psutil
import pytest

ONE = ("--method", "super_resolution")  # the shortest whole run: sets, training, report
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # whole runs, several in one test


def start(project, *words):
    with (project.directory / "killed.log").open("w") as log:
        return subprocess.Popen(
            project.command("-m", "vismodels.cli", "reproduce", "--run", "test", *ONE, *words),
            cwd=project.directory,
            env=project.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def wait_for(condition, process, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "what the test waits for did not happen"
        time.sleep(0.05)


def processes_in(directory):
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        if process.info["cwd"] == str(directory) and process.info["status"] != "zombie":
            found.append(process.pid)
    return [pid for pid in found if pid != os.getpid()]


def assert_no_process_stays(directory, seconds=30):
    """One that had just been started may need some seconds until it notices."""
    end = time.monotonic() + seconds
    while left := processes_in(directory):
        assert time.monotonic() < end, [psutil.Process(pid).cmdline() for pid in left]
        time.sleep(0.1)


def scripts_of(process):
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [c for c in children if ".snakemake/scripts" in " ".join(c.cmdline())]
    except psutil.NoSuchProcess:
        return []


def is_training(process):
    return any("super_resolution_train" in " ".join(c.cmdline()) for c in scripts_of(process))


@pytest.fixture
def fresh(finished, tmp_path):
    """The checkout of the finished run with an empty working directory."""
    return type(finished)(finished.root, tmp_path / "Lauf é")


def assert_same_bits(part, whole):
    found, expected = part.manifests(), whole.manifests()
    assert len(found) > 10
    assert found == {stage: expected[stage] for stage in found}


def assert_no_half_file(project):
    for path in (project.directory / "results").rglob("manifest.json"):
        for name in re.findall(r'"([^"]+)": "[0-9a-f]{64}"', path.read_text()):
            assert (path.parent / name).is_file()


def test_kill_9_leaves_no_job_and_the_next_run_ends_with_the_same_bits(finished, fresh):
    moments = [lambda p: bool(scripts_of(p)), is_training]
    for moment in moments:
        process = start(fresh)
        wait_for(lambda p=process, m=moment: m(p), process)
        process.kill()
        process.wait()
        assert_no_process_stays(fresh.directory)
        assert_no_half_file(fresh)
    output = fresh.vismodels("reproduce", "--run", "test", *ONE)
    assert "removed the lock of a workflow that is no longer running" in output
    assert_same_bits(fresh, finished)
    assert not list((fresh.directory / "results").rglob(".incomplete-*"))


def test_a_live_workflow_keeps_its_lock(fresh):
    process = start(fresh)
    wait_for(lambda: bool(scripts_of(process)), process)
    output = fresh.vismodels("reproduce", "--run", "test", *ONE, expect=1)
    assert re.search("already running|a workflow is running", output)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_full_disk_is_named_and_the_next_run_ends_with_the_same_bits(finished, fresh):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    words = ("reproduce", "--run", "test", *ONE, "--cores", "1")
    output = fresh.vismodels(*words, expect=1, preexec_fn=small_files_only)
    assert re.search(r"disk (is )?full", output), output
    assert_no_half_file(fresh)
    fresh.vismodels("reproduce", "--run", "test", *ONE)
    assert_same_bits(fresh, finished)


def test_bare_snakemake_and_reproduce_agree(finished, fresh, test_overlay):
    fresh.snakemake(*test_overlay(fresh), "--config", "methods=[super_resolution]")
    assert "Nothing to be done" in fresh.vismodels("reproduce", "--run", "test", *ONE)
    assert_same_bits(fresh, finished)


def test_an_unreadable_photograph_is_named(finished, fresh, tmp_path):
    folder = tmp_path / "Daten ö" / "sr" / "mine"
    folder.mkdir(parents=True)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    (fresh.directory / "mine.yaml").write_text("super_resolution: {sets: {train: [mine]}}\n")
    words = (
        *ONE,
        "--run",
        "test",
        "--configfile",
        "mine.yaml",
        "--data-root",
        tmp_path / "Daten ö",
    )
    output = fresh.vismodels("reproduce", *words, expect=1)
    assert re.search(r"broken\.png: .*(damaged|cannot|not)", output), output
    assert "Traceback" not in output


def test_a_crop_larger_than_an_image_is_explained(finished, fresh):
    (fresh.directory / "mine.yaml").write_text("super_resolution: {training: {lr_crop: 500}}\n")
    words = ("reproduce", "--run", "test", *ONE, "--configfile", "mine.yaml")
    output = fresh.vismodels(*words, expect=1)
    assert re.search(r"smaller than the crop of 500x500; set lr_crop to at most \d+", output)
