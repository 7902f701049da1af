import numpy as np
import pytest

from vismodels.config import parse_config
from vismodels.data.images import read_image, write_png
from vismodels.figures import figure_to
from vismodels.files import FileError
from vismodels.methods.super_resolution.config import CLASSICAL, FiguresConfig
from vismodels.methods.super_resolution.figures import (
    WINDOWS,
    draw_crops,
    draw_figures,
    draw_losses,
    draw_training,
)
from vismodels.results import SCORES, Score, write_scores
from vismodels.training.log import ScalarLog

NETWORK = {"model": {"architecture": "espcn", "bicubic_skip": True}, "learning_rate": 1.0e-3}
CROP = {"set": "photos", "image": "cat", "top": 0, "left": 0, "height": 12, "width": 16}


def log(*values):
    made = ScalarLog()
    for number, value in enumerate(values, start=1):
        made.append(10 * number, {"psnr_y": value})
    return made


def losses(*values):
    made = ScalarLog()
    for number, value in enumerate(values, start=1):
        made.append(number, {"loss": value / 100})
    return made


def trained(folder, variant, seed, *values):
    folder.mkdir(parents=True)
    write_scores(folder / SCORES, [Score("super_resolution_train", variant, [], seed)])
    log(*values).to_csv(folder / "validation.csv")
    losses(*values).to_csv(folder / "losses.csv")
    return folder


@pytest.fixture
def stages(tmp_path):
    """Folders of two trainings of one network and one of another, and of the scoring."""
    place = tmp_path / "Ergebnisse mit ä"
    folders = [
        trained(place / "a0", "net", 0, 20.0, 25.0),
        trained(place / "a1", "net", 1, 21.0, 26.5),
        trained(place / "b0", "other", 0, 19.0, 24.0),
    ]
    for number, variant in enumerate([*CLASSICAL, "net", "other"]):
        levels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        write_png(place / "score" / "crops" / "cat" / f"{variant}.png", levels)
    return folders, place / "score", place / "figures"


def config(*crops):
    section = {"networks": {"net": NETWORK, "other": NETWORK}, "crops": list(crops)}
    return parse_config(FiguresConfig, section, "figures")


def test_the_course_of_training_and_every_window_are_drawn(stages):
    trainings, scored, folder = stages
    pictures = draw_figures(config(CROP), trainings, scored, folder)
    assert [picture.file for picture in pictures] == [
        "training.svg",
        "losses.svg",
        "crop_cat.png",
    ]
    assert {path.name for path in folder.iterdir()} == {picture.file for picture in pictures}
    assert read_image(folder / "crop_cat.png").shape[1] == 7 * 160
    for picture in pictures:
        assert picture.title
        assert picture.caption
        assert picture.alt


def test_drawing_again_gives_equal_bytes(stages, tmp_path):
    trainings, scored, folder = stages
    draw_figures(config(CROP), trainings, scored, folder)
    draw_figures(config(CROP), trainings, scored, tmp_path / "again")
    for name in ("training.svg", "losses.svg", "crop_cat.png"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_who_cannot_see_the_curves_is_told_where_they_end(tmp_path):
    picture = draw_training({"net": [log(20.0, 25.0), log(21.0, 26.5)]}, tmp_path)
    assert "net 25.00 to 26.50 dB" in picture.alt


def test_losses_are_averaged_over_windows_that_cover_every_iteration(tmp_path):
    picture = draw_losses({"net": [losses(*[1.0] * (2 * WINDOWS), 4.0)]}, tmp_path)
    assert "net 0.0250 to 0.0250" in picture.alt  # the last window: 1 and 4, in hundredths


def test_who_cannot_see_the_window_is_told_what_is_side_by_side(stages, tmp_path):
    _, scored, _ = stages
    picture = draw_crops("cat", scored / "crops" / "cat", ["original", "net"], tmp_path)
    assert picture.alt == "The same window of cat 2 times: original, net."


def test_every_variant_has_a_panel_with_its_name_and_its_pixels(stages, tmp_path, monkeypatch):
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

    monkeypatch.setattr("vismodels.methods.super_resolution.figures.figure_to", remembering)
    _, scored, _ = stages
    variants = [*CLASSICAL, "net"]
    draw_crops("cat", scored / "crops" / "cat", variants, tmp_path)
    panels = {axes.get_title(): axes.get_images() for axes in drawn[0].axes if axes.get_images()}
    assert list(panels) == variants
    for variant, (image,) in panels.items():
        stored = read_image(scored / "crops" / "cat" / f"{variant}.png")
        assert np.array_equal(image.get_array(), stored)


def test_a_window_that_was_not_cut_is_named(stages):
    trainings, scored, folder = stages
    with pytest.raises(FileError, match=r"dog/original\.png: no such file"):
        draw_figures(config(CROP | {"image": "dog"}), trainings, scored, folder)


def test_a_training_without_its_curve_is_named(stages):
    trainings, scored, folder = stages
    (trainings[1] / "validation.csv").unlink()
    with pytest.raises(FileError, match=r"a1/validation\.csv: no such file"):
        draw_figures(config(), trainings, scored, folder)
