from pathlib import Path

import pytest

from vismodels import files
from vismodels.files import FileError


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_project_root_of_a_checkout_holds_the_snakefile() -> None:
    assert (files.project_root() / "Snakefile").is_file()


def test_digest_of_abc_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.file_digest(tmp_path / "abc") == expected


def test_json_has_sorted_keys_and_one_newline_at_the_end(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n "a": "é",\n "b": 1\n}\n'
    assert files.read_json(tmp_path / "a.json") == {"a": "é", "b": 1}


def test_json_refuses_nan_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert listing(tmp_path) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_reading_damaged_json_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileError, match=r"a\.json: not valid JSON"):
        files.read_json(tmp_path / "a.json")


def test_reading_absent_json_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"a\.json: no such file"):
        files.read_json(tmp_path / "a.json")


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "ü x" / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["ü x", "ü x/a.txt"]


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, largest_file) -> None:
    files.write_text(tmp_path / "a.txt", "old")
    with largest_file(1000), pytest.raises(OSError, match="File too large"):
        files.write_text(tmp_path / "a.txt", "x" * 10_000)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert listing(tmp_path) == ["a.txt"]


def test_atomic_folder_replaces_the_old_one_and_lists_its_files(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with files.atomic_folder(tmp_path / "out") as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / f"{text}.txt").write_text(text)
            (folder / files.VOLATILE).write_text("{}")
    assert listing(tmp_path / "out") == ["manifest.json", "run.json", "sub", "sub/new.txt"]
    assert list(files.read_manifest(tmp_path / "out")) == ["sub/new.txt"]
    assert files.check_manifest(tmp_path / "out") == tmp_path / "out"
    assert listing(tmp_path)[0] == "out"


def test_failed_atomic_folder_leaves_the_old_one(tmp_path: Path) -> None:
    with files.atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "out") as folder:
        (folder / "b").write_text("new")
        raise RuntimeError
    assert listing(tmp_path) == ["out", "out/a", "out/manifest.json"]


def test_check_manifest_names_what_is_missing_changed_and_new(tmp_path: Path) -> None:
    with files.atomic_folder(tmp_path / "out") as folder:
        for name in ("a", "b"):
            (folder / name).write_text(name)
    (tmp_path / "out" / "a").unlink()
    (tmp_path / "out" / "b").write_text("x")
    (tmp_path / "out" / "c").write_text("x")
    with pytest.raises(FileError, match=r"missing: a; not listed: c; changed: b \(expected"):
        files.check_manifest(tmp_path / "out" / "manifest.json")


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": 1}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(FileError, match="not a manifest"):
        files.read_manifest(tmp_path)


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{files.TEMPORARY_PREFIX}x" / "sub").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / f"{files.TEMPORARY_PREFIX}y.txt").write_text("half")
    (tmp_path / "kept" / "a.txt").write_text("whole")
    assert len(files.remove_leftovers(tmp_path)) == 2
    assert listing(tmp_path) == ["kept", "kept/a.txt"]


def test_removing_an_absent_folder_does_nothing(tmp_path: Path) -> None:
    files.remove_folder(tmp_path / "absent")
    (tmp_path / "there" / "sub").mkdir(parents=True)
    files.remove_folder(tmp_path / "there")
    assert listing(tmp_path) == []
