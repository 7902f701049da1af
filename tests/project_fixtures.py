"""A checkout and a working directory that tests drive as a user does."""

import json
import os
import shutil
import subprocess
import sys

import pytest

PARTS = ("vismodels", "workflows", "profiles", "data_cards")


class Project:
    """A checkout and a working directory, driven as a user drives them."""

    def __init__(self, root, directory):
        self.root, self.directory = root, directory
        directory.mkdir(parents=True, exist_ok=True)

    def command(self, *words):
        return [sys.executable, *map(str, words)]

    def environment(self, **more):
        return {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_CACHE_HOME": str(self.directory / ".cache"),
            **more,
        }

    def run(self, *words, expect=0, env=None, **options):
        finished = subprocess.run(
            self.command(*words),
            cwd=self.directory,
            env=self.environment(**(env or {})),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )
        assert expect is None or finished.returncode == expect, finished.stdout
        return finished.stdout

    def snakemake(self, *words, **options):
        profile = self.root / "profiles" / "default"
        place = ("--snakefile", self.root / "Snakefile", "--workflow-profile", profile)
        return self.run("-m", "snakemake", *place, *words, **options)

    def vismodels(self, *words, **options):
        return self.run("-m", "vismodels.cli", *words, **options)

    def planned(self, *words):
        """Return rule -> number of jobs that a dry run announces."""
        text = self.snakemake("-n", "--quiet", "host", *words)
        lines = text.split("Job stats:")[-1].splitlines() if "Job stats:" in text else []
        rows = [line.split() for line in lines]
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

    def manifests(self, run="test"):
        """Return stage folder -> manifest; equal runs have equal ones. The report holds times."""
        results = self.directory / "results" / run
        return {
            path.parent.relative_to(results).as_posix(): json.loads(path.read_text())
            for path in results.rglob("manifest.json")
            if path.parent.name != "report"
        }


@pytest.fixture
def here(project, tmp_path):
    """The checkout under test, with an empty working directory."""
    return Project(project, tmp_path)


@pytest.fixture(scope="session")
def copy_of_project(project, tmp_path_factory):
    """Return a function that copies the checkout to a place that a test may edit."""

    def copy(name):
        root = tmp_path_factory.mktemp(name) / "Kopie mit ä"
        ignored = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            shutil.copytree(project / part, root / part, ignore=ignored)
        shutil.copy(project / "Snakefile", root)
        return root

    return copy


@pytest.fixture(scope="session")
def finished(copy_of_project, tmp_path_factory):
    """One complete run of `test.yaml`; whoever changes it copies it first."""
    project = Project(copy_of_project("finished"), tmp_path_factory.mktemp("run") / "Lauf mit ö")
    project.output = project.vismodels("reproduce", "--run", "test")
    return project


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the complete run and its checkout, times kept, for a test that changes them."""
    root, directory = tmp_path / "Projekt ü", tmp_path / "Lauf ü"
    shutil.copytree(finished.root, root, symlinks=True)
    shutil.copytree(finished.directory, directory, symlinks=True)
    return Project(root, directory)


@pytest.fixture
def test_overlay():
    return lambda project: ("--configfile", project.root / "workflows/config/test.yaml")
