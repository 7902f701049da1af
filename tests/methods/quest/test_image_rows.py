import numpy as np
import pytest
from PIL import Image

from vismodels.data.array_files import write_arrays
from vismodels.files import FileError
from vismodels.methods.quest.image_rows import draw_rows
from vismodels.methods.quest.score_stage import SHOWN

ROWS = ("float", "other_noise", "w4a4", "w8a8")
PROMPTS = ["a star", "two stars"]
# One color for each image: red is the row, green the prompt.
CODES = {(row, p): (60 * r, 100 * p, 3) for r, row in enumerate(ROWS) for p in (0, 1)}


@pytest.fixture
def stored(tmp_path):
    arrays = {
        row: np.stack([np.full((4, 4, 3), CODES[row, p], np.uint8) for p in (0, 1)]) for row in ROWS
    }
    write_arrays(tmp_path / SHOWN, {"prompts": np.array(PROMPTS), **arrays})
    return tmp_path


def drawn_pixels(folder):
    return np.asarray(Image.open(folder / "images_scenes.png").convert("RGB"))


def test_rows_are_networks_and_columns_prompts(stored):
    draw_rows("scenes", ("w8a8", "w4a4"), stored, stored)
    pixels = drawn_pixels(stored)
    places = {key: np.argwhere((pixels == code).all(-1)) for key, code in CODES.items()}
    assert min(len(found) for found in places.values()) > 120**2
    center = {key: found.mean(0) for key, found in places.items()}
    for prompt in (0, 1):
        down = [center[row, prompt][0] for row in ("float", "other_noise", "w8a8", "w4a4")]
        assert down == sorted(down)
        across = [center[row, prompt][1] for row in ROWS]
        assert across == pytest.approx([across[0]] * 4, abs=1)
    for row in ROWS:
        assert center[row, 0][1] < center[row, 1][1]


def test_pixels_stay_squares_without_shades(stored):
    """Enlarged less than three times; only edges of images fall between dots."""
    checks = 200 * (np.indices((96, 96)).sum(0) % 2)[None, :, :, None].repeat(3, 3)
    arrays = {row: checks.repeat(2, 0).astype(np.uint8) for row in ROWS}
    write_arrays(stored / SHOWN, {"prompts": np.array(["", ""]), **arrays})
    draw_rows("scenes", (), stored, stored)
    pixels = drawn_pixels(stored)
    light, dark = ((pixels == shade).all(-1).sum() for shade in (200, 0))
    assert light == pytest.approx(dark, rel=0.1)
    rows, columns = np.nonzero((pixels == 200).all(-1))
    inside = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    shades = ~np.isin(inside, (0, 200, 255)).all(-1)
    assert shades.mean() < 0.03


def test_the_words_name_rows_and_prompts(stored):
    picture = draw_rows("scenes", ("w4a4",), stored, stored)
    assert picture.file == "images_scenes.png"
    assert "2 prompts in columns (a star; two stars)" in picture.alt
    assert "float, other noise, w4a4" in picture.alt
    assert "w8a8" not in picture.alt


def test_damaged_images_are_named(stored):
    (stored / SHOWN).write_bytes(b"no archive")
    with pytest.raises(FileError, match=r"shown\.npz: damaged"):
        draw_rows("scenes", (), stored, stored)
