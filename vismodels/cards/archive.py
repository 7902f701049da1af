"""Safe extraction of tar and zip archives that come from outside, whole or not at all."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from vismodels.files import FileError, temporary_beside

# What the standard readers raise for archives that are cut off, corrupted, encrypted or exotic.
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
)


def safe_extract(
    archive: Path | str,
    target: Path | str,
    *,
    max_bytes: int = 64 * 2**30,
    max_files: int = 1_000_000,
    max_ratio: float = 200.0,
) -> Path:
    """Extract a tar or zip archive into the new folder `target`, whole or not at all.

    Members that leave the folder (absolute paths, `..`, drive names), occur twice, or are links,
    devices or encrypted are refused, as are archives that would unpack to more than the limits.

    Args:
        archive: `.tar`, compressed tar or `.zip` file.
        target: folder to create; it must not exist yet.
        max_bytes: limit of the unpacked size in bytes.
        max_files: limit of the number of members.
        max_ratio: limit of unpacked size over archive size (a bomb has thousands).

    Raises:
        FileError: if the archive is damaged, unsafe or over a limit, or the disk refuses to take
            it; nothing is left behind.
    """
    archive, target = Path(archive), Path(target)
    if target.exists() or target.is_symlink():
        raise FileError(f"{target}: exists already; remove it before extracting {archive.name}")
    try:
        limits = _Limits(archive, max_bytes, max_files, max_ratio)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(target)
    except OSError as error:
        raise FileError(f"{archive}: cannot be extracted to {target} ({error})") from error
    try:
        temporary.mkdir()
        _extract(archive, temporary, limits)
        temporary.rename(target)
    except FileError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    except (*_DAMAGED, OSError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise FileError(f"{archive}: cannot be extracted to {target} ({error})") from error
        raise FileError(f"{archive}: damaged archive ({error}); fetch it again") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return target


class _Limits:
    """Counts what an archive unpacks to and refuses what is unsafe or too much."""

    def __init__(self, archive: Path, max_bytes: int, max_files: int, max_ratio: float) -> None:
        self.archive, self.max_files = archive, max_files
        self.max_bytes = min(max_bytes, int(max_ratio * max(archive.stat().st_size, 4096)))
        self.bytes = self.members = 0
        self.files: set[PurePosixPath] = set()

    def path(self, name: str, *, is_file: bool) -> PurePosixPath:
        """Return the path of a member below the target, after all checks of its name."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
            raise self.unsafe(name, "leaves the target folder")
        self.members += 1
        if self.members > self.max_files:
            raise FileError(f"{self.archive}: more than {self.max_files} members; not extracted")
        if is_file:
            if path in self.files or not path.parts:
                raise self.unsafe(name, "occurs twice" if path.parts else "has no name")
            self.files.add(path)
        return path

    def unsafe(self, name: str, reason: str) -> FileError:
        """Return the error for a member that is refused."""
        return FileError(f"{self.archive}: unsafe member {name!r} ({reason}); nothing extracted")

    def copy(self, source: IO[bytes], path: Path) -> None:
        """Write one member."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as sink:
            for chunk in self.chunks(source):
                sink.write(chunk)

    def chunks(self, source: IO[bytes]) -> Iterator[bytes]:
        """Yield what is left of a stream; all of it counts against the limit of bytes."""
        while chunk := source.read(1 << 20):
            self.bytes += len(chunk)
            if self.bytes > self.max_bytes:
                raise FileError(
                    f"{self.archive}: unpacks to more than {self.max_bytes} bytes; not extracted "
                    "(raise the limits on its data card if this is right)"
                )
            yield chunk


def _extract(archive: Path, folder: Path, limits: _Limits) -> None:
    # Tar first: a plain tar whose last member is a zip also looks like a zip.
    if tarfile.is_tarfile(archive):
        _extract_tar(archive, folder, limits)
    elif zipfile.is_zipfile(archive):
        _extract_zip(archive, folder, limits)
    else:
        raise FileError(f"{archive}: damaged, or neither a tar nor a zip archive; fetch it again")
    if not limits.files:
        raise FileError(f"{archive}: holds no files; fetch it again")


def _extract_zip(archive: Path, folder: Path, limits: _Limits) -> None:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            path = folder / limits.path(member.filename, is_file=not member.is_dir())
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise limits.unsafe(member.filename, "a link or a device")
            if member.flag_bits & 1:
                raise limits.unsafe(member.filename, "encrypted")
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            with content.open(member) as source:
                limits.copy(source, path)


def _extract_tar(archive: Path, folder: Path, limits: _Limits) -> None:
    with tarfile.open(archive) as content:
        for member in content:
            path = folder / limits.path(member.name, is_file=not member.isdir())
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            source = content.extractfile(member) if member.isreg() else None
            if source is None:
                raise limits.unsafe(member.name, "a link or a device")
            with source:
                limits.copy(source, path)
        _check_tar_end(content, limits)


def _check_tar_end(content: tarfile.TarFile, limits: _Limits) -> None:
    # tarfile takes a broken header for the end, and leaves a compressor's checksum unread.
    stream = cast(IO[bytes], content.fileobj)
    stream.seek(content.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise FileError(f"{limits.archive}: damaged archive (no end mark); fetch it again")
    for _ in limits.chunks(stream):
        pass
