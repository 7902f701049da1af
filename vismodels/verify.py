"""Judge stored results without any metadata of the workflow engine.

Every stage folder carries its provenance. A folder is stale when the code it reached, its section
of the configuration, one of its inputs, the data it was acquired from or the versions of the
numeric stack are no longer what they were, or when a folder it was made from is stale itself. A
folder without a manifest is unfinished: no stage reads it, and who needs it makes it again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vismodels.cards.find import DataMissingError
from vismodels.config import ConfigError, compose, config_digest, merged
from vismodels.data.manifest import ACQUIRED, locate, read_acquired, refuse_changed
from vismodels.files import (
    MANIFEST,
    SCRATCH,
    TEMPORARY_PREFIX,
    FileError,
    check_manifest,
    file_digest,
    project_root,
    read_json,
)
from vismodels.provenance import (
    PROVENANCE,
    CodeIndex,
    Provenance,
    environment,
    environment_digest,
)
from vismodels.results import SCORES, read_scores

RUNS = ("default", "test", "benchmark", "paper")


@dataclass(frozen=True)
class Finding:
    """The state of one stage folder: `ok`, `stale`, `damaged` or `unfinished`, with the reasons."""

    folder: str
    stage: str
    state: str
    reasons: tuple[str, ...] = ()

    @property
    def is_bad(self) -> bool:
        """Whether the folder passes for a result that it is not: `stale` or `damaged`."""
        return self.state not in ("ok", "unfinished")


def load_config(
    run: str,
    extra: Sequence[Path] = (),
    project: Path | None = None,
    methods: Sequence[str] = (),
) -> Any:
    """Return the configuration of a run: the default, its overlay, then further files on top.

    Args:
        run: name of the run.
        extra: files on top of its own.
        project: the checkout, if not this one.
        methods: in place of those that the files name.

    Raises:
        ConfigError: if a file is missing or is not a YAML mapping, or if the files on top turn the
            configuration into that of another run.
    """
    folder = (project or project_root()) / "workflows" / "config"
    overlays = [] if run == "default" else [folder / f"{run}.yaml"]
    config: dict[str, Any] = {}
    for path in [folder / "default.yaml", *overlays, *extra]:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read as YAML ({error})") from error
        if not isinstance(content, Mapping):
            raise ConfigError(f"{path}: expected a mapping of settings, got {content!r}")
        config = merged(config, content)
    if methods:
        config["methods"] = list(methods)
    if config.get("run") != run:
        raise ConfigError(
            f"the settings are those of the run {config.get('run')!r}, expected {run!r}; "
            "name that run (--run), or leave the key `run` out of your own files"
        )
    return config


def stage_folders(results: Path) -> list[Path]:
    """Return the folders below `results` that hold a finished stage or remains of one."""
    names = (MANIFEST, PROVENANCE)
    found = {path.parent for name in names for path in results.rglob(name)}
    hidden = (SCRATCH, TEMPORARY_PREFIX)
    return sorted(
        folder
        for folder in found
        if not any(part.startswith(hidden) for part in folder.relative_to(results).parts)
    )


def maker(path: Path, folders: Collection[Path]) -> Path | None:
    """Return the stage folder among `folders` that a file belongs to, None if it is in none."""
    return next((parent for parent in path.parents if parent in folders), None)


def verify(
    directory: Path, run: str, config: Mapping[str, Any], data_root: Path | None = None
) -> list[Finding]:
    """Return one finding for each stage folder under `directory/results/run`, inputs first.

    Args:
        directory: working directory of the workflow.
        run: name of the run.
        config: its whole configuration as it stands now.
        data_root: folder of the data sets: those that are there are read and compared with what
            was acquired. None: the data is not looked at.

    Raises:
        FileError: if there are no results of this run.
    """
    results = directory / "results" / run
    folders = stage_folders(results)
    if not folders:
        raise FileError(f"{results}: no results of the run {run!r}; run `vismodels reproduce`")
    judge = _Judge(directory, folders, config, data_root)
    for folder in folders:
        judge.finding(folder)
    return list(judge.findings.values())


class _Judge:
    def __init__(
        self,
        directory: Path,
        folders: Sequence[Path],
        config: Mapping[str, Any],
        data_root: Path | None,
    ) -> None:
        self.directory, self.folders, self.config = directory, set(folders), config
        self.data_root = data_root
        self.code = CodeIndex(project_root(), Path(__file__).resolve().parent)
        self.environment = environment_digest(environment())
        self.findings: dict[Path, Finding] = {}

    def finding(self, folder: Path) -> Finding:
        if folder not in self.findings:
            finding = self._examine(folder)
            self.findings[folder] = finding
        return self.findings[folder]

    def _examine(self, folder: Path) -> Finding:
        name = folder.relative_to(self.directory).as_posix()
        if not (folder / MANIFEST).exists():
            return Finding(name, "unknown", "unfinished", (f"no {MANIFEST}",))
        try:
            check_manifest(folder)
            record = Provenance.from_dict(read_json(folder / PROVENANCE))
        except (OSError, ValueError) as error:
            return Finding(name, "unknown", "damaged", (str(error),))
        reasons = [
            *self._own_reasons(record),
            *self._input_reasons(record),
            *self._data_reasons(folder),
        ]
        return Finding(name, record.stage, "stale" if reasons else "ok", tuple(reasons))

    def _own_reasons(self, record: Provenance) -> list[str]:
        reasons = []
        try:
            code = self.code.fingerprint(*record.roots)
        except (OSError, SyntaxError, ImportError, ValueError) as error:
            code = f"unreadable: {error}"
        if code != record.code:
            reasons.append(f"code changed ({record.code} -> {code})")
        try:
            digest = config_digest(compose(self.config, record.config_keys))
        except (TypeError, ValueError) as error:  # no such key, or a value JSON has no words for
            digest = str(error)
        if digest != record.config_digest:
            keys = ", ".join(record.config_keys.values())
            reasons.append(f"configuration changed at {keys} ({record.config_digest} -> {digest})")
        if self.environment != record.environment_digest:
            reasons.append("versions of the numeric stack changed")
        return reasons

    def _input_reasons(self, record: Provenance) -> list[str]:
        reasons = []
        for name, digest in record.inputs.items():
            path = self.directory / name
            if not path.is_file():
                reasons.append(f"input is gone: {name}")
            elif file_digest(path) != digest:
                reasons.append(f"input changed: {name}")
            elif folder := maker(path, self.folders):
                state = self.finding(folder).state
                reasons += [] if state == "ok" else [f"input is {state}: {name}"]
        return reasons

    def _data_reasons(self, folder: Path) -> list[str]:
        if self.data_root is None or not (folder / ACQUIRED).is_file():
            return []
        try:
            _, items = read_acquired(folder)
            for score in read_scores(folder / SCORES):
                refuse_changed(locate(score.variant, self.data_root), items)
        except DataMissingError:
            return []  # data that was taken away does not make its results wrong
        except (OSError, ValueError) as error:
            return [f"data changed: {error}"]
        return []


def remove_bad(directory: Path, findings: Sequence[Finding]) -> list[str]:
    """Take away the manifest of every bad folder, so that it is made again if it is needed.

    The other files stay until the stage replaces the folder. Returns the folders' names.

    Raises:
        FileError: if there is something that it must not delete in the place of a manifest.
    """
    bad = [finding.folder for finding in findings if finding.is_bad]
    for folder in bad:
        manifest = directory / folder / MANIFEST
        if manifest.is_dir():
            raise FileError(f"{manifest}: a folder where a file belongs; remove it")
        manifest.unlink(missing_ok=True)
    return bad
