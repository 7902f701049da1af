"""Where a result comes from: the fingerprint of the code it reached, and the record it carries.

Standard library only. The rules call this module each time they plan, and `vismodels verify` calls
it to judge results without any metadata of the workflow engine.
"""

import ast
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROVENANCE = "provenance.json"

NUMERIC_STACK = (
    "accelerate", "diffusers", "matplotlib", "monai", "nibabel", "nilearn", "numpy",
    "opencv-python", "pillow", "safetensors", "scikit-image", "scikit-learn", "scipy", "timm",
    "tokenizers", "torch", "torchvision", "transformers",
)  # fmt: skip


_HIDES = (
    "{path}: imports {name} from the top of vismodels, which hides the code it reaches; "
    "import from the module that defines it"
)


@dataclass(frozen=True)
class Provenance:
    """What a stage's outputs depend on; equal for two runs that must give equal bytes.

    Args:
        stage: name of the stage.
        roots: files whose reachable code was hashed, relative to the project's root.
        code: fingerprint of that code.
        config_keys: where the configuration stands: dotted key of each of its parts ("" for all).
        config: the configuration of the stage.
        config_digest: digest of `config`.
        inputs: path of each input relative to the working directory -> sha256.
        environment: package -> version, of the numeric stack.
        environment_digest: digest of the versions up to the minor number.
        seed: seed of the run, None where no randomness is involved.
        device: `cpu`, `cuda`, ...
        threads: number of threads of the numeric libraries.
    """

    stage: str
    roots: Sequence[str]
    code: str
    config_keys: Mapping[str, str]
    config: Any
    config_digest: str
    inputs: Mapping[str, str]
    environment: Mapping[str, str]
    environment_digest: str
    seed: int | None = None
    device: str = "cpu"
    threads: int = 1
    schema: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Provenance":
        """Return the record read from JSON.

        Raises:
            ValueError: if keys are missing or unknown, or the record is of another version.
        """
        try:
            made = cls(**record)
        except TypeError as error:
            raise ValueError(f"not a provenance record ({error}); run the stage again") from error
        mappings = (made.inputs, made.config_keys, made.environment)
        roots_are_names = isinstance(made.roots, Sequence) and all(
            isinstance(root, str) for root in made.roots
        )
        are_mappings = all(isinstance(part, Mapping) for part in mappings)
        if made.schema != cls.schema or not (roots_are_names and are_mappings):
            raise ValueError("a provenance record of another version; run the stage again")
        return made


class CodeIndex:
    """Fingerprints of first-party code; each file is parsed once in the life of the index.

    Args:
        project: folder of `Snakefile` and `workflows/`; roots are given relative to it.
        package: folder of the `vismodels` package; roots that begin so are looked up in it.
    """

    def __init__(self, project: Path, package: Path) -> None:
        self.project, self.package = project, package
        self._parsed: dict[Path, tuple[str, list[Path]]] = {}

    def fingerprint(self, *roots: str) -> str:
        """Return 16 hex digits over all first-party code that the `roots` reach by imports.

        Comments, docstrings, formatting and `TYPE_CHECKING` bodies do not count. A root that is
        not a Python file counts by its bytes. The top `vismodels/__init__.py` does not count: it
        holds the version and lazily resolved names only.

        Raises:
            FileNotFoundError: if a root does not exist.
            SyntaxError: if reached code cannot be parsed.
        """
        lines = [f"{name} {self._parse(path)[0]}" for name, path in self.reached(*roots).items()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def reached(self, *roots: str) -> dict[str, Path]:
        """Return name -> path of every file that the `roots` reach, sorted by name."""
        waiting = [self._root(root) for root in roots]
        found: dict[str, Path] = {}
        while waiting:
            path = waiting.pop()
            name = self._name(path)
            if name not in found:
                found[name] = path
                waiting += self._parse(path)[1]
        return dict(sorted(found.items()))

    def _root(self, root: str) -> Path:
        inside = root.startswith("vismodels/")
        return self.package.joinpath(*Path(root).parts[1:]) if inside else self.project / root

    def _name(self, path: Path) -> str:
        if self._in_package(path):
            return f"vismodels/{path.relative_to(self.package).as_posix()}"
        return path.relative_to(self.project).as_posix()

    def _in_package(self, path: Path) -> bool:
        # In an installed wheel the project's own files lie in `_project`, inside the package.
        below = path.is_relative_to(self.package)
        return below and not path.is_relative_to(self.package / "_project")

    def _parse(self, path: Path) -> tuple[str, list[Path]]:
        """Return the hash of the file's code and the first-party files it imports."""
        if path not in self._parsed:
            content = path.read_bytes()
            if path.suffix == ".py":
                tree = _strip(ast.parse(content, filename=str(path)))
                content = ast.dump(tree).encode()
                imported = sorted({file for file in self._imports(tree, path) if file != path})
            else:
                imported = []
            self._parsed[path] = hashlib.sha256(content).hexdigest(), imported
        return self._parsed[path]

    def _imports(self, tree: ast.AST, path: Path) -> Iterator[Path]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name == "vismodels":
                        raise ImportError(_HIDES.format(path=path, name="everything"))
                    yield from self._module_files(alias.name, path)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node, path)
                yield from self._module_files(base, path)
                for alias in node.names:
                    submodule = list(self._module_files(f"{base}.{alias.name}", path))
                    yield from submodule
                    if base == "vismodels" and not submodule and alias.name != "__version__":
                        raise ImportError(_HIDES.format(path=path, name=repr(alias.name)))

    def _absolute(self, node: ast.ImportFrom, path: Path) -> str:
        if not node.level:
            return node.module or ""
        folder = path.parent
        for _ in range(node.level - 1):
            folder = folder.parent
        package = ".".join(["vismodels", *folder.relative_to(self.package).parts])
        return f"{package}.{node.module}" if node.module else package

    def _module_files(self, module: str, importer: Path) -> Iterator[Path]:
        """Yield the files that importing `module` runs, as far as they are first-party."""
        first, *rest = module.split(".")
        if first != "vismodels":
            beside = importer.parent / f"{first}.py"
            if beside.is_file() and not self._in_package(importer):  # a script's own helper
                yield beside
            return
        folder = self.package
        for part in rest:
            if (folder / f"{part}.py").is_file():
                yield folder / f"{part}.py"
                return
            folder = folder / part
            if not (folder / "__init__.py").is_file():
                return
            yield folder / "__init__.py"


def _strip(tree: ast.Module) -> ast.Module:
    """Remove what does not run: docstrings and the bodies of `if TYPE_CHECKING`."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                setattr(node, name, _running(statements))
    return tree


def _running(statements: list[ast.stmt]) -> list[ast.stmt]:
    kept: list[ast.stmt] = []
    for statement in statements:
        if isinstance(statement, ast.If) and _is_type_checking(statement.test):
            kept += statement.orelse
        elif not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        ):
            kept.append(statement)
    return kept


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def environment() -> dict[str, str]:
    """Return the version of Python and of each installed package of the numeric stack."""
    versions = {"python": platform.python_version()}
    for package in NUMERIC_STACK:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def environment_digest(versions: Mapping[str, str]) -> str:
    """Return 16 hex digits over the versions up to the minor number."""
    coarse = {name: ".".join(version.split(".")[:2]) for name, version in versions.items()}
    return hashlib.sha256(json.dumps(coarse, sort_keys=True).encode()).hexdigest()[:16]


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the checkout at `folder` and whether it has changes; None outside one.

    Git looks no further up than `folder`: a wheel installed inside somebody's repository has no
    commit of its own.
    """
    if not (folder / ".git").exists():
        return None
    try:
        commit, status = (
            subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(status)}
