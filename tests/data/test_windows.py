import numpy as np
import pytest

from vismodels.data.images import read_image
from vismodels.data.windows import draw_windows, write_windows
from vismodels.figures import figure_to
from vismodels.files import FileError

VARIANTS = ("original", "bicubic", "net", "other")


@pytest.fixture
def scored(tmp_path):
    """The folder of a stage with one window of a cat in every variant."""
    draws = np.random.default_rng(0)
    windows = {
        ("cat", name): draws.integers(0, 256, (12, 16, 3), dtype=np.uint8) for name in VARIANTS
    }
    write_windows(windows, tmp_path / "score")
    return tmp_path / "score"


def test_who_cannot_see_the_window_is_told_what_is_side_by_side(scored, tmp_path):
    picture = draw_windows("cat", scored, ["original", "net"], tmp_path)
    assert picture.file == "crop_cat.png"
    assert picture.alt == "The same window of cat 2 times: original, net."
    assert read_image(tmp_path / picture.file).shape[1] == 7 * 160


def test_every_variant_has_a_panel_with_its_name_and_its_pixels(scored, tmp_path, monkeypatch):
    drawn = []

    def remembering(*arguments, **keywords):
        context = figure_to(*arguments, **keywords)

        class Remember:
            def __enter__(self):
                drawn.append(context.__enter__())
                return drawn[-1]

            def __exit__(self, *error):
                return context.__exit__(*error)

        return Remember()

    monkeypatch.setattr("vismodels.data.windows.figure_to", remembering)
    draw_windows("cat", scored, VARIANTS, tmp_path)
    panels = {axes.get_title(): axes.get_images() for axes in drawn[0].axes if axes.get_images()}
    assert tuple(panels) == VARIANTS
    for variant, (image,) in panels.items():
        stored = read_image(scored / "crops" / "cat" / f"{variant}.png")
        assert np.array_equal(image.get_array(), stored)


def test_a_window_that_was_not_written_is_named(scored, tmp_path):
    with pytest.raises(FileError, match=r"dog/original\.png: no such file"):
        draw_windows("dog", scored, VARIANTS, tmp_path)
