"""The context of the scripts, in a process of its own: it redirects the process's output."""

import json
import os
import subprocess
import sys

import pytest
import torch

from vismodels.files import atomic_folder, read_json

SCRIPT = """
import sys
sys.path.insert(0, {scripts!r})
from script_tools import stage
{imports}
from types import SimpleNamespace
from vismodels.config import Config

class Named(dict):
    def __getattr__(self, name):
        return self[name]

class Inputs(Named):
    def __iter__(self):
        return iter(self.values())

class Settings(Config):
    steps: int

snakemake = SimpleNamespace(
    rule="toy", threads=1, log=["toy.log"], wildcards={{"seed": "3"}},
    input=Inputs({inputs!r}), output=SimpleNamespace(manifest="results/test/toy/manifest.json"),
    resources={{"device": {device!r}}},
    params=Named(config={config!r}, config_keys={{"": "toy"}}, roots=["workflows/scripts/x.py"],
                 code="c0de", environment="e"),
)
with stage(snakemake, Settings) as s:
    print("hello from the stage")
    {body}
"""


@pytest.fixture
def run(project, tmp_path):
    def run(body="pass", imports="", inputs=None, device="cpu", config=None):
        text = SCRIPT.format(
            scripts=str(project / "workflows" / "scripts"),
            body=body,
            imports=imports,
            inputs=inputs or {},
            device=device,
            config=config or {"steps": 2},
        )
        finished = subprocess.run([sys.executable, "-c", text], cwd=tmp_path)
        folder = tmp_path / "results/test/toy"
        return finished.returncode, folder, (tmp_path / "toy.log").read_text()

    return run


def test_a_stage_leaves_one_whole_folder_with_its_provenance(run):
    code, folder, log = run("(s.folder / 'out.txt').write_text(str(s.config.steps)); s.write([])")
    assert code == 0, log
    assert "hello from the stage" in log
    assert (folder / "out.txt").read_text() == "2"
    record = read_json(folder / "provenance.json")
    assert (record["stage"], record["seed"], record["config"]) == ("toy", 3, {"steps": 2})
    listed = read_json(folder / "manifest.json")["files"]
    assert sorted(listed) == ["out.txt", "provenance.json", "scores.json"]
    assert read_json(folder / "run.json")["cpu_seconds"] > 0


def test_a_stage_that_fails_leaves_nothing_and_its_traceback_is_in_the_log(run):
    code, folder, log = run("(s.folder / 'out.txt').write_text('x'); 1 / 0")
    assert code != 0
    assert "ZeroDivisionError" in log
    assert not folder.exists()
    assert list(folder.parent.iterdir()) == []


def test_mistakes_of_the_user_are_told_without_a_traceback(run):
    code, _, log = run(config={"stepz": 2})
    assert code != 0
    assert "toy.stepz: unknown key; did you mean 'steps'?" in log
    assert "Traceback" not in log


def test_a_full_disk_is_told_without_a_traceback(run):
    code, folder, log = run("raise OSError(28, 'No space left on device')")
    assert code != 0
    assert "the disk is full" in log
    assert "Traceback" not in log
    assert not folder.exists()


def test_a_damaged_input_is_refused(run, tmp_path):
    with atomic_folder(tmp_path / "before") as folder:
        (folder / "a.txt").write_text("a")
    inputs = {"before": "before/manifest.json"}
    assert run("assert (s.input['before'] / 'a.txt').read_text() == 'a'", inputs=inputs)[0] == 0
    (tmp_path / "before" / "a.txt").write_text("b")
    code, _, log = run(inputs=inputs)
    assert code != 0
    assert "changed: a.txt" in log


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_demanded_gpu_that_is_absent_stops_the_stage(run):
    code, folder, log = run(imports="import torch", device="cuda")
    assert code != 0
    assert "DeviceError: device 'cuda' was asked for, but this machine has: cpu" in log
    assert not folder.exists()


def test_a_numeric_stage_runs_on_one_thread_with_deterministic_operators(run):
    body = "print([torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()])"
    code, _, log = run(body, imports="import torch")
    assert code == 0, log
    assert json.dumps([1, True]) in log.replace("True", "true")


def test_the_scratch_folder_is_keyed_by_the_settings_and_removed_at_the_end(run):
    body = "s.checkpoint_dir.mkdir(parents=True); print('scratch', s.checkpoint_dir.name)"
    code, folder, first = run(body)
    assert code == 0, first
    assert list((folder.parents[0] / ".scratch").iterdir()) == []
    _, _, second = run(body, config={"steps": 3})

    def scratch(log):
        return next(line for line in log.splitlines() if line.startswith("scratch"))

    assert scratch(first) != scratch(second)


def test_a_job_whose_workflow_is_gone_ends_before_it_does_anything(project, tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    script = "import script_tools; print('went on')"
    finished = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(project / "workflows" / "scripts"),
            "VISMODELS_WORKFLOW_PID": str(gone.pid),
        },
        capture_output=True,
        text=True,
    )
    assert finished.returncode != 0
    assert "went on" not in finished.stdout
    assert "the workflow that started this job is gone" in finished.stderr
