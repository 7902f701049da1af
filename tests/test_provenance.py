import ast
import subprocess
from pathlib import Path

import pytest

from vismodels.provenance import CodeIndex, environment_digest, git_state

FILES = {
    "vismodels/__init__.py": '__version__ = "1"\n',
    "vismodels/nn/__init__.py": '"""Layers."""\n',
    "vismodels/nn/conv.py": "WIDTH = 3\n\ndef conv():\n    '''Text.'''\n    return WIDTH\n",
    "vismodels/nn/other.py": "DEPTH = 1\n",
    "vismodels/methods/__init__.py": "",
    "vismodels/methods/sr/__init__.py": "",
    "vismodels/methods/sr/train.py": "from ...nn.conv import conv\n",
    "vismodels/methods/sr/score.py": "from vismodels.nn import other\n",
    "workflows/scripts/tools.py": "import json\n",
    "workflows/scripts/train.py": "import tools\nimport vismodels.methods.sr.train\n",
    "workflows/scripts/score.py": "import vismodels.methods.sr.score\n",
    "workflows/tables/sr.yaml": "rows: []\n",
}
TRAIN, SCORE = "workflows/scripts/train.py", "workflows/scripts/score.py"


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def index(project):
    return CodeIndex(project, project / "vismodels")


def prints(project):
    code = index(project)
    return code.fingerprint(TRAIN), code.fingerprint(SCORE)


def edit(project, name, old, new):
    path = project / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_constant_in_a_deep_helper_changes_the_stages_that_reach_it_and_no_other(project):
    train, score = prints(project)
    edit(project, "vismodels/nn/conv.py", "WIDTH = 3", "WIDTH = 4")
    assert prints(project)[0] != train
    assert prints(project)[1] == score


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WIDTH = 3", "WIDTH = 3  # a comment"),
        ("'''Text.'''", "'''Another text.'''"),
        ("    '''Text.'''\n", ""),
        ("return WIDTH", "return (WIDTH\n    )"),
    ],
)
def test_what_does_not_run_does_not_count(project, old, new):
    before = prints(project)
    edit(project, "vismodels/nn/conv.py", old, new)
    assert prints(project) == before


def test_bodies_of_type_checking_do_not_count(project):
    guard = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vismodels.nn import {}\n"
    edit(project, "vismodels/nn/conv.py", "WIDTH = 3", guard.format("other") + "WIDTH = 3")
    before = prints(project)
    assert "vismodels/nn/other.py" not in index(project).reached(TRAIN)
    edit(project, "vismodels/nn/conv.py", "import other", "import nothing")
    assert prints(project) == before


def test_relative_imports_helpers_and_parent_packages_are_reached(project):
    assert list(index(project).reached(TRAIN)) == [
        "vismodels/methods/__init__.py",
        "vismodels/methods/sr/__init__.py",
        "vismodels/methods/sr/train.py",
        "vismodels/nn/__init__.py",
        "vismodels/nn/conv.py",
        "workflows/scripts/tools.py",
        "workflows/scripts/train.py",
    ]


def test_the_version_does_not_count(project):
    before = prints(project)
    edit(project, "vismodels/__init__.py", '"1"', '"2"')
    assert prints(project) == before


def test_other_files_count_by_their_bytes(project):
    before = index(project).fingerprint(TRAIN, "workflows/tables/sr.yaml")
    edit(project, "workflows/tables/sr.yaml", "[]", "[ ]")
    assert index(project).fingerprint(TRAIN, "workflows/tables/sr.yaml") != before


@pytest.mark.parametrize("line", ["from vismodels import find\n", "import vismodels\n"])
def test_imports_that_hide_code_are_refused(project, line):
    edit(project, "vismodels/nn/conv.py", "WIDTH = 3\n", line)
    with pytest.raises(ImportError, match=r"conv\.py: imports .* from the top of vismodels"):
        index(project).fingerprint(TRAIN)


def test_a_missing_root_is_an_error(project):
    with pytest.raises(FileNotFoundError, match="gone"):
        index(project).fingerprint("workflows/scripts/gone.py")


def test_the_folder_of_the_project_does_not_count(project, tmp_path_factory):
    moved = tmp_path_factory.mktemp("mit Leerzeichen und ä") / "copy"
    before = prints(project)
    project.rename(moved)
    assert prints(moved) == before


def test_the_top_of_the_package_holds_only_lazy_names():
    """The fingerprint leaves it out, so nothing in it may change a number."""
    import vismodels

    tree = ast.parse(Path(vismodels.__file__).read_text())
    for node in tree.body:
        assert isinstance(
            node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign | ast.FunctionDef
        )
        if isinstance(node, ast.ImportFrom):
            assert node.module in ("importlib", "typing")
        if isinstance(node, ast.FunctionDef):
            assert node.name in ("__getattr__", "__dir__")


def test_environment_digest_looks_at_minor_versions_only():
    base = environment_digest({"torch": "2.14.1"})
    assert environment_digest({"torch": "2.14.2"}) == base
    assert environment_digest({"torch": "2.15.0"}) != base


def test_git_state_says_commit_and_whether_it_is_dirty(tmp_path):
    assert git_state(tmp_path) is None
    for words in (
        ["init", "-q"],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m", "--allow-empty"],
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    clean = git_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "new").write_text("x")
    assert git_state(tmp_path)["dirty"] is True
