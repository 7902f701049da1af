import builtins
import sys

import numpy as np
import pytest

from vismodels.data.cv import SystemLibraryError, lanczos_resize, opencv


def refuse(monkeypatch, message):
    """Make `import cv2` fail with `message`."""
    real = builtins.__import__

    def fake(name, *arguments, **keywords):
        if name == "cv2":
            raise ImportError(message)
        return real(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.setattr(builtins, "__import__", fake)


@pytest.mark.parametrize(
    "message",
    [
        "libGL.so.1: cannot open shared object file: No such file or directory",
        "libgthread-2.0.so.0: cannot open shared object file: No such file or directory",
        "libglib-2.0.so.0: cannot open shared object file: No such file or directory",
    ],
)
def test_a_missing_system_library_is_explained_with_the_command_that_helps(monkeypatch, message):
    refuse(monkeypatch, message)
    with pytest.raises(SystemLibraryError) as caught:
        opencv()
    assert message in str(caught.value)
    assert "apt-get install -y libgl1 libglib2.0-0" in str(caught.value)
    assert "opencv-python-headless" in str(caught.value)


def test_another_import_error_stays_as_it_is(monkeypatch):
    refuse(monkeypatch, "No module named 'cv2'")
    with pytest.raises(ImportError, match="No module named") as caught:
        opencv()
    assert not isinstance(caught.value, SystemLibraryError)


def test_opencv_runs_on_one_thread():
    import cv2

    cv2.setNumThreads(2)
    assert opencv().getNumThreads() == 1


def test_lanczos_keeps_flat_images_and_interpolates_smooth_ones():
    flat = np.full((9, 7, 3), 77, np.uint8)
    assert np.array_equal(lanczos_resize(flat, 4), np.full((36, 28, 3), 77, np.uint8))
    ramp = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1))  # 8 levels a pixel
    enlarged = lanczos_resize(ramp, 4)[40, 40:80].astype(float)
    centers = (np.arange(40, 80) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(enlarged, 8 * centers, atol=1)


def test_lanczos_sharpens_a_step_with_overshoot():
    step = np.repeat(np.array([[50] * 8 + [200] * 8], np.uint8), 16, axis=0)
    enlarged = lanczos_resize(step, 4)
    assert enlarged.min() < 50
    assert enlarged.max() > 200


def test_lanczos_refuses_floats_and_shrinking():
    with pytest.raises(TypeError, match="expected uint8, got float64"):
        lanczos_resize(np.zeros((4, 4)), 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shrink with bicubic_resize"):
        lanczos_resize(np.zeros((4, 4), np.uint8), 0)
