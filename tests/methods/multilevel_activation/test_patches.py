import itertools
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from small_brains import SHAPE, TRAINING, brain, brains

from vismodels.config import parse_config
from vismodels.data.brain_cases import BrainCase
from vismodels.methods.multilevel_activation.config import TrainingSettings
from vismodels.methods.multilevel_activation.inference import predict_logits
from vismodels.methods.multilevel_activation.patches import (
    PatchSource,
    fixed_patches,
    patch_batches,
)

STILL = {"flip": [0.0, 0.0, 0.0], "gain": 0.0, "offset": 0.0}


def settings(**changes):
    return parse_config(TrainingSettings, TRAINING | changes, "training")


def numbered(levels):
    """Return a case whose first image gives every voxel a number, and whose levels are given."""
    numbers = 1 + np.arange(levels.size, dtype=np.float32).reshape(levels.shape)
    images = np.stack([numbers, *(np.ones_like(numbers) for _ in range(3))])
    return BrainCase("numbered", images, levels, np.eye(4))


def place(image):
    """Return where in the case a patch of `numbered` starts."""
    return np.unravel_index(int(image[0, 0, 0, 0]) - 1, SHAPE)


class Calls(torch.nn.Module):
    """A network that is a function."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def one_voxel(*voxel):
    levels = np.zeros(SHAPE, np.uint8)
    levels[voxel] = 3
    return numbered(levels)


def test_the_drawn_voxel_is_the_middle_of_the_patch(generator):
    """The only voxel of a level is in the middle, at edge // 2, in every second patch."""
    source = PatchSource([one_voxel(6, 7, 5)], (4, 6, 3))
    starts = [place(source.draw(generator)[0]) for _ in range(60)]
    assert Counter(starts)[6 - 2, 7 - 3, 5 - 1] >= 20


def test_the_middle_is_moved_by_the_jitter_at_most(generator):
    case = one_voxel(6, 7, 5)
    case.images[:, case.levels == 0] = 0  # the voxel is the whole brain
    source = PatchSource([case], (4, 4, 4), jitter=1)
    found = {tuple(torch.nonzero(source.draw(generator)[1])[0].tolist()) for _ in range(200)}
    assert found == set(itertools.product((1, 2, 3), repeat=3))


def test_a_patch_at_the_border_is_moved_inside(generator):
    source = PatchSource([one_voxel(0, 13, 0)], (5, 5, 5), jitter=2)
    for _ in range(50):
        images, levels = source.draw(generator)
        assert images.shape == (4, 5, 5, 5)
        assert levels.shape == (5, 5, 5)
        start = place(images)
        assert all(0 <= a <= n - 5 for a, n in zip(start, SHAPE, strict=True))


def test_a_patch_may_be_as_large_as_its_case(generator):
    case = brain(0)
    images, levels = PatchSource([case], SHAPE, jitter=3).draw(generator)
    assert torch.equal(images, torch.from_numpy(case.images))
    assert torch.equal(levels, torch.from_numpy(case.levels).long())


def test_a_case_smaller_than_a_patch_lies_in_the_middle_of_background(generator):
    """One voxel too short is one after it; windows of inference put the case at the same place."""
    case, size = brain(0), (15, 14, 15)
    images, levels = PatchSource([case], size, jitter=3).draw(generator)
    seen = []

    def network(window):
        seen.append(window)
        return window

    predict_logits(Calls(network), torch.from_numpy(case.images), window=size)
    assert torch.equal(images, seen[0][0])
    inside = (slice(1, 13), slice(0, 14), slice(2, 12))
    assert torch.equal(images[:, *inside], torch.from_numpy(case.images))
    assert torch.equal(levels[inside], torch.from_numpy(case.levels).long())
    assert levels.sum() == case.levels.sum()


def test_images_and_levels_are_of_the_same_voxels(generator):
    case = numbered(brain(0).levels)
    source = PatchSource([case], (4, 5, 6), jitter=2)
    for _ in range(20):
        images, levels = source.draw(generator)
        expected = case.levels.ravel()[images[0].long().numpy() - 1]
        assert np.array_equal(levels.numpy(), expected)


def test_levels_are_drawn_evenly_whatever_their_size(generator):
    """A patch of one voxel without jitter shows what was drawn; the brain is mostly level 0."""
    levels = np.zeros(SHAPE, np.uint8)
    levels[0, :5] = 1
    levels[1, 0, :4] = 2
    levels[2, 0, 0] = 3
    source = PatchSource([numbered(levels)], (1, 1, 1))
    drawn = Counter(int(source.draw(generator)[1]) for _ in range(2000))
    for level in (1, 2, 3):
        assert drawn[level] == pytest.approx(500, abs=80)  # 4 deviations of 19


def test_a_case_without_a_level_shares_its_patches_among_the_others(generator):
    levels = np.zeros(SHAPE, np.uint8)
    levels[0, 0, :4] = 1
    source = PatchSource([numbered(levels)], (1, 1, 1))
    drawn = Counter(int(source.draw(generator)[1]) for _ in range(1000))
    assert set(drawn) == {0, 1}
    assert drawn[1] == pytest.approx(750, abs=60)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_a_share_of_the_patches_lies_anywhere_in_the_brain(share, generator):
    levels = np.zeros(SHAPE, np.uint8)
    levels[0, 0, 0] = 3
    source = PatchSource([numbered(levels)], (1, 1, 1), brain_share=share)
    drawn = Counter(int(source.draw(generator)[1]) for _ in range(1000))
    inside = levels.size - 1
    assert drawn[0] == pytest.approx(1000 * share * inside / levels.size, abs=70)


def test_a_case_without_tumor_gives_patches_of_its_brain(generator):
    source = PatchSource([numbered(np.zeros(SHAPE, np.uint8))], (1, 1, 1), brain_share=0.0)
    assert int(source.draw(generator)[1]) == 0


def test_all_cases_are_drawn_from(generator):
    cases = [numbered(np.full(SHAPE, level, np.uint8)) for level in (1, 2, 3)]
    source = PatchSource(cases, (2, 2, 2))
    drawn = Counter(int(source.draw(generator)[1][0, 0, 0]) for _ in range(300))
    assert all(drawn[level] > 60 for level in (1, 2, 3))


def test_nothing_outside_of_the_brain_is_drawn(generator):
    case = numbered(np.zeros(SHAPE, np.uint8))
    case.images[:, :, :, 5:] = 0
    source = PatchSource([case], (1, 1, 1))
    assert all(source.draw(generator)[0].any() for _ in range(100))


@pytest.mark.parametrize(
    ("cases", "size", "words"),
    [
        ([], (4, 4, 4), "no case to draw patches from"),
        ([replace(brain(0), images=0 * brain(0).images)], (4, 4, 4), "'case_0' has no brain"),
        ([brain(0), replace(brain(1), levels=None)], (4, 4, 4), "'case_1' has no levels to learn"),
    ],
)
def test_what_no_patch_can_be_drawn_from_is_refused(cases, size, words):
    with pytest.raises(ValueError, match=words):
        PatchSource(cases, size)


def test_batches_are_channels_last_and_levels_whole_numbers(generator):
    images, levels = next(patch_batches(PatchSource(brains(2), (8, 8, 8)), generator, settings()))
    assert images.shape == (2, 4, 8, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last_3d)
    assert images.dtype == torch.float32
    assert levels.shape == (2, 8, 8, 8)
    assert levels.dtype == torch.int64


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_levels_are_mirrored_with_the_images_along_the_axis(axis, generator):
    case = numbered(brain(0).levels)
    flip = [float(axis == each) for each in range(3)]
    changes = STILL | {"flip": flip}
    source = PatchSource([case], (6, 6, 6))
    images, levels = next(patch_batches(source, generator, settings(**changes)))
    for image, level in zip(images[:, 0].long(), levels, strict=True):
        places = np.unravel_index(image.numpy() - 1, SHAPE)
        for each in range(3):
            steps = np.diff(places[each], axis=each)
            assert (steps == (-1 if each == axis else 1)).all()
        assert np.array_equal(level.numpy(), case.levels[places])


def test_a_chance_of_a_half_mirrors_half_of_the_patches(generator):
    case = numbered(brain(0).levels)
    source = PatchSource([case], (2, 2, 2))
    batches = patch_batches(
        source, generator, settings(**STILL | {"flip": [0.5, 0.5, 0.5], "batch_size": 300})
    )
    images = next(batches)[0][:, 0]
    for axis in (1, 2, 3):
        rising = (images.diff(dim=axis) > 0).flatten(1).all(1)
        assert 110 < int(rising.sum()) < 190


def test_gain_and_offset_are_of_each_modality_and_leave_the_background_at_zero(generator):
    source = PatchSource([brain(0)], SHAPE)
    plain, _ = source.draw(generator)
    batches = patch_batches(source, generator, settings(flip=[0.0, 0.0, 0.0]))
    changed = next(batches)[0]
    inside = (plain != 0).any(0)
    assert torch.equal(changed[:, :, ~inside], torch.zeros_like(changed[:, :, ~inside]))
    seen = set()
    for image in changed:
        for modality in range(4):
            x, y = plain[modality][inside].double(), image[modality][inside].double()
            gain = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
            offset = y.mean() - gain * x.mean()
            torch.testing.assert_close(y, gain * x + offset, rtol=0, atol=1e-5)
            assert 0.5 < gain < 1.5
            assert abs(offset) < 0.5
            seen.add((round(float(gain), 4), round(float(offset), 4)))
    assert len(seen) == 8


def test_a_voxel_of_the_brain_that_is_zero_on_one_image_is_moved_like_the_others(generator):
    case = brain(0)
    case.images[0, 5, 5, 5] = 0
    changes = STILL | {"offset": 0.5, "patch": SHAPE}
    changed = next(patch_batches(PatchSource([case], SHAPE), generator, settings(**changes)))[0]
    moved = changed[0, 0] - torch.from_numpy(case.images[0])
    assert moved[5, 5, 5] == pytest.approx(float(moved[6, 6, 6]), abs=1e-6)
    assert moved[5, 5, 5] != 0


def test_without_changes_patches_come_as_they_are():
    source = PatchSource(brains(3), (8, 8, 8), jitter=1)
    whole = settings(**STILL)
    images, levels = next(patch_batches(source, torch.Generator().manual_seed(4), whole))
    again, theirs = fixed_patches(source, 2, torch.Generator().manual_seed(4))
    assert torch.equal(images, again)
    assert torch.equal(levels, theirs)


def test_one_seed_gives_the_same_patches_and_another_others():
    source = PatchSource(brains(3), (8, 8, 8), jitter=1)
    first, second, other = (
        list(islice(patch_batches(source, torch.Generator().manual_seed(seed), settings()), 3))
        for seed in (0, 0, 1)
    )
    for (a, b), (c, d) in zip(first, second, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    assert not torch.equal(first[0][0], other[0][0])
    assert not torch.equal(first[0][0], first[1][0])


def test_batches_go_on_where_the_generator_stands():
    """After a resume: the generator's state is all that batches remember."""
    source = PatchSource(brains(3), (8, 8, 8), jitter=1)
    draws = torch.Generator().manual_seed(0)
    stream = patch_batches(source, draws, settings())
    next(stream)
    state = draws.get_state()
    expected = next(stream)
    fresh = torch.Generator()
    fresh.set_state(state)
    for a, b in zip(expected, next(patch_batches(source, fresh, settings())), strict=True):
        assert torch.equal(a, b)


def test_the_cases_are_left_as_they_were(generator):
    case = brain(0)
    before = case.images.copy()
    list(islice(patch_batches(PatchSource([case], SHAPE), generator, settings()), 2))
    assert np.array_equal(case.images, before)


def test_fixed_patches_are_as_many_as_asked_for(generator):
    images, levels = fixed_patches(PatchSource(brains(2), (4, 6, 8)), 5, generator)
    assert images.shape == (5, 4, 4, 6, 8)
    assert levels.shape == (5, 4, 6, 8)
    assert images.is_contiguous(memory_format=torch.channels_last_3d)
