"""Files that appear whole or not at all: atomic writes and folder manifests.

Everything the package writes goes to a temporary name in the same folder, is flushed to the disk
and renamed. A folder is complete when it holds a `manifest.json` (file -> sha256).
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
VOLATILE = "run.json"  # times and machine of one run: never part of a manifest or a digest
SCRATCH = ".scratch"  # folder of a run where stages keep what a resume needs
TEMPORARY_PREFIX = ".incomplete-"


class FileError(OSError):
    """A file that is missing, damaged or unsafe; the message names it and says what to do."""


def project_root() -> Path:
    """Return the folder that holds `Snakefile`, `workflows/`, `profiles/` and `data_cards/`.

    In a checkout that is the folder above the package; in an installed wheel, `_project` inside it.
    """
    package = Path(__file__).resolve().parent
    inside = package / "_project"
    return inside if inside.is_dir() else package.parent


# --- digests -----------------------------------------------------------------------------------


def file_digest(path: Path | str) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_text(value: Any) -> str:
    """Return `value` as the JSON text this package writes: sorted keys, one trailing newline."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path | str) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileError: if it is missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(f"{path}: not valid JSON ({error}); delete it and run again") from error


# --- atomic writes -----------------------------------------------------------------------------


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends well.

    The temporary name keeps the suffix, for writers that choose the format by it. After an
    exception nothing is left behind and an older `path` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        _synchronize(temporary)
        temporary.replace(path)
        _synchronize(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as JSON to `path`, whole or not at all.

    Raises:
        ValueError: for NaN or infinity, which JSON has no words for.
    """
    write_text(path, json_text(value))


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; give it a manifest and rename it if all went well.

    A folder already at `path` is replaced. The manifest goes with the rename: whoever sees
    `path/manifest.json` sees everything it lists.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        write_manifest(temporary)
        for file in sorted(temporary.rglob("*")):
            _synchronize(file)
        _synchronize(temporary)
        _replace_folder(temporary, path)
        _synchronize(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_folder(path: Path | str) -> None:
    """Delete a folder with everything in it; nothing happens if there is none."""
    if Path(path).exists():
        shutil.rmtree(path)


def remove_leftovers(root: Path | str) -> list[Path]:
    """Delete temporary files and folders that a killed process left below `root`; return them.

    Only names made by this module are touched. Call it when no stage is running.
    """
    found = sorted(Path(root).rglob(f"{TEMPORARY_PREFIX}*"))
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return found


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of `path`, which `remove_leftovers` knows."""
    # The suffix stays last; the random part keeps two processes apart.
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=TEMPORARY_PREFIX, suffix=path.suffix, delete=True
    ) as handle:
        return Path(handle.name)


def _replace_folder(new: Path, path: Path) -> None:
    if path.is_dir() and any(path.iterdir()):
        old = temporary_beside(path)
        path.rename(old)
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.replace(path)


def _synchronize(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- manifests ---------------------------------------------------------------------------------


def folder_digests(folder: Path | str) -> dict[str, str]:
    """Return relative path -> sha256 of every file in `folder`.

    Hidden files, the manifest and `run.json` do not count.
    """
    folder = Path(folder)
    return {
        file.relative_to(folder).as_posix(): file_digest(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not file.name.startswith(".")  # desktops leave such files anywhere
        and file.relative_to(folder).as_posix() not in (MANIFEST, VOLATILE)
    }


def write_manifest(folder: Path | str) -> None:
    """Write `manifest.json`, which lists the files of `folder` with their sha256."""
    write_json(Path(folder) / MANIFEST, {"files": folder_digests(folder)})


def read_manifest(path: Path | str) -> dict[str, str]:
    """Return relative path -> sha256 as listed in a manifest, without looking at the files.

    Args:
        path: the manifest or the folder that holds it.

    Raises:
        FileError: if it is missing or is no manifest.
    """
    path = _manifest_path(path)
    content = read_json(path)
    files = content.get("files") if isinstance(content, Mapping) else None
    if not isinstance(files, Mapping):
        raise FileError(f"{path}: not a manifest (no 'files'); delete its folder and run again")
    return dict(files)


def check_manifest(path: Path | str) -> Path:
    """Check every file against the manifest and return the folder.

    Args:
        path: the manifest or the folder that holds it.

    Raises:
        FileError: names what is missing, changed or not listed.
    """
    path = _manifest_path(path)
    listed, found = read_manifest(path), folder_digests(path.parent)
    problems = [f"missing: {name}" for name in sorted(listed.keys() - found.keys())]
    problems += [f"not listed: {name}" for name in sorted(found.keys() - listed.keys())]
    problems += [
        f"changed: {name} (expected sha256 {listed[name]}, found {found[name]})"
        for name in sorted(listed.keys() & found.keys())
        if listed[name] != found[name]
    ]
    if problems:
        raise FileError(
            f"{path.parent} does not match its manifest: {'; '.join(problems)}; "
            "remove the folder and run again"
        )
    return path.parent


def _manifest_path(path: Path | str) -> Path:
    path = Path(path)
    return path if path.name == MANIFEST else path / MANIFEST
