import numpy as np
import pytest
from PIL import Image

from vismodels.data.array_files import write_arrays
from vismodels.files import FileError
from vismodels.methods.lineas.config import EvaluationConfig
from vismodels.methods.lineas.image_grid import draw_images
from vismodels.methods.lineas.scoring import SHOWN

CONFIG = EvaluationConfig(strengths=(1.0, 0.5), shown=("lineas", "iti"), shown_prompts=2)
# One color for each image: red is the number of the prompt, green the variant, blue the strength.
VARIANTS = {"unsteered/0": 10, "words_removed/1": 20}
VARIANTS |= {
    f"{arm}/{s:g}": 30 + 20 * i + int(4 * s)
    for i, arm in enumerate(CONFIG.shown)
    for s in CONFIG.strengths
}


def store(folder):
    """Store images of one color each, and return these colors."""
    arrays = {
        variant: np.stack(
            [np.full((4, 4, 3), (100 * number, code, 3), np.uint8) for number in (1, 2)]
        )
        for variant, code in VARIANTS.items()
    }
    write_arrays(folder / SHOWN, {"prompts": np.array(["a star", "two stars"]), **arrays})
    return {(100 * number, code, 3) for number in (1, 2) for code in VARIANTS.values()}


def test_every_image_is_shown_large(tmp_path):
    colors = store(tmp_path)
    picture = draw_images("scenes", "star", CONFIG, tmp_path, tmp_path)
    pixels = np.asarray(Image.open(tmp_path / "images_scenes_star.png").convert("RGB"))
    drawn, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    sizes = {tuple(map(int, color)): int(n) for color, n in zip(drawn, counts, strict=True)}
    assert colors <= sizes.keys()
    assert min(sizes[color] for color in colors) > 90**2
    assert (picture.file, picture.title) == ("images_scenes_star.png", "Taking out star, scenes")
    for told in ("'a star', 'two stars'", "lineas, iti", "strengths 0.5, 1"):
        assert told in picture.alt


def test_strength_rises_from_left_to_right_between_unsteered_and_removed(tmp_path):
    store(tmp_path)
    draw_images("scenes", "star", CONFIG, tmp_path, tmp_path)
    pixels = np.asarray(Image.open(tmp_path / "images_scenes_star.png").convert("RGB"))
    centers = {}
    for variant, code in VARIANTS.items():
        found = np.argwhere((pixels == (100, code, 3)).all(-1))
        centers[variant] = found.mean(0)
    across = [centers[v][1] for v in ("unsteered/0", "lineas/0.5", "lineas/1", "words_removed/1")]
    assert across == sorted(across)
    assert centers["lineas/1"][0] < centers["unsteered/0"][0] < centers["iti/1"][0]
    assert centers["lineas/1"][1] == pytest.approx(centers["iti/1"][1], abs=1)


def test_damaged_images_are_named(tmp_path):
    (tmp_path / SHOWN).write_bytes(b"no archive")
    with pytest.raises(FileError, match=r"shown\.npz: damaged"):
        draw_images("scenes", "star", CONFIG, tmp_path, tmp_path)
