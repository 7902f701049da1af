"""Download what a data card describes and what may be downloaded, and verify it. Torch-free."""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin

import requests
from pooch import HTTPDownloader

from vismodels import files
from vismodels.cards.archive import safe_extract
from vismodels.cards.find import (
    CHECKSUMS,
    ChecksumError,
    FileStatus,
    check,
    data_folder,
    missing_data,
    permissions_explained,
    recorded_checksums,
    require_unchanged,
)
from vismodels.cards.schema import UNVERIFIED, CardFile, DataCard, as_card, safe_url
from vismodels.files import FileError

_logger = logging.getLogger(__name__)


def fetch(card: DataCard | str, data_root: Path | str | None = None) -> list[FileStatus]:
    """Download what is missing, verify it, extract archives; return the state of every file.

    A download goes to `<name>.part`, which an interrupted run leaves behind and the next one
    resumes (if the card has the checksum to prove the result right); it is locked meanwhile. Files
    that are there already are verified and kept. The sha256 of a file whose card says `unverified`
    is recorded in `checksums.json` beside it; from then on a different content counts as changed.
    Archives stay beside what was extracted from them.

    Raises:
        DataMissingError: if the data must be got by hand; says how.
        ChecksumError: if a file is not the one of the card; a wrong download is deleted.
        FileError: if a download fails, another fetch of the same file is running, an archive is
            unsafe or the folder cannot be written.
    """
    card = as_card(card)
    if card.access in ("package", "generated"):
        origin = "is part of installed packages" if card.access == "package" else "is generated"
        _logger.info("%s: nothing to fetch, the data %s", card.name, origin)
        return check(card)
    folder = data_folder(card, data_root)
    with permissions_explained(card):
        _download_missing(card, folder, data_root)
        statuses = check(card, data_root)
        require_unchanged(card, statuses)
        if _extract_archives(card, folder):
            statuses = check(card, data_root)
        new = {s.name: s.found for s in statuses if s.status == UNVERIFIED and not s.expected}
        if new:
            files.write_json(folder / CHECKSUMS, {**recorded_checksums(card, data_root), **new})
            _logger.warning("%s: no checksum on the card; recorded %s", card.name, sorted(new))
    return statuses


def _download_missing(card: DataCard, folder: Path, data_root: Path | str | None) -> None:
    wanted = [file for file in card.files if file.path not in card.exclude]
    missing = [file for file in wanted if not (folder / file.path).is_file()]
    by_hand = [file for file in missing if file.url is None or card.access != "open"]
    if by_hand:
        state = f"{len(by_hand)} files cannot be fetched, e.g. {by_hand[0].path}"
        raise missing_data(card, data_root, state)
    for file in missing:
        _download(file, file.url or "", folder / file.path)


def _extract_archives(card: DataCard, folder: Path) -> bool:
    archives = [(file.path, file.archive) for file in card.files if file.archive]
    waiting = [(path, a) for path, a in archives if not (folder / a.into).exists()]
    for path, archive in waiting:
        safe_extract(folder / path, folder / archive.into, **archive.model_dump(exclude={"into"}))
    return bool(waiting)


def _download(file: CardFile, url: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with _locked(part) as stream:
        if file.sha256 == UNVERIFIED:  # nothing could prove that two halves belong together
            stream.seek(0)
            stream.truncate()
        if files.file_digest(part) != file.sha256:
            _stream(url, stream, part)
            stream.flush()
            os.fsync(stream.fileno())
        found, size = files.file_digest(part), part.stat().st_size
        if file.sha256 not in (UNVERIFIED, found) or file.bytes not in (None, size):
            part.unlink()
            raise ChecksumError(
                f"{url}: expected sha256 {file.sha256} ({file.bytes or 'unknown'} bytes), "
                f"got {found} ({size} bytes); the download was deleted: fetch again, and if it "
                "comes again the file at that address is not the one of the data card"
            )
        part.replace(target)


@contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    """Yield `part`, open at its end, as the only fetch that writes, renames or deletes it."""
    with part.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(stream.fileno()), part.stat())
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:  # locked, or renamed or deleted between opening and locking
            raise FileError(
                f"{part}: another fetch of this file is running; wait for its end and run again"
            )
        yield stream


def _stream(url: str, stream: IO[bytes], part: Path) -> None:
    """Append what `url` holds beyond the end of `stream`, or all of it if it must start anew."""
    headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file itself
    if start := stream.tell():
        headers["Range"] = f"bytes={start}-"
    hooks = {"response": _watcher(stream)}
    downloader = HTTPDownloader(chunk_size=1 << 16, headers=headers, hooks=hooks, timeout=60)
    try:
        downloader(url, stream, None)
    except requests.RequestException as error:
        status = error.response.status_code if error.response is not None else None
        if start and status == requests.codes.requested_range_not_satisfiable:
            _stream(url, stream, part)
            return
        raise FileError(
            f"{url}: download failed ({error}); run again, what arrived is kept in {part}"
        ) from error


def _watcher(stream: IO[bytes]) -> Callable[..., None]:
    def watch(response: Any, **_: Any) -> None:
        address = urljoin(response.url, response.headers.get("location", ""))
        try:
            safe_url(address)
        except ValueError as error:
            raise FileError(f"redirected to {address}: {error}; not downloaded") from error
        if response.status_code in (200, 416):  # no part was sent: the stream starts anew
            stream.seek(0)
            stream.truncate()

    return watch
