import subprocess
import sys

import pytest
import torch

from vismodels.device import DeviceError, deterministic, resolve_device


def pretend(monkeypatch, *, cuda, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("name", "cuda", "mps", "expected"),
    [
        ("cpu", 0, False, "cpu"),
        ("cpu", 2, True, "cpu"),
        ("auto", 0, False, "cpu"),
        ("auto", 0, True, "cpu"),
        ("auto", 1, False, "cuda"),
        ("cuda", 1, False, "cuda"),
        ("cuda:1", 2, False, "cuda:1"),
        ("mps", 0, True, "mps"),
    ],
)
def test_a_present_device_is_returned(monkeypatch, name, cuda, mps, expected):
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device(name) == torch.device(expected)


@pytest.mark.parametrize(
    ("name", "cuda", "there"),
    [
        ("cuda", 0, "has: cpu "),
        ("cuda:2", 2, "has: cpu, cuda:0, cuda:1 "),
        ("mps", 1, "has: cpu, cuda:0 "),
        ("gpu", 0, "has: cpu "),
        ("cuda:x", 1, "has: cpu, cuda:0 "),
        ("", 0, "has: cpu "),
    ],
)
def test_an_absent_device_is_an_error_that_says_what_there_is(monkeypatch, name, cuda, there):
    pretend(monkeypatch, cuda=cuda)
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert repr(name) in str(caught.value)
    assert there in str(caught.value)


def switches():
    backends = torch.backends
    owners = (
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.rnn,
    )
    return {
        "threads": torch.get_num_threads(),
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": (backends.cudnn.deterministic, backends.cudnn.benchmark),
        "tf32": (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32),
        "matmul": torch.get_float32_matmul_precision(),
        "precision": [owner.fp32_precision for owner in owners],
    }


WANTED = {
    "threads": 2,
    "algorithms": True,
    "warn_only": False,
    "cudnn": (True, False),
    "tf32": (False, False),
    "matmul": "highest",
    "precision": ["ieee"] * 6,
}


@pytest.fixture(params=["fresh", "fast", "warn only"])
def surroundings(request):
    """The switches as a user may have set them before, given back at the end of the test."""
    before = switches()
    if request.param == "fast":
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        torch.set_num_threads(3)
    if request.param == "warn only":
        torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.set_float32_matmul_precision(before["matmul"])
    torch.backends.cudnn.benchmark = before["cudnn"][1]
    torch.backends.cuda.matmul.fp32_precision = before["precision"][0]
    torch.backends.mkldnn.matmul.fp32_precision = before["precision"][3]
    torch.set_num_threads(before["threads"])
    torch.use_deterministic_algorithms(before["algorithms"], warn_only=before["warn_only"])


@pytest.mark.usefixtures("surroundings")
def test_all_switches_are_set_inside_and_restored_outside():
    before = switches()
    with deterministic(threads=2):
        assert switches() == WANTED
    assert switches() == before


@pytest.mark.usefixtures("surroundings")
def test_all_switches_are_restored_after_an_exception():
    before = switches()
    with pytest.raises(KeyError), deterministic(threads=2):
        raise KeyError
    assert switches() == before


def test_all_switches_are_restored_when_one_of_them_is_refused():
    before = switches()
    with pytest.raises(RuntimeError), deterministic(threads=0):
        pytest.fail("zero threads were accepted")
    assert switches() == before


def test_blocks_can_be_nested():
    with deterministic(threads=2):
        with deterministic(threads=1):
            assert torch.get_num_threads() == 1
        assert switches() == WANTED


def test_a_setting_of_the_new_interface_alone_is_restored():
    conv = torch.backends.cudnn.conv
    before = conv.fp32_precision
    conv.fp32_precision = "ieee"  # now the old interface disagrees and raises when asked
    try:
        with deterministic():
            assert conv.fp32_precision == "ieee"
        assert conv.fp32_precision == "ieee"
    finally:
        conv.fp32_precision = before


def test_cudnn_flags_of_libraries_work_inside():
    with deterministic(), torch.backends.cudnn.flags(enabled=False):
        assert not torch.backends.cudnn.enabled


def test_an_operator_without_deterministic_version_raises_inside():
    with deterministic(), pytest.raises(RuntimeError, match="deterministic"):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]), accumulate=False)


def test_the_module_imports_without_torch():
    code = "import sys, vismodels.device; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
