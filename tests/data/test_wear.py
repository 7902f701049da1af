import numpy as np
import pytest

from vismodels.data.wear import (
    WearConfig,
    bleed_through,
    degrade_paper,
    faint_ink,
    paper_texture,
    stain,
)

FRESH = WearConfig(
    yellowing=(0, 0),
    mottling=(0, 0),
    bleed=(0, 0),
    bleed_sigma=(1, 1),
    stains=(0, 0),
    stain_strength=(0.8, 0.8),
    fading=(0, 0),
    soft=(0, 0),
    light=(0, 0),
    noise=(0, 0),
    jpeg_quality=(100, 100),
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def page(left=5, height=64, width=80):
    """Return one black bar on white: (H, W, 3) float32."""
    image = np.ones((height, width, 3), np.float32)
    image[20:40, left : left + 10] = 0
    return image


def levels(image):
    return np.rint(255 * image).astype(np.uint8)


def test_faint_ink_is_paler_nowhere_darker_and_paper_stays_white(rng):
    image = page()
    faint = faint_ink(image, 0.6, rng)
    assert np.array_equal(faint[image == 1], image[image == 1])
    ink = faint[image == 0]
    assert ink.min() >= 0
    assert 0.1 < ink.max() <= 0.6 + 1e-6
    assert ink.std() > 0.02
    assert np.array_equal(faint_ink(image, 0, rng), image)


def test_the_back_shines_through_mirrored():
    through = bleed_through(np.ones_like(page()), page(left=5), 0.4, sigma=0)
    expected = 1 - 0.4 * (1 - page(left=80 - 15))
    np.testing.assert_allclose(through, expected, atol=1e-6)


def test_bleed_through_is_blurred_and_multiplies_the_front():
    front, back = page(), page(left=40)
    sharp, soft = (bleed_through(front, back, 0.5, sigma) for sigma in (0, 3))
    assert (soft[front == 0] == 0).all()
    assert np.abs(np.diff(soft, axis=1)[:, 20:]).max() < np.abs(np.diff(sharp, axis=1)).max() / 3
    assert (soft <= front).all()
    assert np.array_equal(bleed_through(front, back, 0, 3), front)


def test_bleed_through_may_vary_over_the_page():
    strength = np.zeros((64, 80), np.float32)
    strength[:30] = 0.5
    through = bleed_through(np.ones_like(page()), page(), strength, sigma=0)
    assert through[:30].min() == 0.5
    assert through[30:].min() == 1


def test_sides_of_different_size_are_refused():
    with pytest.raises(ValueError, match=r"\(64, 80, 3\) and back \(64, 70, 3\)"):
        bleed_through(page(), page(width=70), 0.5, 1)


def test_texture_is_white_without_and_yellow_with_age(rng):
    assert np.array_equal(paper_texture((20, 30), 0, 0, rng), np.ones((20, 30, 3)))
    old = paper_texture((20, 30), 1, 0, rng)
    red, green, blue = old[3, 4]
    assert 1 > red > green > blue > 0.5
    assert np.ptp(old, axis=(0, 1)) == pytest.approx(0)


def test_mottling_darkens_up_to_its_strength(rng):
    texture = paper_texture((100, 100), 0, 0.3, rng)
    assert 0.7 <= texture.min() < 0.85
    assert 0.9 < texture.max() <= 1
    assert texture.dtype == np.float32


def test_a_stain_is_brown_within_a_part_of_the_page_and_darkest_at_its_rim(rng):
    white = np.ones((200, 200, 3), np.float32)
    for _ in range(10):
        stained = stain(white, 1, rng)
        red, green, blue = stained.reshape(-1, 3).mean(axis=0)
        assert red > green > blue
        assert (stained > 0.99).mean() > 0.3
        assert (stained <= white).all()
    assert np.array_equal(stain(white, 0, rng), white)


def test_fresh_paper_is_the_clean_page(rng):
    image = levels(page())
    assert np.array_equal(degrade_paper(image, levels(page(30)), FRESH, rng), image)


@pytest.mark.parametrize(
    "change",
    [
        {"yellowing": (1, 1)},
        {"mottling": (0.3, 0.3)},
        {"bleed": (0.5, 0.5)},
        {"stains": (3, 3)},
        {"fading": (0.7, 0.7)},
        {"soft": (1, 1)},
        {"light": (0.4, 0.4)},
        {"noise": (5, 5)},
        {"jpeg_quality": (30, 30)},
    ],
)
def test_every_setting_takes_effect(change, rng):
    image = levels(page())
    config = FRESH.model_copy(update=change)
    worn = degrade_paper(image, levels(page(30)), config, rng)
    assert worn.dtype == np.uint8
    assert np.abs(worn.astype(int) - image).mean() > 0.1


def test_worn_pages_depend_on_the_generator_only():
    config = FRESH.model_copy(update={"stains": (1, 3), "noise": (1, 5), "fading": (0.1, 0.9)})
    image, back = levels(page()), levels(page(30))
    first, again, other = (
        degrade_paper(image, back, config, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(image, levels(page()))
