"""What importing costs, and where imports may stand."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vismodels

PACKAGE = Path(vismodels.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "timm", "monai")
TORCH_FREE = (
    "config", "results", "provenance", "tables", "statistics", "cards", "data.manifest",
    "report.claims", "report.method_files", "data.windows", "nas.genotype", "quantization.spec",
)  # fmt: skip


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def torch_free_modules():
    """Return the modules, with those inside packages, that every plan of the workflow loads."""
    wanted = tuple(f"vismodels.{name}" for name in TORCH_FREE)
    configs = (".config", ".workflow_config")
    names = [module_name(path) for path in FILES]
    return [
        name
        for name in names
        if name in wanted
        or name.startswith(tuple(f"{package}." for package in wanted))
        or (name.startswith("vismodels.methods.") and name.endswith(configs))
    ]


def heavy_after(code):
    """Return the heavy packages that a fresh interpreter has loaded after `code`."""
    code += f"; import sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    return output.stdout.split()


def cpu_seconds(code):
    """Return the CPU seconds that a fresh interpreter needs for `code`, its start left out."""

    def once(text):
        before = os.times()
        subprocess.run([sys.executable, "-c", text], check=True)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])  # user and system time of children

    return min(once(code) for _ in range(3)) - min(once("pass") for _ in range(3))


def test_importing_the_package_loads_nothing_heavy():
    assert heavy_after("import vismodels") == []


def test_importing_the_package_takes_less_than_a_second():
    assert cpu_seconds("import vismodels") < 1


def test_the_check_for_heavy_packages_sees_them():
    assert "torch" in heavy_after("import vismodels.nn.residual_sr")


@pytest.mark.parametrize("module", torch_free_modules())
def test_what_the_workflow_loads_at_every_plan_is_free_of_torch(module):
    assert heavy_after(f"import {module}") == []


def test_every_method_has_a_torch_free_config():
    methods = {path.parent.name for path in FILES if path.parent.parent == PACKAGE / "methods"}
    assert methods
    for method in methods:
        assert f"vismodels.methods.{method}.config" in torch_free_modules()


def test_the_command_line_starts_without_torch():
    assert heavy_after("import vismodels.cli") == []


def test_public_names_are_listed_and_exist():
    assert set(vismodels.__all__) <= set(dir(vismodels))
    for name in vismodels.__all__:
        assert getattr(vismodels, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'creat_model'"):
        vismodels.creat_model  # noqa: B018


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name == "__init__.py" and path.parent != PACKAGE],
    ids=module_name,
)
def test_package_files_below_the_top_hold_a_docstring_only(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def environment_uses(tree):
    """Yield the lines on which code looks at environment variables."""
    for node in ast.walk(tree):
        named = (isinstance(node, ast.Attribute) and node.attr in NAMES) or (
            isinstance(node, ast.alias) and node.name in NAMES
        )
        if named:
            yield node.lineno


NAMES = ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv", "expandvars")


@pytest.mark.parametrize("code", ["import os; os.environ['A']", "from os import getenv"])
def test_the_check_for_environment_variables_sees_them(code):
    assert list(environment_uses(ast.parse(code))) == [1]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_library_reads_no_environment_variable(path):
    assert list(environment_uses(ast.parse(path.read_text(encoding="utf-8")))) == []


def imported_tops(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_opencv_is_imported_in_one_module_only():
    users = {path for path in FILES if "cv2" in imported_tops(ast.parse(path.read_text("utf-8")))}
    assert users == {PACKAGE / "data" / "cv.py"}
