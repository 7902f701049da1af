import numpy as np
import pytest

from vismodels.data.brain_cases import BrainCase, read_cases, write_cases
from vismodels.files import FileError

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def case(name="a", **changes):
    rng = np.random.default_rng(0)
    fields = {
        "images": rng.normal(size=(4, 3, 4, 5)).astype(np.float32),
        "levels": rng.integers(0, 4, (3, 4, 5)).astype(np.uint8),
        "affine": AFFINE,
    }
    return BrainCase(name, **fields | changes)


def test_cases_come_back_in_half_precision(tmp_path):
    first, second = case("a", scheme="msd", outside=7), case("b", levels=None)
    write_cases([first, second], tmp_path)
    read, unlabeled = read_cases(tmp_path)
    assert (read.name, unlabeled.name, unlabeled.levels) == ("a", "b", None)
    assert (read.scheme, unlabeled.scheme) == ("msd", "")
    assert (read.outside, unlabeled.outside) == (7, 0)
    assert read.images.dtype == np.float32
    np.testing.assert_allclose(read.images, first.images, atol=2e-3)
    assert np.array_equal(read.levels, first.levels)
    assert np.array_equal(read.affine, AFFINE)


def test_what_was_read_is_written_without_further_loss(tmp_path):
    write_cases([case()], tmp_path)
    once = read_cases(tmp_path)
    write_cases(once, tmp_path / "again")
    assert np.array_equal(read_cases(tmp_path / "again")[0].images, once[0].images)


def test_images_that_are_not_standardized_are_refused(tmp_path):
    with pytest.raises(ValueError, match="images reach 900; standardize them first"):
        write_cases([case(images=np.full((4, 3, 4, 5), 900, np.float32))], tmp_path)


def test_the_brain_is_where_any_image_is_not_0_and_spacing_is_that_of_the_affine():
    images = np.zeros((4, 3, 4, 5), np.float32)
    images[2, 1, 1, 1] = -1
    assert np.argwhere(case(images=images).brain).tolist() == [[1, 1, 1]]
    assert case().spacing == (2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": np.zeros((3, 3, 4, 5), np.float32)}, r"expected images \(4, D, H, W\)"),
        ({"images": np.zeros((4, 3, 4, 5))}, "float64, not float32"),
        ({"affine": np.eye(3)}, r"a \(4, 4\) affine"),
        ({"levels": np.zeros((3, 4, 5))}, "expected uint8"),
        ({"levels": np.full((3, 4, 5), 4, np.uint8)}, "levels reach 4, expected 0 to 3"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        case(**change)


def test_a_damaged_file_is_named(tmp_path):
    write_cases([case()], tmp_path)
    whole = (tmp_path / "a.npz").read_bytes()
    for content in (b"no archive", b"", whole[: len(whole) // 2]):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(FileError, match="damaged cases"):
            read_cases(tmp_path)
