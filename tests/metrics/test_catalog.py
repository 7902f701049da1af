import pkgutil
import re
import subprocess
import sys
from importlib import import_module

import pytest

from vismodels import metrics
from vismodels.metrics.catalog import METRICS
from vismodels.results import Metric


def defined():
    """Return all metrics that are module constants in the package."""
    names = [module.name for module in pkgutil.iter_modules(metrics.__path__)]
    modules = [import_module(f"{metrics.__name__}.{name}") for name in names if name != "catalog"]
    return [v for module in modules for v in vars(module).values() if isinstance(v, Metric)]


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_says_how_it_is_computed(name):
    metric = METRICS.get(name)
    assert metric.name == name
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert metric.title
    assert len(metric.protocol) > 20


def test_the_catalog_holds_exactly_the_metrics_that_modules_define():
    assert {metric.name for metric in defined()} == set(METRICS.names())
    for metric in defined():
        assert METRICS.get(metric.name) is metric


def test_titles_are_different():
    titles = [METRICS.get(name).title for name in METRICS.names()]
    assert len(set(titles)) == len(titles)


def test_unknown_metrics_are_answered_with_the_nearest_name():
    with pytest.raises(KeyError, match="did you mean 'psnr_y'"):
        METRICS.get("psnr_x")


def test_reading_the_catalog_loads_no_library_that_computes():
    heavy = ("torch", "scipy", "sklearn", "skimage", "cv2", "monai", "rapidfuzz")
    code = (
        "import sys, vismodels.metrics.catalog; "
        f"print(*(name for name in {heavy} if name in sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (output.returncode, output.stdout.split()) == (0, []), output.stderr
