import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vismodels import files
from vismodels.cards.archive import safe_extract
from vismodels.files import FileError


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


CONTENT = {"a.txt": b"a" * 700, "ordner ä/b c.bin": bytes(range(256)) * 20}


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def special_tar(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("member")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


def special_zip(mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("member")
        info.external_attr = (mode | 0o644) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def repeated_zip() -> bytes:
    """Return a zip with a.txt twice: written as b.txt, and renamed in place."""
    return zip_of({"a.txt": b"1", "b.txt": b"2"}).replace(b"b.txt", b"a.txt")


def encrypted_zip() -> bytes:
    """Return a zip whose members carry the flag of encryption, in both headers."""
    content = bytearray(zip_of(CONTENT))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(mark, start + 1)) >= 0:
            (flags,) = struct.unpack_from("<H", content, start + offset)
            struct.pack_into("<H", content, start + offset, flags | 1)
    return bytes(content)


@pytest.fixture
def extract(tmp_path: Path) -> Callable[..., Path]:
    """Write bytes as an archive and extract it to `out`; on an error nothing may be left."""

    def run(content: bytes, **limits: float) -> Path:
        archive = tmp_path / "archive"
        archive.write_bytes(content)
        try:
            return safe_extract(archive, tmp_path / "out", **limits)  # type: ignore[arg-type]
        except FileError:
            assert listing(tmp_path) == ["archive"]
            raise

    return run


def compressed(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{name}") as archive:  # type: ignore[call-overload]
        for member, data in CONTENT.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [tar_of(CONTENT), zip_of(CONTENT), compressed("gz"), compressed("bz2"), compressed("xz")],
    ids=["tar", "zip", "gz", "bz2", "xz"],
)
def test_archives_are_extracted_whole(extract: Callable[..., Path], content: bytes) -> None:
    folder = extract(content)
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert listing(folder) == ["a.txt", "ordner ä", "ordner ä/b c.bin"]


def test_folders_in_archives_may_be_listed_before_their_files(
    extract: Callable[..., Path], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a").write_text("a")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(source, arcname=".")
    files.remove_folder(source)
    assert listing(extract(buffer.getvalue())) == ["sub", "sub/a"]


def test_tar_whose_last_member_is_a_zip_is_a_tar(extract: Callable[..., Path]) -> None:
    assert listing(extract(tar_of({"inner.zip": zip_of(CONTENT)}))) == ["inner.zip"]


def test_zip_with_backslashes_gets_folders(extract: Callable[..., Path]) -> None:
    assert listing(extract(zip_of({"sub\\a.txt": b"a"}))) == ["sub", "sub/a.txt"]


UNSAFE = ["../a", "a/../../b", "/a", "..\\a", "C:\\a", "c:a", "\\\\host\\share\\a"]


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("name", UNSAFE)
def test_members_that_leave_the_folder_are_refused(
    extract: Callable[..., Path], make: Callable[[dict[str, bytes]], bytes], name: str
) -> None:
    with pytest.raises(FileError, match=r"unsafe member .* \(leaves the target folder\)"):
        extract(make({"good": b"1", name: b"2"}))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "a", "ä", "C:", "", " "]), min_size=1, max_size=5))
def test_no_name_of_a_member_writes_outside_the_target(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "archive").write_bytes(tar_of({"/".join(parts): b"x"}))
        try:
            safe_extract(root / "archive", root / "out")
        except FileError:
            assert listing(root) == ["archive"]
        assert all(name.split("/")[0] in ("archive", "out") for name in listing(root))


SPECIAL = {
    "symlink": special_tar(tarfile.SYMTYPE),
    "hardlink": special_tar(tarfile.LNKTYPE),
    "character device": special_tar(tarfile.CHRTYPE),
    "block device": special_tar(tarfile.BLKTYPE),
    "fifo": special_tar(tarfile.FIFOTYPE),
    "zip symlink": special_zip(stat.S_IFLNK),
    "zip device": special_zip(stat.S_IFCHR),
    "zip fifo": special_zip(stat.S_IFIFO),
}


@pytest.mark.parametrize("content", SPECIAL.values(), ids=SPECIAL)
def test_links_and_devices_are_refused(extract: Callable[..., Path], content: bytes) -> None:
    with pytest.raises(FileError, match=r"unsafe member 'member' \(a link or a device\)"):
        extract(content)


@pytest.mark.parametrize(
    "content",
    [tar_of({"a.txt": b"1", "./a.txt": b"2"}), repeated_zip()],
    ids=["tar", "zip"],
)
def test_members_that_occur_twice_are_refused(extract: Callable[..., Path], content: bytes) -> None:
    with pytest.raises(FileError, match="occurs twice"):
        extract(content)


def test_file_below_a_file_is_refused(extract: Callable[..., Path]) -> None:
    with pytest.raises(FileError, match="cannot be extracted"):
        extract(tar_of({"a": b"1", "a/b": b"2"}))


def test_encrypted_zip_is_refused(extract: Callable[..., Path]) -> None:
    with pytest.raises(FileError, match=r"unsafe member 'a\.txt' \(encrypted\)"):
        extract(encrypted_zip())


@pytest.mark.parametrize("content", [tar_of({}), zip_of({}), tar_of({}) * 9, b"", b"text" * 999])
def test_archives_without_files_are_refused(extract: Callable[..., Path], content: bytes) -> None:
    with pytest.raises(FileError, match=r"holds no files|damaged, or neither"):
        extract(content)


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_limit_of_members_holds_exactly(
    extract: Callable[..., Path], make: Callable[[dict[str, bytes]], bytes]
) -> None:
    content = make({f"{k}": b"" for k in range(11)})
    with pytest.raises(FileError, match="more than 10 members"):
        extract(content, max_files=10)
    assert len(listing(extract(content, max_files=11))) == 11


def test_bombs_are_refused(extract: Callable[..., Path]) -> None:
    zeros = {"zeros": bytes(5_000_000)}
    for content in (zip_of(zeros), gzip.compress(tar_of(zeros)), bz2.compress(tar_of(zeros))):
        with pytest.raises(FileError, match="unpacks to more than"):
            extract(content)


def test_limit_of_bytes_holds_exactly(extract: Callable[..., Path]) -> None:
    with pytest.raises(FileError, match="unpacks to more than 4999 bytes"):
        extract(zip_of({"a": bytes(5000)}), max_bytes=4999)
    assert listing(extract(zip_of({"a": bytes(5000)}), max_bytes=5000)) == ["a"]


def test_bomb_behind_the_end_mark_is_refused(extract: Callable[..., Path]) -> None:
    with pytest.raises(FileError, match="unpacks to more than"):
        extract(gzip.compress(tar_of({"a": b"1"}) + bytes(5_000_000)))


INTACT = {
    "tar": tar_of(CONTENT),
    "zip": zip_of(CONTENT),
    "gz": compressed("gz"),
    "bz2": compressed("bz2"),
    "xz": compressed("xz"),
}


@pytest.mark.parametrize("name", INTACT)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_archives_that_were_cut_off_are_refused(
    extract: Callable[..., Path], name: str, share: float
) -> None:
    size = len(tar_of(CONTENT).rstrip(b"\0")) if name == "tar" else len(INTACT[name])
    with pytest.raises(FileError, match="damaged"):
        extract(INTACT[name][: int(share * size)])


def test_tar_cut_between_two_members_is_refused(extract: Callable[..., Path]) -> None:
    first_member = 512 + 1024
    with pytest.raises(FileError, match="no end mark"):
        extract(INTACT["tar"][:first_member])


def test_tar_with_a_damaged_second_header_is_refused(extract: Callable[..., Path]) -> None:
    content = bytearray(tar_of({"a": b"a" * 512, "b": b"b"}))
    content[1024 + 10] ^= 0xFF
    with pytest.raises(FileError, match="damaged"):
        extract(bytes(content))


@pytest.mark.parametrize("name", ["zip", "gz", "bz2", "xz"])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_archives_with_a_wrong_byte_are_never_extracted_wrongly(
    extract: Callable[..., Path], name: str, share: float
) -> None:
    content = bytearray(INTACT[name])
    content[int(share * len(content))] ^= 0xFF
    try:
        folder = extract(bytes(content))
    except FileError:
        return  # refused, and nothing is left: the fixture checked
    assert {path: (folder / path).read_bytes() for path in CONTENT} == CONTENT


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_damage_in_the_middle_of_a_long_archive_is_noticed(
    extract: Callable[..., Path], compress: Callable[[bytes], bytes]
) -> None:
    content = bytearray(compress(tar_of({f"{k}": os.urandom(200_000) for k in range(3)})))
    content[len(content) // 2 : len(content) // 2 + 1000] = bytes(1000)
    with pytest.raises(FileError, match="damaged"):
        extract(bytes(content))


def test_wrong_checksum_at_the_end_of_a_gzip_is_noticed(extract: Callable[..., Path]) -> None:
    content = bytearray(gzip.compress(tar_of(CONTENT)))
    content[-6] ^= 0xFF  # the CRC, which tarfile alone never reads
    with pytest.raises(FileError, match=r"damaged archive .*CRC"):
        extract(bytes(content))


def test_full_disk_while_extracting_is_a_clear_error(
    extract: Callable[..., Path], largest_file
) -> None:
    with pytest.raises(FileError, match="File too large"), largest_file(50_000):
        extract(zip_of({"a": bytes(100_000)}))


def test_absent_archive_and_existing_target_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent\.zip: cannot be extracted"):
        safe_extract(tmp_path / "absent.zip", tmp_path / "out")
    (tmp_path / "a.zip").write_bytes(zip_of(CONTENT))
    (tmp_path / "out").mkdir()
    with pytest.raises(FileError, match="exists already; remove it"):
        safe_extract(tmp_path / "a.zip", tmp_path / "out")
    assert listing(tmp_path / "out") == []
