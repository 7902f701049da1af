"""Run the workflow as `vismodels reproduce` does: safe after any kill, silent when all is done."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from vismodels.config import ConfigError, suggestion
from vismodels.files import SCRATCH, FileError, project_root, remove_folder, remove_leftovers
from vismodels.processes import die_with_parent
from vismodels.verify import Finding, load_config, remove_bad, stage_folders, verify


class BusyError(RuntimeError):
    """Another workflow is running in the same working directory."""


def reproduce(
    run: str,
    *,
    directory: Path,
    cores: int = 2,
    profile: str = "default",
    data_root: Path | None = None,
    configfiles: Sequence[Path] = (),
    methods: Sequence[str] = (),
    dry_run: bool = False,
) -> int:
    """Compute what is missing or out of date and return the exit code of the workflow.

    Before the workflow starts, a lock that a killed one left is removed (never that of a live one
    on this machine, nor another user's), as are half-written files, and stored results are
    verified: what is damaged or stale is made again even if the workflow engine has lost its own
    records.

    Args:
        run: `default`, `test`, `benchmark` or `paper`.
        directory: working directory; `results/` and `logs/` lie in it. Created if needed.
        cores: number of jobs at a time; numbers do not depend on it.
        profile: name of a profile of this project, or a path to one.
        data_root: folder of the data sets, if not `data` in the working directory.
        configfiles: settings on top of the run's own.
        methods: the ones to run and report; none stands for those of the configuration.
        dry_run: only say what would be done; no result, log or lock is touched.

    Raises:
        BusyError: if a workflow is running in `directory`.
        ConfigError: if a configuration file cannot be read, or there is no such profile.
        FileError: if `directory` cannot be used.
    """
    directory = directory.resolve()
    config = load_config(run, configfiles, methods=methods)
    cache = directory / ".snakemake" / "source-cache"
    command = _command(run, directory, cores, profile, data_root, configfiles, methods)
    data = Path(directory, data_root.resolve() if data_root else str(config.get("data_root")))

    def bad() -> list[Finding]:
        if not stage_folders(directory / "results" / run):
            return []
        return [found for found in verify(directory, run, config, data) if found.is_bad]

    if dry_run:
        for finding in bad():
            _say(f"{finding.state}, would be made again: {finding.folder}")
        with TemporaryDirectory() as empty:
            return subprocess.run([*command, *_cached_in(empty), "--dry-run"]).returncode
    with alone(directory):
        _clean_up(directory, run)
        for folder in remove_bad(directory, bad()):
            _say(f"out of date or damaged, will be made again: {folder}")
        remove_folder(cache)  # the engine never refreshes its copies of rules, scripts and settings
        code = _run([*command, *_cached_in(cache)])
        if code == 0:
            remove_folder(directory / "results" / run / SCRATCH)  # of settings since abandoned
    page = directory / "results" / run / "report" / "index.html"
    if code == 0:
        _say(f"the report is at {page}")
    else:
        _say(
            "the workflow stopped with an error (above; each job's log lies under "
            f"{directory / 'logs' / run}); run the same command again to go on from there"
        )
    return code


def _command(
    run: str,
    directory: Path,
    cores: int,
    profile: str,
    data_root: Path | None,
    configfiles: Sequence[Path],
    methods: Sequence[str],
) -> list[str]:
    project = project_root()
    settings = [f"data_root={_quoted(data_root.resolve())}"] if data_root else []
    settings += [f"methods=[{', '.join(methods)}]"] if methods else []
    overlays = [] if run == "default" else [project / "workflows" / "config" / f"{run}.yaml"]
    files = [str(path.resolve()) for path in [*overlays, *configfiles]]
    return [
        *(
            sys.executable,
            "-X",
            "utf8",
            "-m",
            "snakemake",
            "--snakefile",
            str(project / "Snakefile"),
        ),
        *("--directory", str(directory), "--cores", str(cores)),
        *("--workflow-profile", str(_profile(profile))),
        *(("--configfile", *files) if files else ()),
        *(("--config", *settings) if settings else ()),
    ]


def _cached_in(folder: Path | str) -> tuple[str, str]:
    """Return the words that tell the workflow engine where to copy the project's files."""
    return "--runtime-source-cache-path", str(folder)


def _profile(profile: str) -> Path:
    """Return the folder of a profile; the workflow engine passes over one that does not exist."""
    profiles = project_root() / "profiles"
    names = sorted(path.name for path in profiles.iterdir() if path.is_dir())
    path = profiles / profile if profile in names else Path(profile).resolve()
    if not profile or not path.is_dir():
        raise ConfigError(
            f"profile {profile!r} is neither a folder nor a profile of this project"
            f"{suggestion(profile, names)}"
        )
    return path


def _quoted(path: Path) -> str:
    """Return `path` as the workflow engine reads it back whatever is in it (`: `, ` #`, quotes).

    It reads values as YAML, after taking away quotes at the ends; hence the spaces around.
    """
    text = yaml.safe_dump(str(path), default_style='"', width=sys.maxsize)
    return f" {text.strip()} "


def _run(command: Sequence[str]) -> int:
    """Run the workflow engine as a child that is killed when this process dies."""
    child = subprocess.Popen(command, preexec_fn=die_with_parent)
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                _interrupt(child)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(child: "subprocess.Popen[bytes]") -> None:
    """Pass an interrupt on, unless the child got it from the terminal too and is ending."""
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        child.wait(timeout=2)
    if child.poll() is None:
        child.send_signal(signal.SIGINT)


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold a lock on the working directory that the kernel drops with the process.

    Raises:
        BusyError: if somebody holds it, or a workflow is running there.
        FileError: if the directory cannot be used.
    """
    state = directory / ".snakemake"
    try:
        state.mkdir(parents=True, exist_ok=True)
        handle = (state / "reproduce.lock").open("w")
    except OSError as error:
        raise FileError(
            f"{directory}: cannot be used as working directory ({error}); "
            "choose another with --directory, or make room there"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"`vismodels reproduce` is already running in {directory}") from None
        alive = _workflows_in(directory)
        if alive:
            raise BusyError(
                f"a workflow is running in {directory} (process {alive[0]}); "
                "wait for it, or end it, and run again"
            )
        yield


def _clean_up(directory: Path, run: str) -> None:
    locks = [p for p in sorted((directory / ".snakemake" / "locks").glob("*")) if p.is_file()]
    for lock in locks:
        if os.geteuid() not in (0, lock.stat().st_uid):  # the owner's processes are hidden from us
            raise BusyError(f"{lock} belongs to another user; ask whether a workflow is running")
    for lock in locks:
        lock.unlink(missing_ok=True)
    if locks:
        _say("removed the lock of a workflow that is no longer running")
    for path in remove_leftovers(directory / "results" / run):
        _say(f"removed a half-written {path.relative_to(directory)}")


def _workflows_in(directory: Path) -> list[int]:
    """Return the process numbers of live Snakemake processes that work in `directory`.

    A workflow changes to its directory before it takes the lock. One that is still starting says
    on its command line where it will go.
    """
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words, place = process.info["cmdline"] or [], process.info["cwd"]
        programs = {Path(word).name for word in words}
        if process.pid == os.getpid() or not place or "snakemake" not in programs:
            continue
        if not Path(words[0]).name.startswith(("python", "snakemake")):
            continue  # somebody searches for the word
        told = [b for a, b in pairwise(words) if a in ("--directory", "-d")]
        told += [w.removeprefix("--directory=") for w in words if w.startswith("--directory=")]
        if directory in {Path(place, folder).resolve() for folder in ("", *told)}:
            found.append(process.pid)
    return found


def _say(text: str) -> None:
    print(f"vismodels: {text}", file=sys.stderr, flush=True)
