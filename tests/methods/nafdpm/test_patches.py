from itertools import islice

import numpy as np
import pytest
import torch

from vismodels.data.pages import PagePair
from vismodels.methods.nafdpm.config import AugmentationConfig
from vismodels.methods.nafdpm.patches import bleed_through, grey_or_rgb, page_batches

PLAIN = AugmentationConfig()
ALL = AugmentationConfig(
    rotation=10,
    scale=(0.7, 1.4),
    flip=0.5,
    tone=1,
    channel_mix=True,
    noise=0.05,
    bleed=0.5,
    text_share=0.5,
)


def page(name="a", height=60, width=80, seed=0):
    rng = np.random.default_rng(seed)
    clean = np.full((height, width, 3), 255, np.uint8)
    clean[20:30, 30:60] = 0
    degraded = np.clip(clean * 0.6 + rng.integers(0, 60, clean.shape), 0, 255).astype(np.uint8)
    return PagePair(name, degraded, clean)


def draw(count=1, pages=None, seed=0, **options):
    options = {"batch_size": 4, "patch": (32, 48), "channels": 1, "augmentation": PLAIN} | options
    draws = torch.Generator().manual_seed(seed)
    return list(islice(page_batches(pages or [page()], draws, **options), count))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augmentation", [PLAIN, ALL])
def test_batches_have_the_shape_and_range_that_training_expects(channels, augmentation):
    for images in draw(channels=channels, augmentation=augmentation)[0]:
        assert images.shape == (4, channels, 32, 48)
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= images.min() <= images.max() <= 1


@pytest.mark.parametrize("augmentation", [PLAIN, ALL])
def test_equal_seeds_give_equal_batches_and_a_stream_goes_on_from_its_state(augmentation):
    first, second = draw(2, augmentation=augmentation)
    assert not torch.equal(first[0], second[0])
    draws = torch.Generator().manual_seed(0)
    options = {"batch_size": 4, "patch": (32, 48), "channels": 1, "augmentation": augmentation}
    next(page_batches([page()], draws, **options))
    again = next(page_batches([page()], draws, **options))
    assert all(torch.equal(a, b) for a, b in zip(again, second, strict=True))


def test_a_plain_patch_is_a_window_of_the_page_on_both_sides():
    source = page()
    degraded, clean = draw(batch_size=1, pages=[source])[0]
    wanted = grey_or_rgb(source.clean, 1)[..., 0], grey_or_rgb(source.degraded, 1)[..., 0]
    places = [
        (top, left)
        for top in range(60 - 32 + 1)
        for left in range(80 - 48 + 1)
        if np.array_equal(wanted[1][top : top + 32, left : left + 48], degraded[0, 0].numpy())
    ]
    ((top, left),) = places
    assert np.array_equal(wanted[0][top : top + 32, left : left + 48], clean[0, 0].numpy())


def test_two_valued_pages_stay_two_valued_however_they_are_turned():
    for _, clean in draw(5, augmentation=ALL):
        assert set(clean.unique().tolist()) <= {0.0, 1.0}


def test_both_sides_are_turned_mirrored_and_zoomed_alike():
    source = page()
    twin = PagePair("twin", source.clean, source.clean)
    moved = AugmentationConfig(rotation=10, scale=(0.7, 1.4), flip=0.5)
    for degraded, clean in draw(5, pages=[twin], augmentation=moved):
        assert ((degraded < 0.5) != (clean < 0.5)).float().mean() < 0.03  # edges round otherwise


def test_beyond_the_border_the_paper_goes_on():
    small = page(height=20, width=20)
    small.degraded[:] = 90
    degraded, clean = draw(pages=[PagePair("s", small.degraded, small.clean)])[0]
    assert degraded.unique().tolist() == pytest.approx([90 / 255])
    assert clean[:, :, 0].unique().tolist() == [1.0]


def test_patches_on_text_hold_more_of_it():
    wide = page(height=400, width=400)
    shares = [
        torch.cat([c for _, c in draw(20, pages=[wide], augmentation=augmentation)]).lt(0.5)
        for augmentation in (PLAIN, AugmentationConfig(text_share=1.0))
    ]
    per_patch = [share.flatten(1).any(1).float().mean() for share in shares]
    assert per_patch[0] < 0.4 < per_patch[1] == 1


def test_random_mixtures_of_the_channels_change_colours_and_leave_grey_alone():
    grey, coloured = page(), page()
    grey.degraded[:] = 128
    coloured.degraded[:] = (200, 60, 10)
    mixed = AugmentationConfig(channel_mix=True)
    levels = [draw(8, pages=[p], augmentation=mixed) for p in (grey, coloured)]
    spread = [torch.cat([degraded for degraded, _ in drawn]).std() for drawn in levels]
    assert spread[0] < 1e-6 < 0.02 < spread[1]


def test_the_text_of_the_other_side_shows_mirrored_and_no_darker_than_asked():
    blank = np.full((40, 60, 3), 200, np.uint8)
    verso = np.full((40, 60, 3), 255, np.uint8)
    verso[10:30, 5:15] = 0
    shown = bleed_through(blank, verso, 0.5, np.random.default_rng(0))
    assert shown[20, 60 - 10].max() < 200
    assert shown[20, 5:30].min() == 200
    assert 100 <= shown.min() < shown.max() == 200


def test_the_ground_truth_knows_nothing_of_the_other_side():
    through = AugmentationConfig(bleed=0.8)
    with_it, without = draw(6, augmentation=through), draw(6, augmentation=PLAIN)
    assert any((d < 0.999).any() for d, _ in with_it)
    for _, clean in (*with_it, *without):
        assert set(clean.unique().tolist()) <= {0.0, 1.0}


def test_show_through_is_fainter_than_the_pages_own_ink():
    """Else the same grey would be text on one page and show-through on the next."""
    clean = np.full((60, 80, 3), 255, np.uint8)
    clean[:, ::4] = 0
    faint = np.where(clean == 0, 150, 200).astype(np.uint8)
    through = AugmentationConfig(bleed=0.8)
    levels = torch.cat(
        [d for d, _ in draw(20, [PagePair("a", faint, clean)], augmentation=through)]
    )
    text = torch.cat([c for _, c in draw(20, [PagePair("a", faint, clean)], augmentation=through)])
    paper = levels[text == 1]
    assert paper.min() < 0.99 * 200 / 255
    assert paper.min() >= 200 / 255 * (1 - 0.8 * (1 - 150 / 200)) - 2 / 255


def test_no_page_is_an_error():
    with pytest.raises(ValueError, match="at least one page"):
        next(page_batches([], torch.Generator(), batch_size=1, patch=(8, 8), channels=1,
                          augmentation=PLAIN))  # fmt: skip


def test_an_inverted_range_of_zoom_is_refused():
    with pytest.raises(ValueError, match="smallest, largest"):
        AugmentationConfig(scale=(1.4, 0.7))
