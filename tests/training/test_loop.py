import contextlib
import itertools
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.utils import ModelEmaV3
from torch import nn

from vismodels.checkpoint import load_resume, save_resume
from vismodels.files import TEMPORARY_PREFIX, FileError
from vismodels.training.log import ScalarLog
from vismodels.training.loop import CHECKPOINT, fit, fit_to_milestones, remove_checkpoint, resume
from vismodels.training.state import TrainState

TOTAL = 6


class Stopped(Exception):
    """What ends a run early in these tests."""


class Run:
    """A small training with everything that has a state, built as a stage builds it."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.05)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, TOTAL)
        self.ema = ModelEmaV3(self.model, decay=0.8)
        self.data = torch.Generator().manual_seed(seed + 1)
        self.log, self.validation = ScalarLog(), ScalarLog()
        self.state = TrainState(**vars(self))

    def batches(self):
        while True:
            yield torch.randn(5, 3, generator=self.data)

    def step(self, batch):
        self.optimizer.zero_grad()
        loss = (self.model(batch) - batch.sum(1, keepdim=True)).pow(2).mean()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.ema.update(self.model, step=self.state.iteration)
        return {"loss": loss.item(), "lr": self.scheduler.get_last_lr()[0]}

    def stopping_at(self, iteration):
        def step(batch):
            if self.state.iteration + 1 == iteration:
                raise Stopped
            return self.step(batch)

        return step

    def fit(self, step=None, *, iterations=TOTAL, **options):
        return fit(
            step or self.step,
            self.batches(),
            self.state,
            iterations=iterations,
            log=self.log,
            **options,
        )


def bits(value):
    """Return nested states as something that compares bit for bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()
    if isinstance(value, dict):
        return {key: bits(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(part) for part in value]
    return repr(value)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def uninterrupted():
    return bits(Run().fit().state_dict())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "scratch of été"


# --- one run -----------------------------------------------------------------------------------


def test_each_iteration_takes_one_batch_and_none_is_drawn_ahead():
    drawn = iter(range(100))
    seen = []
    state = fit(lambda batch: seen.append(batch) or {}, drawn, TrainState(), iterations=4)
    assert seen == [0, 1, 2, 3]
    assert next(drawn) == 4
    assert state.iteration == 4


def test_every_iteration_is_logged_once():
    run = Run()
    run.fit()
    assert run.log.iterations == list(range(1, TOTAL + 1))
    assert list(run.log.curves) == ["loss", "lr"]
    assert run.log.curves["lr"][-1] == pytest.approx(0, abs=1e-12)


def test_without_a_folder_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Run().fit()
    assert not list(tmp_path.iterdir())


def test_checkpoints_are_written_at_their_interval_and_at_the_end(monkeypatch, folder):
    written = []

    def spy(path, state):
        written.append(state["iteration"])
        save_resume(path, state)

    monkeypatch.setattr("vismodels.training.loop.save_resume", spy)
    Run().fit(iterations=5, checkpoint_dir=folder, checkpoint_every=2)
    assert written == [2, 4, 5]


@pytest.mark.parametrize("value", [math.nan, math.inf, torch.tensor(-math.inf)])
def test_a_scalar_that_is_not_finite_stops_the_run(value, folder):
    run = Run()

    def step(batch):
        scalars = run.step(batch)
        return {**scalars, "loss": value} if run.state.iteration == 2 else scalars

    with pytest.raises(FloatingPointError, match=rf"loss is {float(value)} at iteration 3"):
        run.fit(step, checkpoint_dir=folder, checkpoint_every=1)
    assert load_resume(folder / CHECKPOINT)["iteration"] == 2


def test_batches_that_end_are_an_error():
    with pytest.raises(ValueError, match="ended after iteration 2 of 3"):
        fit(lambda batch: {}, [1, 2], TrainState(), iterations=3)


def test_a_stop_iteration_inside_the_step_is_not_the_end_of_the_batches():
    with pytest.raises(StopIteration):
        fit(lambda batch: next(iter(())), itertools.count(), TrainState(), iterations=3)


def test_a_log_outside_the_state_is_refused():
    with pytest.raises(ValueError, match="not a part of the state"):
        fit(lambda batch: {}, [1], TrainState(log=ScalarLog()), iterations=1, log=ScalarLog())


def test_an_interval_of_zero_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        fit(lambda batch: {}, [1], TrainState(), iterations=1, checkpoint_every=0)


# --- interruptions -----------------------------------------------------------------------------


def started(folder):
    """A run as a new process builds it: with other bits, where a checkpoint replaces them all."""
    return Run(seed=99 if (folder / CHECKPOINT).exists() else 0)


@settings(deadline=None, max_examples=25)  # synchronizes files with the disk
@given(stops=st.lists(st.integers(1, TOTAL), max_size=3), every=st.integers(1, TOTAL + 1))
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path_factory, uninterrupted, stops, every):
    folder = tmp_path_factory.mktemp("scratch")
    options = {"checkpoint_dir": folder, "checkpoint_every": every}
    for stop in stops:
        run = started(folder)
        with contextlib.suppress(Stopped):
            run.fit(run.stopping_at(stop), **options)
    assert bits(started(folder).fit(**options).state_dict()) == uninterrupted


def test_an_iterator_made_before_the_resume_goes_on_where_the_run_was(folder, uninterrupted):
    first = Run()
    with pytest.raises(Stopped):
        first.fit(first.stopping_at(4), checkpoint_dir=folder, checkpoint_every=2)
    second = Run(seed=9)
    stream = second.batches()
    fit(
        second.step,
        stream,
        second.state,
        iterations=TOTAL,
        checkpoint_dir=folder,
        log=second.log,
    )
    assert bits(second.state.state_dict()) == uninterrupted


def test_a_finished_run_is_not_trained_again(folder, uninterrupted):
    Run().fit(checkpoint_dir=folder)
    again = Run(seed=5)
    again.fit(again.stopping_at(1), checkpoint_dir=folder)
    assert bits(again.state.state_dict()) == uninterrupted


@settings(deadline=None, max_examples=25)  # synchronizes files with the disk
@given(stop=st.integers(1, TOTAL), every=st.integers(1, 4), when=st.sampled_from(["step", "val"]))
def test_validation_at_intervals_survives_an_interruption(tmp_path_factory, stop, every, when):
    def train(run, folder, stop=None):
        def validate():
            if when == "val" and run.state.iteration == stop:
                raise Stopped
            run.model.eval()
            with torch.no_grad():
                value = run.model(torch.ones(1, 3)).item()
            run.model.train()
            return {"value": value}

        step = run.stopping_at(stop) if when == "step" else run.step
        resume(folder, run.state, iterations=TOTAL)
        for until in (2, 4, TOTAL):
            run.fit(step, iterations=until, checkpoint_dir=folder, checkpoint_every=every)
            if until not in run.validation.iterations:
                run.validation.append(until, validate())
        return bits(run.state.state_dict())

    folder = tmp_path_factory.mktemp("scratch")
    expected = train(Run(), tmp_path_factory.mktemp("whole"))
    try:
        found = train(Run(), folder, stop)
    except Stopped:
        found = train(started(folder), folder)
    assert found == expected


def test_a_state_that_is_further_is_left_alone(folder):
    run = Run()
    run.fit(iterations=3, checkpoint_dir=folder)
    run.fit(iterations=5)
    before = bits(run.state.state_dict())
    run.fit(iterations=4, checkpoint_dir=folder)
    assert bits(run.state.state_dict()) == before


def test_a_checkpoint_of_a_longer_run_is_refused(folder):
    Run().fit(iterations=5, checkpoint_dir=folder)
    with pytest.raises(FileError, match=r"longer run, at iteration 5 of at most 4; remove it"):
        Run().fit(iterations=4, checkpoint_dir=folder)


def test_a_checkpoint_of_other_parts_is_refused(folder):
    fit(lambda batch: {}, [1], TrainState(), iterations=1, checkpoint_dir=folder)
    with pytest.raises(FileError, match=r"resume\.pt: state of another training: .*remove it"):
        Run().fit(checkpoint_dir=folder)


def test_a_file_that_is_no_checkpoint_is_refused(folder):
    save_resume(folder / CHECKPOINT, {"w": torch.zeros(1)})
    with pytest.raises(FileError, match="not a checkpoint of a training"):
        Run().fit(checkpoint_dir=folder)


def test_a_damaged_checkpoint_is_refused_not_ignored(folder):
    Run().fit(iterations=2, checkpoint_dir=folder)
    content = (folder / CHECKPOINT).read_bytes()
    (folder / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match=r"resume\.pt: damaged"):
        Run().fit(checkpoint_dir=folder)


def test_removing_takes_the_folder_and_the_leftovers_with_it(folder):
    Run().fit(checkpoint_dir=folder)
    (folder / f"{TEMPORARY_PREFIX}dead.pt").touch()
    remove_checkpoint(folder)
    assert not folder.exists()
    remove_checkpoint(folder)


def test_removing_leaves_the_files_of_others(folder):
    Run().fit(checkpoint_dir=folder)
    (folder / "notes.txt").touch()
    remove_checkpoint(folder)
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]


# --- kills and full disks ----------------------------------------------------------------------

# A process of its own that imports once, trains in forked children and kills them with SIGKILL.
KILLS = """
import os, random, resource, signal, sys, time
from pathlib import Path
import torch
from torch import nn
from vismodels.checkpoint import load_resume, tensor_digest
from vismodels.training.log import ScalarLog
from vismodels.training.loop import fit
from vismodels.training.state import TrainState

torch.set_num_threads(1)
TOTAL, out = 40, Path(sys.argv[1])


def run(folder):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 200), nn.Dropout(0.5), nn.Linear(200, 1))
    optimizer = torch.optim.Adam(model.parameters())
    data, log = torch.Generator().manual_seed(1), ScalarLog()

    def step(batch):
        optimizer.zero_grad()
        loss = model(batch).pow(2).mean()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    batches = iter(lambda: torch.randn(4, 200, generator=data), None)
    state = TrainState(model=model, optimizer=optimizer, data=data, log=log)
    fit(step, batches, state, iterations=TOTAL, checkpoint_dir=folder, checkpoint_every=1, log=log)
    (folder / "digest").write_text(tensor_digest(model))
    log.to_csv(folder / "curves.csv")


def child(folder, before=lambda: None):
    if pid := os.fork():
        return pid
    try:
        before()
        run(folder)
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(1)


def reached(folder):
    path = folder / "resume.pt"
    return load_resume(path)["iteration"] if path.exists() else 0


def result(folder):
    pid = child(folder)
    assert os.waitpid(pid, 0)[1] == 0
    return outputs(folder)


def outputs(folder):
    return (folder / "digest").read_text(), (folder / "curves.csv").read_bytes()


def half_written_in(iteration):
    # Die in the middle of the given write, with half the bytes in the file.
    count, save = [0], torch.save

    def dying(value, path):
        save(value, path)
        count[0] += 1
        if count[0] == iteration:
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = dying


run(out / "whole")  # here, not in a child: PyTorch imports more at its first training step
expected = outputs(out / "whole")
"""
RANDOM_KILLS = """
moments, before = random.Random(0), 0
for _ in range(6):
    pid = child(out / "killed")
    while reached(out / "killed") == before < TOTAL:
        time.sleep(0.001)
    time.sleep(moments.uniform(0, 0.02))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    before = reached(out / "killed")
assert result(out / "killed") == expected
"""
HALF_WRITTEN = """
for write in (1, 3, 2):
    before = reached(out / "killed")
    pid = child(out / "killed", lambda: half_written_in(write))
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert reached(out / "killed") == before + write - 1
    assert len(list((out / "killed").iterdir())) == 1 + (before + write > 1)
assert result(out / "killed") == expected
assert len(list((out / "killed").glob(".*"))) == 0
"""
FULL_DISK = """
def limited():
    # The file of the third checkpoint no longer fits.
    count, save = [0], torch.save

    def filling(value, path):
        count[0] += 1
        if count[0] == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        save(value, path)

    torch.save = filling


pid = child(out / "full", limited)
assert os.waitpid(pid, 0)[1] == 256
assert reached(out / "full") == 2
assert [p.name for p in (out / "full").iterdir()] == ["resume.pt"]
assert result(out / "full") == expected
"""


def run_script(script, folder):
    return subprocess.run(
        [sys.executable, "-c", KILLS + script, folder],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", [RANDOM_KILLS, HALF_WRITTEN], ids=["anywhere", "in a write"])
def test_a_killed_run_ends_with_the_same_bits(script, folder):
    done = run_script(script, folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_full_disk_stops_the_run_and_loses_nothing(folder):
    done = run_script(FULL_DISK, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "FileError" in done.stdout
    assert "resume.pt: cannot be written, is the disk full?" in done.stdout


def test_milestones_are_yielded_in_order_and_again_after_a_resume(tmp_path):
    weight = torch.nn.Linear(1, 1)
    seen = []

    def train(stop_after=None):
        log = ScalarLog()
        state = TrainState(weight=weight, log=log)
        batches = iter(lambda: 1.0, None)
        stretches = fit_to_milestones(
            lambda batch: {"loss": batch},
            batches,
            state,
            iterations=5,
            every=2,
            checkpoint_dir=tmp_path,
            log=log,
        )
        for end in stretches:
            seen.append((end, state.iteration))
            if end == stop_after:
                break
        return log

    train(stop_after=2)
    log = train()
    assert seen == [(2, 2), (2, 2), (4, 4), (5, 5)]
    assert log.iterations == [1, 2, 3, 4, 5]
