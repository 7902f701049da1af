import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vismodels.data.pages import PagePair, Word
from vismodels.methods.nafdpm.levels import ink_and_paper, leveled, leveled_pair


def written(ink, paper, height=80, width=90):
    """Return a grey page with strokes of ink, a tenth of it."""
    grey = np.full((height, width), paper, np.float32)
    grey[:, ::10] = ink
    return grey


def test_ink_and_paper_of_a_page_are_found():
    assert ink_and_paper(written(0.3, 0.7)) == pytest.approx((0.3, 0.7), abs=0.003)


def test_dark_borders_and_stains_are_no_ink():
    """The darkest pixels of a scan are often those around the page."""
    grey = written(0.5, 0.7, 200, 200)
    grey[:, :60], grey[150:] = 0.05, 0.1
    assert ink_and_paper(grey) == pytest.approx((0.5, 0.7), abs=0.003)


def test_the_grain_of_the_paper_is_no_ink():
    rng = np.random.default_rng(0)
    grey = written(0.3, 0.7, 200, 200) + rng.normal(0, 0.01, (200, 200)).astype(np.float32)
    assert ink_and_paper(grey) == pytest.approx((0.3, 0.7), abs=0.02)


@given(st.floats(0, 0.4), st.floats(0.55, 1))
def test_every_page_has_the_same_ink_and_paper_afterwards(ink, paper):
    page = leveled(torch.from_numpy(written(ink, paper))[None, None])[0, 0]
    assert float(page[5, 10]) == pytest.approx(0.25, abs=0.03)
    assert float(page[5, 15]) == pytest.approx(0.9, abs=1e-5)


def test_each_page_of_a_batch_has_its_own_levels():
    pages = torch.from_numpy(np.stack([written(0.1, 0.5), written(0.6, 0.9)]))[:, None]
    both = leveled(pages)
    assert torch.equal(both[:1], leveled(pages[:1]))
    assert torch.equal(both[1:], leveled(pages[1:]))


def test_an_empty_page_is_stretched_a_little_only():
    page = torch.full((1, 1, 60, 60), 0.8)
    page[..., 0] = 0.81
    stretched = leveled(page)
    assert stretched.isfinite().all()
    assert float(stretched.max() - stretched.min()) == pytest.approx(0.01 * 0.65 / 0.05, abs=1e-4)


def test_light_and_dark_beyond_the_levels_are_clipped():
    grain = np.random.default_rng(0).uniform(-0.02, 0.02, (80, 90)).astype(np.float32)
    grey = written(0.4, 0.6) + grain
    grey[5, 5], grey[6, 5] = 1.0, 0.0
    page = leveled(torch.from_numpy(grey)[None, None])
    assert (float(page.min()), float(page.max())) == (0.0, 1.0)


def test_the_pages_that_training_cuts_patches_from_have_the_levels_that_the_pipeline_makes():
    grey = np.round(written(0.3, 0.7) * 255).astype(np.uint8)
    clean = np.where(grey < 128, 0, 255).astype(np.uint8)
    pair = PagePair(
        "a", *(np.repeat(g[..., None], 3, 2) for g in (grey, clean)), (Word("x", 0, 0, 1, 1, 0),)
    )
    found = leveled_pair(pair)
    expected = leveled(torch.from_numpy(grey / 255).float()[None, None])[0, 0]
    torch.testing.assert_close(
        torch.from_numpy(found.degraded[..., 1] / 255).float(), expected, atol=1 / 255, rtol=0
    )
    assert found.clean is pair.clean
    assert found.words == pair.words


def test_channels_move_alike():
    color = np.repeat(written(0.3, 0.7)[..., None] * 255, 3, 2) * [1.0, 0.9, 0.8]
    pair = PagePair("a", np.round(color).astype(np.uint8), np.full(color.shape, 255, np.uint8))
    red, _, blue = np.moveaxis(leveled_pair(pair).degraded.astype(float), 2, 0)
    before = np.moveaxis(pair.degraded.astype(float), 2, 0)
    slope = (0.9 - 0.25) / np.subtract(*reversed(ink_and_paper(_luma(pair.degraded))))
    inside = (blue > 0) & (red < 255)
    np.testing.assert_allclose(
        (red - blue)[inside], slope * (before[0] - before[2])[inside], atol=1
    )


def _luma(image):
    return (image / 255 @ [0.299, 0.587, 0.114]).astype(np.float32)
