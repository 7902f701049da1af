import ast
import importlib
import re

import pytest


def imports(project):
    text = (project / "README.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ImportFrom):
                yield from ((node.module, alias.name) for alias in node.names)


def test_every_name_that_the_readme_imports_exists(project):
    found = list(imports(project))
    assert len(found) >= 5
    for module, name in found:
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("word", ["reproduce", "test"])
def test_the_two_commands_of_the_readme_are_targets(project, word):
    assert f"make {word} " in (project / "README.md").read_text()
    assert re.search(rf"^{word}:", (project / "Makefile").read_text(), re.MULTILINE)


def test_continuous_integration_calls_the_command_of_the_readme(project):
    assert (project / ".ci/run").read_text().rstrip().endswith("make test")
