"""The one context every script runs in: checked inputs, one folder out, provenance at the end."""

import errno
import logging
import os
import platform
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from vismodels import files
from vismodels.config import Config, ConfigError, config_digest, parse_config
from vismodels.device import DeviceError, deterministic, resolve_device
from vismodels.processes import die_with_parent
from vismodels.provenance import (
    PROVENANCE,
    Provenance,
    environment,
    environment_digest,
    git_state,
)
from vismodels.results import SCORES, Score, write_scores
from vismodels.seeding import generator

USER_ERRORS = (files.FileError, ConfigError, DeviceError, FileNotFoundError, PermissionError)
WORKFLOW_PID = "VISMODELS_WORKFLOW_PID"  # set in rules/common.smk, inherited by every job
DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


@dataclass
class Stage:
    """What a script sees.

    `config`: validated. `input`: name -> path, or list of paths; a manifest stands for its checked
    folder. `folder`: where the outputs go; it appears under its final name, whole, when the script
    ends well. `checkpoint_dir`: scratch that survives a kill and is removed at the end.
    `timings`: seconds measured by the script; kept beside the scores, outside every digest.
    """

    config: Any
    input: dict[str, Any]
    wildcards: dict[str, str]
    params: Any
    folder: Path
    checkpoint_dir: Path
    device: Any
    seed: int | None = None
    timings: dict[str, float] = field(default_factory=dict)

    def generator(self, *names: str | int) -> Any:
        """Return the stage's own random stream called `names`; only for rules with a seed."""
        if self.seed is None:
            raise ValueError("this rule has no wildcard `seed`; give it one")
        return generator(self.seed, *names)

    def write(self, scores: Iterable[Score]) -> None:
        """Write the score records of this stage."""
        write_scores(self.folder / SCORES, scores)


@contextmanager
def stage(snakemake: Any, config_class: type[Config]) -> Iterator[Stage]:
    """Run the block as one stage of the workflow; see `Stage` for what it gets."""
    terminal = log_to(snakemake.log[0])
    try:
        yield from _run(snakemake, config_class)
    except OSError as error:
        if _is_disk_full(error):
            message = (
                f"{snakemake.rule}: the disk is full ({error}); nothing half-written was kept: "
                "free some space and run again"
            )
            os.write(terminal, f"{message}\n".encode())  # the log may have no room for it
            sys.exit(message)
        if not isinstance(error, USER_ERRORS):
            raise
        sys.exit(f"{type(error).__name__}: {error}")
    except USER_ERRORS as error:
        sys.exit(f"{type(error).__name__}: {error}")


def _is_disk_full(error: OSError) -> bool:
    return any(getattr(e, "errno", None) in DISK_FULL for e in (error, error.__cause__))


def _run(snakemake: Any, config_class: type[Config]) -> Iterator[Stage]:
    started, clock = datetime.now(UTC), time.perf_counter()
    params, seed = snakemake.params, snakemake.wildcards.get("seed")
    wanted = snakemake.resources.get("device")  # only numeric rules name one
    if wanted not in (None, "cpu"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts
    device = resolve_device(wanted) if wanted else "cpu"
    record = Provenance(
        stage=snakemake.rule,
        roots=list(params.roots),
        code=params.code,
        config_keys=dict(params.config_keys),
        config=params.config,
        config_digest=config_digest(params.config),
        inputs={str(path): files.file_digest(path) for path in snakemake.input},
        environment=environment(),
        environment_digest=environment_digest(environment()),
        seed=None if seed is None else int(seed),
        device=getattr(device, "type", str(device)),
        threads=snakemake.threads,
    )
    final = Path(snakemake.output.manifest).parent
    scratch = _scratch(final, record)
    resumed = scratch.exists()
    strict = getattr(device, "type", None) == "cpu"  # some CUDA operators have no exact version
    with (
        deterministic(snakemake.threads, strict=strict) if wanted else nullcontext(),
        files.atomic_folder(final) as folder,
    ):
        context = Stage(
            config=parse_config(config_class, params.config, _shown(params.config_keys)),
            input=_checked(snakemake.input),
            wildcards=dict(snakemake.wildcards.items()),
            params=params,
            folder=folder,
            checkpoint_dir=scratch,
            device=device,
            seed=record.seed,
        )
        yield context
        files.write_json(folder / PROVENANCE, record.to_dict())
        times = _volatile(started, clock, context.timings) | {"resumed": resumed}
        files.write_json(folder / files.VOLATILE, times)
    files.remove_folder(scratch)


def _shown(keys: dict[str, str]) -> str:
    return " + ".join(keys.values()) if keys else "config"


def _scratch(final: Path, record: Provenance) -> Path:
    """Return the scratch folder of exactly this configuration, code, inputs and seed."""
    run_folder = Path(*final.parts[:2])
    return run_folder / files.SCRATCH / f"{record.stage}-{config_digest(record.to_dict())}"


def _checked(inputs: Any) -> dict[str, Any]:
    def check(path: str) -> Path:
        return files.check_manifest(path) if path.endswith(files.MANIFEST) else Path(path)

    return {
        name: check(value) if isinstance(value, str) else [check(path) for path in value]
        for name, value in inputs.items()
    }


def _volatile(started: datetime, clock: float, timings: dict[str, float]) -> dict[str, Any]:
    used, total = resource.getrusage(resource.RUSAGE_SELF), os.times()
    return {
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round(time.perf_counter() - clock, 2),
        "cpu_seconds": round(sum(total[:4]), 2),
        "peak_memory_mb": round(used.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "git": git_state(files.project_root()),
        "timings": timings,
    }


def log_to(path: str) -> int:
    """Send everything this process prints or logs, C libraries included, to the rule's log.

    Returns what was its standard error.
    """
    terminal = os.dup(sys.stderr.fileno())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    return terminal


def end_with_the_workflow() -> None:
    """End this process with the one that started it; at once, if that one is gone already."""
    die_with_parent()
    workflow = int(os.environ.get(WORKFLOW_PID, os.getppid()))
    if workflow not in {process.pid for process in psutil.Process().parents()}:
        sys.exit("the workflow that started this job is gone")


end_with_the_workflow()  # before the script imports anything heavy
