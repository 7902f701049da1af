from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from vismodels.data.images import read_image
from vismodels.data.resize import bicubic_resize, cubic_kernel

PAD = {"symmetric": "symmetric", "replicate": "edge"}


def random_image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def exact_kernel(x: Fraction) -> Fraction:
    """Keys (1981), Eq. (4) with a = -1/2, in exact arithmetic."""
    x, a = abs(x), Fraction(-1, 2)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else Fraction(0)


def exact_line(line, scale: Fraction, border: str) -> list[int]:
    """Resize a line of levels in exact arithmetic, straight from the definition."""
    shrink, margin = min(scale, Fraction(1)), 2 * ceil(4 / min(scale, 1))
    padded = np.pad(np.asarray(line), margin, mode=PAD[border])
    result = []
    for index in range(ceil(len(line) * scale)):
        center = (index + Fraction(1, 2)) / scale - Fraction(1, 2)
        weights = {
            place: exact_kernel((center - place) * shrink)
            for place in range(floor(center) - margin + 4, floor(center) + margin - 3)
            if -margin <= place < len(line) + margin
        }
        value = sum(w * int(padded[place + margin]) for place, w in weights.items())
        level = floor(Fraction(value) / sum(weights.values()) + Fraction(1, 2))
        result.append(min(max(level, 0), 255))
    return result


@pytest.mark.parametrize(
    ("x", "value"), [(0, 1), (0.25, 0.8671875), (1, 0), (1.5, -0.0625), (2, 0), (3, 0)]
)
def test_kernel_has_the_values_of_keys(x, value):
    assert cubic_kernel(np.array([x, -x], dtype=float)).tolist() == [value, value]


def test_halving_an_impulse_shows_the_eight_weights_in_256ths():
    # By hand: kernel at 1/4, 3/4, 5/4, 7/4, times 1/2 (antialiasing), e.g. 0.8671875 / 2 = 111/256.
    weights = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    line = np.eye(16)  # row i is an impulse at i; its effect on output 3, which sits at 6.5
    response = bicubic_resize(line, size=(16, 8))[:, 3]
    assert response.tolist() == [0, 0, 0, *weights, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("border", ["symmetric", "replicate"])
@pytest.mark.parametrize("scale", [Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), Fraction(4)])
def test_8_bit_lines_equal_exact_arithmetic(scale, border):
    line = random_image(24, seed=int(12 * scale))
    ours = bicubic_resize(np.repeat(line[None], 24, axis=0), scale=float(scale), border=border)
    assert ours[0].tolist() == exact_line(line, scale, border)


def test_rounding_happens_between_the_passes_rows_first():
    image = random_image((32, 32), seed=3)
    rows_first = np.array([exact_line(c, Fraction(1, 4), "symmetric") for c in image.T]).T
    both = [exact_line(row, Fraction(1, 4), "symmetric") for row in rows_first]
    ours = bicubic_resize(image, scale=1 / 4)
    assert ours.tolist() == both
    # The case can tell: columns first, or one rounding at the end, give other levels.
    once = np.clip(np.floor(bicubic_resize(image.astype(float), scale=1 / 4) + 0.5), 0, 255)
    assert ours.tolist() != bicubic_resize(image.T, scale=1 / 4).T.tolist()
    assert ours.tolist() != once.tolist()


def test_the_axis_that_shrinks_more_goes_first():
    image = random_image((16, 16), seed=5)
    columns_first = [exact_line(row, Fraction(1, 4), "symmetric") for row in image]
    both = [exact_line(c, Fraction(1, 2), "symmetric") for c in np.array(columns_first).T]
    assert bicubic_resize(image, size=(8, 4)).tolist() == np.array(both).T.tolist()


def test_float_result_equals_torch_antialiased_bicubic_away_from_the_border():
    image = np.random.default_rng(1).random((48, 40, 3))
    ours = bicubic_resize(image, scale=1 / 4)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    theirs = F.interpolate(tensor, size=(12, 10), mode="bicubic", antialias=True)
    theirs = theirs[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours[2:-2, 2:-2], theirs[2:-2, 2:-2], atol=1e-9)


def test_borders_differ_only_in_the_two_outermost_rows_and_columns():
    image = random_image((64, 48, 3))
    mirrored = bicubic_resize(image, scale=1 / 4)
    repeated = bicubic_resize(image, scale=1 / 4, border="replicate")
    assert (mirrored != repeated).any()
    assert (mirrored == repeated)[2:-2, 2:-2].all()


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    level=st.integers(0, 255),
    size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
)
def test_a_flat_image_stays_flat(height, width, level, size):
    result = bicubic_resize(np.full((height, width), level, np.uint8), size=size)
    assert result.shape == size
    assert (result == level).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1 / 4, 1 / 2, 2.0, 4.0]))
def test_turning_the_image_upside_down_turns_the_result(seed, scale):
    image = random_image((12, 8), seed)
    turned = bicubic_resize(image[::-1], scale=scale)
    assert np.array_equal(turned, bicubic_resize(image, scale=scale)[::-1])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_scale_one_returns_the_image_in_its_dtype(dtype):
    image = random_image((5, 7, 3)).astype(dtype)
    result = bicubic_resize(image, scale=1)
    assert result.dtype == dtype
    assert np.array_equal(result, image)


@pytest.mark.parametrize(
    ("length", "scale", "expected"), [(100, 0.07, 7), (63, 1 / 3, 21), (7, 1 / 4, 2), (5, 4, 20)]
)
def test_size_of_the_result_is_the_ceiling_without_float_noise(length, scale, expected):
    assert bicubic_resize(np.zeros((length, length)), scale=scale).shape == (expected, expected)


@pytest.mark.parametrize(
    ("image", "arguments", "error", "words"),
    [
        (np.zeros((4, 4), np.int32), {"scale": 2}, TypeError, "got int32"),
        (np.zeros(4), {"scale": 2}, ValueError, r"got \(4,\)"),
        (np.zeros((0, 4)), {"scale": 2}, ValueError, "non-empty"),
        (np.zeros((4, 4)), {}, ValueError, "either a positive size or a positive scale"),
        (np.zeros((4, 4)), {"scale": 2, "size": (8, 8)}, ValueError, "either"),
        (np.zeros((4, 4)), {"scale": -1}, ValueError, "scale=-1"),
        (np.zeros((4, 4)), {"size": (0, 8)}, ValueError, r"size=\(0, 8\)"),
    ],
)
def test_wrong_arguments_are_refused_with_what_came(image, arguments, error, words):
    with pytest.raises(error, match=words):
        bicubic_resize(image, **arguments)


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_stored_lr_images_of_the_benchmarks_are_reproduced_exactly(data_root: Path, name):
    folder = data_root / "sr" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    for file in sorted(folder.glob("*_SRF_4_HR.png")):
        stored = read_image(str(file).replace("_HR", "_LR"))
        ours = bicubic_resize(read_image(file), scale=1 / 4, border="replicate")
        assert np.array_equal(ours, stored), file.name
