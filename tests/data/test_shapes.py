import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.data.shapes import shape_channels, shape_features, signed_distance


def box(shape, corner, size):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = True
    return mask


def ball(radius, edge=32):
    offsets = np.indices((edge,) * 3) - (edge - 1) / 2
    return (offsets**2).sum(axis=0) <= radius**2


def random_mask(seed, shape=(9, 8, 7)):
    mask = np.random.default_rng(seed).random(shape) < 0.3
    mask[tuple(size // 2 for size in shape)] = True
    return mask


# --- distance ----------------------------------------------------------------------------------


def test_distance_of_a_line_of_five_is_counted_by_hand():
    mask = np.array([0, 0, 1, 1, 1, 1, 1, 0], bool)
    assert signed_distance(mask, 2.0).tolist() == [-4, -2, 2, 4, 6, 4, 2, -2]


def test_beyond_the_volume_there_is_background():
    assert signed_distance(np.ones((3, 3, 3), bool))[1].tolist() == [
        [1, 1, 1],
        [1, 2, 1],
        [1, 1, 1],
    ]


@given(st.integers(0, 10**6))
def test_distance_is_that_to_the_nearest_voxel_of_the_other_side(seed):
    mask = random_mask(seed, (5, 4, 6))
    padded = np.pad(mask, 1)
    inside, outside = np.argwhere(padded), np.argwhere(~padded)
    between = np.linalg.norm(inside[:, None] - outside[None], axis=2)
    wanted = np.zeros(padded.shape)
    wanted[padded] = between.min(axis=1)
    wanted[~padded] = -between.min(axis=0)
    np.testing.assert_allclose(signed_distance(mask), wanted[1:-1, 1:-1, 1:-1], rtol=1e-6)


# --- channels ----------------------------------------------------------------------------------


def test_channels_of_a_box_are_its_blocks_and_their_distances():
    channels = shape_channels(box((64, 64, 64), (20, 20, 20), (8, 8, 8)))
    assert channels.shape == (2, 20, 28, 28)
    assert channels.dtype == np.float32
    soft, distance = channels
    assert soft.sum() == 64  # 4^3 blocks, whole
    assert (soft[8:12, 12:16, 12:16] == 1).all()
    # The corner block holds depths 1 (seven voxels) and 2 (one): mean 9/8 mm, divided by 6.
    assert distance[8, 12, 12] == pytest.approx(9 / 8 / 6)
    # The middle block holds depths 3 (seven voxels) and 4 (one).
    assert distance[9, 13, 13] == pytest.approx(25 / 8 / 6)
    assert distance.min() == -2


def test_a_block_half_inside_is_half():
    soft, _ = shape_channels(box((64, 64, 64), (20, 20, 20), (9, 8, 8)))
    assert set(np.unique(soft)) == {0, 0.5, 1}


def test_distance_is_clipped_deep_inside():
    _, distance = shape_channels(box((64, 64, 64), (2, 2, 2), (60, 60, 60)))
    assert distance.max() == 2


@given(st.tuples(*[st.integers(0, 50)] * 3), st.tuples(*[st.integers(1, 14)] * 3))
def test_channels_do_not_depend_on_the_place_in_the_volume(corner, size):
    moved = shape_channels(box((64, 64, 64), corner, size), crop=(16, 16, 16))
    np.testing.assert_array_equal(
        moved, shape_channels(box((64, 64, 64), (25, 25, 25), size), crop=(16, 16, 16))
    )


@given(st.integers(0, 10**6))
def test_distances_in_the_crop_are_those_of_the_whole_volume(seed):
    mask = random_mask(seed)
    mask[0, 0, 0] = mask[-1, -1, -1] = True  # larger than the crop
    _, distance = shape_channels(mask, crop=(5, 4, 3), pool=1)
    np.testing.assert_allclose(distance, signed_distance(mask)[2:7, 2:6, 2:5] / 6, rtol=1e-6)


def test_spacing_scales_distances_only():
    mask = box((20, 20, 20), (8, 8, 8), (4, 4, 4))
    one, two = (shape_channels(mask, spacing, (8, 8, 8)) for spacing in (1.0, 2.0))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_allclose(2 * one[1], two[1])


@pytest.mark.parametrize(
    ("mask", "options", "error", "words"),
    [
        (np.zeros((8, 8, 8), bool), {}, ValueError, "empty"),
        (np.full((8, 8, 8), 255, np.uint8), {}, TypeError, "bool mask, got uint8"),
        (np.ones((8, 8), bool), {}, ValueError, r"\(D, H, W\) mask, got \(8, 8\)"),
        (np.ones((8, 8, 8), bool), {"crop": (5, 4, 4)}, ValueError, "multiples of 2"),
        (np.ones((8, 8, 8), bool), {"pool": 0}, ValueError, "multiples of 0"),
    ],
)
def test_masks_and_crops_of_another_form_are_refused(mask, options, error, words):
    with pytest.raises(error, match=words):
        shape_channels(mask, **options)


# --- features ----------------------------------------------------------------------------------


def test_features_of_a_box_are_counted_by_hand():
    found = shape_features(box((20, 20, 20), (3, 4, 5), (4, 6, 8)), spacing=2.0)
    assert len(found) == 25
    inner = 2 * 4 * 6  # voxels that are no surface
    wanted = {
        "volume": 192 * 8,
        "surface_voxels": 192 - inner,
        "thickness": 192 / (192 - inner) * 2,
        "depth": 8,
        "height": 12,
        "width": 16,
        "box_fraction": 1,
        "parts": 1,
        "largest_part": 1,
        # depth 2 voxels for those inside, 1 for those of the surface, at 2 mm
        "inner_mean": (4 * inner + 2 * (192 - inner)) / 192,
        "inner_max": 4,
        "inner_25": 2,
        "inner_90": 4,
        # A box of edge a has the variance a^2 / 12.
        "spread_major": 16 / math.sqrt(12),
        "spread_middle": 12 / math.sqrt(12),
        "spread_minor": 8 / math.sqrt(12),
        "elongation": 12 / 16,
        "flatness": 8 / 12,
        "solidity": 1,
        "euler": 1,
    }
    assert {key: found[key] for key in wanted} == pytest.approx(wanted)


def test_a_ball_is_nearly_as_round_as_the_sphere_and_solid():
    found = shape_features(ball(12.0))
    volume = 4 / 3 * math.pi * 12**3
    assert found["volume"] == pytest.approx(volume, rel=0.01)
    assert found["surface"] == pytest.approx(4 * math.pi * 12**2, rel=0.1)  # steps add 8 %
    assert 0.9 < found["sphericity"] < 1
    assert 0.85 < found["solidity"] < 1  # corners of voxels stand out of the ball
    assert found["spread_minor"] == pytest.approx(12 / math.sqrt(5), rel=0.01)
    assert found["elongation"] == pytest.approx(1)


def test_two_parts_and_a_ring_are_told_from_one_solid():
    two = box((20, 20, 20), (1, 1, 1), (2, 2, 2)) | box((20, 20, 20), (10, 10, 10), (4, 4, 4))
    found = shape_features(two)
    assert (found["parts"], found["euler"]) == (2, 2)
    assert found["largest_part"] == pytest.approx(64 / 72)
    ring = box((9, 9, 9), (3, 1, 1), (3, 7, 7)) & ~box((9, 9, 9), (0, 3, 3), (9, 3, 3))
    assert shape_features(ring)["euler"] == 0


def test_a_single_voxel_has_finite_features():
    found = shape_features(box((5, 5, 5), (2, 2, 2), (1, 1, 1)))
    assert all(math.isfinite(value) for value in found.values())
    assert (found["volume"], found["thickness"], found["elongation"]) == (1, 1, 1)


@given(st.integers(0, 10**6), st.tuples(*[st.integers(0, 4)] * 3))
def test_features_do_not_depend_on_the_place_in_the_volume(seed, margins):
    mask = random_mask(seed, (6, 5, 4))
    moved = np.pad(mask, [(margin, 4 - margin) for margin in margins])
    assert shape_features(moved) == shape_features(mask)


@given(st.integers(0, 10**6))
def test_mirrored_shapes_have_equal_features(seed):
    mask = random_mask(seed, (6, 5, 4))
    # the mesh of marching cubes breaks ties of its cases by the order of the axes
    ambiguous = {"surface", "sphericity"}
    one, two = shape_features(mask), shape_features(mask[::-1, :, ::-1])
    for key in one.keys() - ambiguous:
        assert one[key] == pytest.approx(two[key]), key


def test_lengths_areas_and_volumes_scale_with_the_spacing():
    mask = ball(5.0, 16)
    one, two = shape_features(mask), shape_features(mask, 2.0)
    powers = {"volume": 3, "surface": 2, "thickness": 1, "inner_max": 1, "spread_minor": 1}
    powers |= {"solidity": 0, "sphericity": 0, "box_fraction": 0, "euler": 0}
    for key, power in powers.items():
        assert two[key] == pytest.approx(one[key] * 2**power), key
