import sys
from types import SimpleNamespace

import numpy as np
import pytest

from vismodels.data.bias_field import bias_corrected
from vismodels.data.brain_cases import BrainCase


def smooth_case():
    """Return a brain of two tissues under a field that doubles from one end to the other."""
    shape = (48, 40, 36)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.9
    tissue = np.where(np.random.default_rng(0).random(shape) < 0.5, 100.0, 140.0)
    field = np.exp(0.35 * axes[0])
    images = np.stack([brain * tissue * field * scale for scale in (1, 2, 3, 4)])
    return BrainCase("a", images.astype(np.float32), None, np.diag([1.0, 1.2, 1.5, 1.0])), brain


class FakeImage:
    """Arrays of SimpleITK: axes are named from the last to the first."""

    def __init__(self, array):
        self.array, self.spacing = array, None

    def SetSpacing(self, spacing):
        self.spacing = spacing

    def GetSize(self):
        return self.array.shape[::-1]


def fake_simpleitk(seen):
    """Return a SimpleITK whose N4 finds a field of 2 along the first axis's second half."""

    def shrink(image, factors):
        steps = tuple(slice(None, None, factor) for factor in factors[::-1])
        return FakeImage(image.array[steps])

    class N4:
        def SetNumberOfThreads(self, count):
            seen["threads"] = count

        def Execute(self, image, mask):
            seen["fitted"], seen["mask"] = image.array, mask.array

        def GetLogBiasFieldAsImage(self, image):
            seen["spacing"] = image.spacing
            field = np.zeros(image.array.shape, np.float32)
            field[len(field) // 2 :] = np.log(2)
            return FakeImage(field)

    return SimpleNamespace(
        GetImageFromArray=FakeImage,
        GetArrayFromImage=lambda image: image.array,
        Shrink=shrink,
        N4BiasFieldCorrectionImageFilter=N4,
    )


def test_images_are_divided_by_the_field_that_was_fitted_in_the_shrunk_brain(monkeypatch):
    seen = {}
    monkeypatch.setitem(sys.modules, "SimpleITK", fake_simpleitk(seen))
    case, brain = smooth_case()
    result = bias_corrected(case)
    assert result.images.dtype == np.float32
    np.testing.assert_array_equal(result.images[:, :24], case.images[:, :24])
    np.testing.assert_allclose(result.images[:, 24:], case.images[:, 24:] / 2, rtol=1e-6)
    np.testing.assert_array_equal(seen["mask"], brain[::4, ::4, ::4])
    np.testing.assert_array_equal(seen["fitted"], case.images[3, ::4, ::4, ::4])
    assert seen["spacing"] == pytest.approx([1.5, 1.2, 1.0])
    assert seen["threads"] == 1


def test_n4_of_simpleitk_takes_a_smooth_field_away():
    pytest.importorskip("SimpleITK")
    case, brain = smooth_case()
    corrected = bias_corrected(case).images

    def slope(image):
        """Return how much brighter the right half is than the left."""
        return image[24:][brain[24:]].mean() / image[:24][brain[:24]].mean()

    assert slope(case.images[0]) > 1.25
    assert slope(corrected[0]) == pytest.approx(1, abs=0.05)
    assert not corrected[:, ~brain].any()


def test_missing_simpleitk_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ImportError, match=r"N4 .* needs SimpleITK: pip install 'vismodels\[n4\]'"):
        bias_corrected(smooth_case()[0])
