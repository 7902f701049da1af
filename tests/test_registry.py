import subprocess
import sys

import pytest

from vismodels.registry import ARCHITECTURES, Architecture, Registry, register_architecture


@pytest.fixture
def fruits() -> Registry[int]:
    registry: Registry[int] = Registry("fruit")
    for name, value in [("pear", 1), ("apple", 2), ("apple_pie", 3)]:
        registry.register(name, value)
    return registry


def test_an_entry_is_found_under_its_name(fruits):
    assert fruits.get("pear") == 1


def test_register_returns_the_entry_as_function_and_as_decorator():
    registry = Registry("function")

    @registry.register("decorated")
    def decorated() -> None: ...

    assert registry.get("decorated") is decorated
    assert registry.register("plain", decorated) is decorated


def test_names_are_sorted_and_filtered_by_a_shell_pattern(fruits):
    assert fruits.names() == ["apple", "apple_pie", "pear"]
    assert fruits.names("apple*") == ["apple", "apple_pie"]
    assert fruits.names("Apple*") == []


def test_an_unknown_name_suggests_the_nearest(fruits):
    with pytest.raises(KeyError, match="no fruit is called 'aple'; did you mean 'apple'"):
        fruits.get("aple")


def test_an_unknown_name_far_from_all_lists_them(fruits):
    with pytest.raises(KeyError, match="known: apple, apple_pie, pear"):
        fruits.get("zzz")


def test_a_taken_name_is_refused_and_the_first_entry_stays(fruits):
    with pytest.raises(ValueError, match="fruit 'pear' is registered already"):
        fruits.register("pear", 9)
    with pytest.raises(ValueError, match="registered already"):
        fruits.register("pear")(9)
    assert fruits.get("pear") == 1


def test_an_architecture_is_registered_with_its_class_unchanged(monkeypatch):
    monkeypatch.setattr(ARCHITECTURES, "_entries", {})

    class Net: ...

    details = {"task": "segmentation", "input_shape": (1, 8, 8), "source": "nobody 2020"}
    assert register_architecture("net", multiple_of=4, **details)(Net) is Net
    assert ARCHITECTURES.get("net") == Architecture("net", Net, multiple_of=4, **details)


def test_the_registry_does_not_load_torch():
    code = "import sys, vismodels.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
