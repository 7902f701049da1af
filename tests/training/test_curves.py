import pytest

from vismodels.files import FileError
from vismodels.results import SCORES, Score, write_scores
from vismodels.training.curves import WINDOWS, draw_losses, draw_training, read_runs
from vismodels.training.log import ScalarLog


def log(name, *values, step=1):
    made = ScalarLog()
    for number, value in enumerate(values, start=1):
        made.append(step * number, {name: value})
    return made


def test_who_cannot_see_the_curves_is_told_where_they_end(tmp_path):
    runs = [log("psnr_y", 20.0, 25.0, step=10), log("psnr_y", 21.0, 26.5, step=10)]
    picture = draw_training({"net": runs}, tmp_path)
    assert "net 25.00 to 26.50 dB" in picture.alt
    assert (tmp_path / picture.file).is_file()


def test_losses_are_averaged_over_windows_that_cover_every_iteration(tmp_path):
    values = [0.01] * (2 * WINDOWS) + [0.04]
    picture = draw_losses({"net": [log("loss", *values)]}, tmp_path)
    assert "net 0.0250 to 0.0250" in picture.alt  # the last window: 0.01 and 0.04
    assert (tmp_path / picture.file).is_file()


@pytest.fixture
def folders(tmp_path):
    """Two runs of one variant and one of another."""
    made = []
    for variant, seed in (("net", 0), ("net", 1), ("other", 0)):
        folder = tmp_path / f"{variant} ü {seed}"
        folder.mkdir()
        write_scores(folder / SCORES, [Score("stage", variant, [], seed)])
        log("loss", seed + 0.5).to_csv(folder / "losses.csv")
        made.append(folder)
    return made


def test_runs_are_read_by_variant_in_the_order_of_the_folders(folders):
    runs = read_runs(folders, "losses.csv")
    assert {name: [one.curves["loss"] for one in of] for name, of in runs.items()} == {
        "net": [[0.5], [1.5]],
        "other": [[0.5]],
    }


def test_a_folder_without_its_log_is_named(folders):
    (folders[1] / "losses.csv").unlink()
    with pytest.raises(FileError, match=r"net ü 1/losses\.csv: no such file"):
        read_runs(folders, "losses.csv")
