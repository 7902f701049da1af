import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vismodels.figures import (
    FIGURES,
    Picture,
    draw_curves,
    figure_to,
    read_pictures,
    write_pictures,
)
from vismodels.files import FileError

PICTURE = Picture("a.png", "Title", "A caption with “ä”.", "What it shows")


def draw(path, y=(1.0, 2.0, 4.0)):
    with figure_to(path) as figure:
        axes = figure.subplots()
        draw_curves(axes, {"net": [([1, 2, 3], y)], "other": [([1, 2, 3], [3, 2, 1])]})
        axes.set_xlabel("iteration")
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_equal_content_makes_equal_bytes(tmp_path, suffix):
    first = draw(tmp_path / f"a{suffix}")
    assert draw(tmp_path / "Bild mit ü" / f"b{suffix}") == first
    assert draw(tmp_path / f"c{suffix}", y=(1.0, 2.0, 5.0)) != first


def test_equal_content_makes_equal_bytes_in_another_process(tmp_path):
    with figure_to(tmp_path / "here.svg") as figure:
        figure.subplots().plot([1, 2])
    code = (
        "import sys; from vismodels.figures import figure_to\n"
        "with figure_to(sys.argv[1]) as figure: figure.subplots().plot([1, 2])"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "there.svg"], check=True)
    assert (tmp_path / "here.svg").read_bytes() == (tmp_path / "there.svg").read_bytes()


def test_png_has_the_asked_size_and_is_not_blank(tmp_path):
    with figure_to(tmp_path / "a.png", width=2.0, height=1.0) as figure:
        figure.subplots().plot([0, 1])
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape == (160, 320)  # 160 dots per inch
    assert pixels.std() > 0


def test_a_failed_drawing_leaves_the_old_picture_and_nothing_else(tmp_path):
    before = draw(tmp_path / "a.svg")
    with pytest.raises(RuntimeError), figure_to(tmp_path / "a.svg"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]
    assert (tmp_path / "a.svg").read_bytes() == before


@pytest.mark.parametrize("name", ["a.jpg", "a.pdf", "a"])
def test_other_formats_are_refused_before_drawing(tmp_path, name):
    with (
        pytest.raises(ValueError, match=r"expected the suffix \.svg or \.png"),
        figure_to(tmp_path / name),
    ):
        pytest.fail("drawn")


def test_global_style_is_as_before(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with pytest.raises(ZeroDivisionError), figure_to(tmp_path / "never.svg"):
        assert dict(matplotlib.rcParams) != before
        raise ZeroDivisionError
    assert dict(matplotlib.rcParams) == before


def test_runs_of_one_name_look_alike_and_names_differ_in_colour_and_line(tmp_path):
    with figure_to(tmp_path / "a.svg") as figure:
        axes = figure.subplots()
        run = ([1, 2], [1, 2])
        draw_curves(axes, {"net": [run, run], "other": [run]})
        first, again, other = axes.get_lines()
        legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert (first.get_color(), first.get_linestyle()) == (again.get_color(), again.get_linestyle())
    assert first.get_color() != other.get_color()
    assert first.get_linestyle() != other.get_linestyle()
    assert legend == ["net", "other"]


def test_pictures_are_read_back_in_their_order(tmp_path):
    pictures = [PICTURE, Picture("b.svg", "", "", "")]
    write_pictures(tmp_path, pictures)
    assert read_pictures(tmp_path) == pictures


@pytest.mark.parametrize("content", [[{"file": "a.png"}], [3], {"a": 1}, 3])
def test_a_damaged_list_of_pictures_names_the_file(tmp_path, content):
    (tmp_path / FIGURES).write_text(json.dumps(content))
    with pytest.raises(FileError, match=r"figures\.json: not a list of pictures.*run the stage"):
        read_pictures(tmp_path)


def test_an_absent_list_of_pictures_names_the_file(tmp_path):
    with pytest.raises(FileError, match=r"figures\.json: no such file"):
        read_pictures(tmp_path)
