import numpy as np
import pytest

from vismodels.config import parse_config
from vismodels.data.images import read_image, write_png
from vismodels.files import FileError
from vismodels.methods.super_resolution.config import CLASSICAL, FiguresConfig
from vismodels.methods.super_resolution.figures import draw_figures
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


def test_a_window_that_was_not_cut_is_named(stages):
    trainings, scored, folder = stages
    with pytest.raises(FileError, match=r"dog/original\.png: no such file"):
        draw_figures(config(CROP | {"image": "dog"}), trainings, scored, folder)


def test_a_training_without_its_curve_is_named(stages):
    trainings, scored, folder = stages
    (trainings[1] / "validation.csv").unlink()
    with pytest.raises(FileError, match=r"a1/validation\.csv: no such file"):
        draw_figures(config(), trainings, scored, folder)
