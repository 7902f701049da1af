import numpy as np
import pytest

from vismodels.data.array_files import read_arrays, read_entries, write_arrays
from vismodels.files import FileError, write_json


@pytest.fixture
def folder(tmp_path):
    """Return two records, and the arrays of each."""
    for name, value in (("b", 2), ("a", 1)):
        np.savez(tmp_path / f"{name}.npz", x=np.full(3, value), allow_pickle=False)
    write_json(tmp_path / "entries.json", [{"name": "b"}, {"name": "a"}])
    return tmp_path


def entries(folder):
    return read_entries(folder, "entries.json", "things", lambda r, a: (r["name"], int(a["x"][0])))


def test_entries_come_in_the_order_of_their_records(folder):
    assert entries(folder) == [("b", 2), ("a", 1)]


def test_all_arrays_are_read_by_name(folder):
    assert read_arrays(folder / "a.npz")["x"].tolist() == [1, 1, 1]


def test_what_is_written_is_read_again(tmp_path):
    arrays = {
        "levels/a": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "b": np.array([0.5, np.nan], np.float32),
        "texts": np.array(["a star", "night"]),
    }
    write_arrays(tmp_path / "arrays.npz", arrays)
    found = read_arrays(tmp_path / "arrays.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_zeros_are_stored_in_little_space(tmp_path):
    write_arrays(tmp_path / "arrays.npz", {"a": np.zeros(100_000)})
    assert (tmp_path / "arrays.npz").stat().st_size < 2_000


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path / "arrays.npz", {"a": np.array([{}])})


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"no archive", None])
def test_damaged_arrays_are_named(folder, content):
    whole = (folder / "a.npz").read_bytes()
    (folder / "a.npz").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(FileError, match=r"a\.npz: damaged .*; run the stage again"):
        read_arrays(folder / "a.npz")
    with pytest.raises(FileError, match=r"damaged things .*run the stage that makes them again"):
        entries(folder)


def test_records_and_arrays_that_lack_something_are_named(folder):
    write_json(folder / "entries.json", [{"title": "a"}])
    with pytest.raises(FileError, match="damaged things"):
        entries(folder)
    write_json(folder / "entries.json", [{"name": "c"}])
    with pytest.raises(FileError, match="damaged things"):
        entries(folder)
