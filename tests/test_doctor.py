import importlib
import os
import shutil

import pytest

from vismodels import doctor
from vismodels.data.cv import SystemLibraryError
from vismodels.doctor import examine


def check(name):
    (found,) = (check for check in examine() if check.name == name)
    return found


def test_this_machine_is_good_and_every_part_is_described():
    checks = examine()
    names = ["machine", "python", "torch and torchvision", "opencv", "library", "workflows", "disk"]
    assert [check.name for check in checks] == names
    assert [check.name for check in checks if not check.good and check.name != "disk"] == []
    assert all(check.text for check in checks)


def test_a_missing_module_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED", ("json", "no_such_module"))
    found = check("library")
    assert not found.good
    assert "ModuleNotFoundError: No module named 'no_such_module'" in found.text


def test_opencv_without_its_system_library_says_what_to_install(monkeypatch):
    def without_libgl():
        raise SystemLibraryError("apt-get install -y libgl1")

    monkeypatch.setattr("vismodels.data.cv.opencv", without_libgl)
    found = check("opencv")
    assert (found.good, "apt-get install -y libgl1" in found.text) == (False, True)


@pytest.mark.parametrize("installed", [[], ["opencv-python", "opencv-python-headless"]])
def test_not_exactly_one_opencv_package_is_bad(monkeypatch, installed):
    class Distribution:
        def __init__(self, name):
            self.metadata = {"Name": name}

    found = [Distribution(name) for name in [*installed, "OpenCV_like", None]]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: found)
    result = check("opencv")
    assert not result.good
    assert f"exactly one OpenCV package must be installed, found {installed}" in result.text


def test_torch_and_torchvision_that_do_not_fit_are_bad(monkeypatch):
    def broken(*_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib.import_module("torchvision.ops"), "nms", broken)
    found = check("torch and torchvision")
    assert (found.good, "nms does not exist" in found.text) == (False, True)


@pytest.mark.parametrize(("free", "good"), [(1.9e9, False), (2.1e9, True)])
def test_a_disk_with_less_than_two_gigabytes_is_bad(monkeypatch, free, good):
    usage = shutil.disk_usage(".")._replace(free=int(free))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = check("disk")
    assert found.good is good
    assert f"{free / 1e9:.1f} GB free in the working directory (needs 2)" in found.text


def test_a_working_directory_that_was_removed_is_a_finding_not_a_crash(monkeypatch, tmp_path):
    place = tmp_path / "gone"
    place.mkdir()
    monkeypatch.chdir(place)
    os.rmdir(place)  # noqa: PTH106
    found = check("disk")
    assert (found.good, found.text.split(":")[0]) == (False, "FileNotFoundError")


def test_examining_changes_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    examine()
    assert list(tmp_path.iterdir()) == []
