import random
import resource
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

pytest_plugins = ("project_fixtures",)

PROJECT = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile(
    "reproducible", derandomize=True, max_examples=25, deadline=None
)
hypothesis.settings.load_profile("reproducible")


def pytest_addoption(parser):
    parser.addoption(
        "--data-root",
        type=Path,
        help="folder of real data sets; tests against them are skipped without it",
    )
    parser.addoption(
        "--update-expected-scores",
        action="store_true",
        help="write the scores of the test run to tests/workflows/expected_scores.json",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    # Networks drawn by libraries use these; which tests ran before must not change a verdict.
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def project():
    return PROJECT


@pytest.fixture
def data_root(request):
    folder = request.config.getoption("--data-root")
    if folder is None:
        pytest.skip("no real data: give its folder with --data-root")
    return folder


@pytest.fixture
def largest_file():
    """Return a context that stands for a full disk: no file may grow beyond some bytes."""

    @contextmanager
    def limit(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
