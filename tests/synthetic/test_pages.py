from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vismodels.config import parse_config
from vismodels.data.degradations import WarpConfig, draw_warp
from vismodels.synthetic.faces import find_face
from vismodels.synthetic.pages import binarized, darkness, render_page, warped
from vismodels.synthetic.typesetting import PageStyle, set_page

STYLE = parse_config(
    PageStyle,
    {
        "height": 320,
        "width": 400,
        "x_height": [9, 12],
        "leading": [2.5, 2.9],
        "margin": [12, 20],
        "columns": [1, 2],
        "sentences": [2, 4],
        "headings": 0.3,
        "ragged": 0.5,
        "ink": [0, 0.3],
        "paper": [0.85, 1],
        "tint": 0.08,
    },
    "style",
)
NAMES = ("DejaVuSerif", "STIXGeneralItalic", "cmti10", "Aileron", "DejaVuSansMono-Bold")
FACES = [find_face(name) for name in NAMES]
LIMITS = WarpConfig(rotation=1.0, stretch=0.01, shear=0.005)
seeds = pytest.mark.parametrize("seed", range(6))


def page(seed=0):
    return render_page(STYLE, FACES, "train", np.random.default_rng(seed))


def moved(seed=0):
    matrix = draw_warp((STYLE.height, STYLE.width), LIMITS, np.random.default_rng(seed))
    return warped(page(seed), matrix), matrix


def assert_boxes_are_tight(words, ink):
    for word in words:
        inside = ink[word.top : word.bottom, word.left : word.right]
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any(), word


def overlap(a, b):
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


@seeds
def test_boxes_enclose_all_ink_and_nothing_but_ink_touches_their_edges(seed):
    rendered = page(seed)
    ink = (rendered.image != np.array(rendered.paper)).any(axis=2)
    assert_boxes_are_tight(rendered.words, ink)
    for word in rendered.words:
        ink[word.top : word.bottom, word.left : word.right] = False
    assert not ink.any()


def test_the_box_of_a_word_is_that_of_the_word_drawn_alone():
    rng = np.random.default_rng(3)
    rendered = page(3)
    for limits in (STYLE.ink, STYLE.paper):  # the colours are drawn first
        rng.uniform(*limits), rng.uniform(0, STYLE.tint, size=3)
    placed = set_page(STYLE, FACES, "train", rng)
    assert [word.text for word in placed] == [word.text for word in rendered.words]
    for word, where in zip(rendered.words[::7], placed[::7], strict=True):
        alone = Image.new("L", (STYLE.width, STYLE.height))
        ImageDraw.Draw(alone).text(
            (where.x, where.baseline), where.text, 255, where.font, anchor="ls"
        )
        left, top, right, bottom = alone.point(lambda level: 255 * (level > 1)).getbbox()
        box = (word.left, word.top, word.right, word.bottom)
        assert np.abs(np.subtract(box, (left, top, right, bottom))).max() <= 1  # faintest levels


@seeds
def test_words_do_not_overlap(seed):
    assert not any(overlap(a, b) for a, b in combinations(page(seed).words, 2))


@seeds
def test_a_page_shows_dark_ink_on_light_paper_and_shades_between(seed):
    rendered = page(seed)
    assert rendered.image.shape == (320, 400, 3)
    assert max(rendered.ink) <= round(0.3 * 255)
    assert min(rendered.paper) >= int((0.85 - 0.08) * 255)
    colors = {tuple(color) for color in rendered.image.reshape(-1, 3).tolist()}
    assert {rendered.ink, rendered.paper} <= colors
    assert len(colors) > 20
    share = (rendered.image != np.array(rendered.paper)).any(axis=2).mean()
    assert 0.05 < share < 0.4


def test_inks_and_papers_are_tinted():
    pages = [page(seed) for seed in range(6)]
    assert any(len(set(rendered.ink)) > 1 for rendered in pages)
    assert len({rendered.paper for rendered in pages}) == 6


def test_a_page_depends_on_the_generator_only():
    first, again, other = page(1), page(1), page(2)
    assert np.array_equal(first.image, again.image)
    assert first.words == again.words
    assert first.words != other.words


def test_a_page_without_faces_is_refused():
    with pytest.raises(ValueError, match="at least one face"):
        render_page(STYLE, [], "train", np.random.default_rng(0))


# --- warps -------------------------------------------------------------------------------------


@seeds
def test_boxes_follow_a_warp_and_stay_tight(seed):
    straight, (crooked, matrix) = page(seed), moved(seed)
    ink = darkness(crooked) > 0.1
    assert [word.text for word in crooked.words] == [word.text for word in straight.words]
    assert_boxes_are_tight(crooked.words, ink)
    for before, after in zip(straight.words, crooked.words, strict=True):
        middle = [(before.left + before.right - 1) / 2, (before.top + before.bottom - 1) / 2, 1]
        x, y = matrix @ middle
        assert abs((after.left + after.right - 1) / 2 - x) < 2.5
        assert abs((after.top + after.bottom - 1) / 2 - y) < 2.5
    for word in crooked.words:
        ink[word.top : word.bottom, word.left : word.right] = False
    assert not ink.any()


def test_a_page_that_is_not_warped_keeps_its_image_and_all_but_the_faintest_ink():
    straight = page()
    same = warped(straight, np.eye(2, 3))
    assert np.array_equal(same.image, straight.image)
    for before, after in zip(straight.words, same.words, strict=True):
        edges = [
            (getattr(before, e), getattr(after, e)) for e in ("left", "top", "right", "bottom")
        ]
        assert max(abs(a - b) for a, b in edges) <= 1


def test_a_word_that_leaves_the_page_is_no_longer_known():
    straight = page()
    away = np.array([[1, 0, 0], [0, 1, -160.0]])  # up by half of the page
    words = warped(straight, away).words
    assert 0 < len(words) < len(straight.words)
    assert min(word.top for word in words) >= 0


# --- binarization ------------------------------------------------------------------------------


def test_darkness_is_zero_on_paper_and_one_in_ink():
    rendered = page()
    share = darkness(rendered)
    assert share[(rendered.image == rendered.paper).all(axis=2)] == pytest.approx(0)
    assert share[(rendered.image == rendered.ink).all(axis=2)] == pytest.approx(1)


@seeds
def test_binarized_page_is_black_where_it_is_more_ink_than_paper(seed):
    crooked, _ = moved(seed)
    binary = binarized(crooked)
    assert set(np.unique(binary)) == {0, 255}
    assert np.array_equal(binary[..., 0], binary[..., 2])
    grey = crooked.image.astype(float).mean(axis=2)
    half = (np.mean(crooked.ink) + np.mean(crooked.paper)) / 2
    clear = np.abs(grey - half) > 6  # tints weigh the channels differently near the half
    assert np.array_equal((binary[..., 0] == 0)[clear], (grey < half)[clear])
