import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d, avg_pool3d

from vismodels.explain.maps import normalize, shifted_cam, upsample

SHAPE = (8, 12, 20)


def random_maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_volume_is_scaled_as_a_whole_and_each_item_by_itself():
    first = torch.tensor([[[0.0, 1.0]], [[2.0, 4.0]]])  # slices of one volume
    maps = normalize(torch.stack([first, 10 * first - 3]))
    expected = torch.tensor([[[0.0, 0.25]], [[0.5, 1.0]]])
    assert torch.equal(maps, torch.stack([expected, expected]))


def test_an_empty_slice_stays_cold():
    maps = torch.zeros(1, 3, 4, 4)
    maps[0, 1, 2, 3] = 5
    maps[0, 2, 0, 0] = 1e-3  # scaled by slice this would be as hot
    assert normalize(maps)[0].amax((1, 2)).tolist() == pytest.approx([0, 1, 2e-4])


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0, 1e30])
@pytest.mark.parametrize("relu", [True, False])
def test_a_constant_map_gives_zeros(value, relu):
    assert normalize(torch.full((2, 2, 3, 4), value), relu=relu).abs().max() == 0


def test_relu_comes_before_the_scaling():
    maps = torch.tensor([[-4.0, 0.0, 1.0, 2.0]])
    assert normalize(maps, relu=True).tolist() == [[0, 0, 0.5, 1]]
    assert normalize(-maps.abs() - 1, relu=True).tolist() == [[0, 0, 0, 0]]


@given(st.integers(0, 2**31), st.floats(1e-20, 1e20), st.floats(-3, 3))
def test_the_unit_of_a_map_does_not_matter(seed, scale, offset):
    maps = random_maps(2, 3, 4, seed=seed)
    moved = normalize((maps + offset) * scale)
    torch.testing.assert_close(moved, normalize(maps), atol=1e-5, rtol=0)
    assert moved.amin((1, 2)).tolist() == [0, 0]
    assert moved.amax((1, 2)).tolist() == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("cells", [(1, 3, 2), (2, 3, 5), (4, 6, 10)])
def test_a_hot_spot_stays_at_its_place_on_every_axis(cells):
    for spot in [(0, 0, 0), (0, 2, 1), tuple(n - 1 for n in cells)]:
        maps = torch.zeros(1, *cells)
        maps[(0, *spot)] = 1
        large = upsample(maps, SHAPE)[0]
        assert large.shape == SHAPE
        for axis, (at, n, size) in enumerate(zip(spot, cells, SHAPE, strict=True)):
            profile = large.amax([a for a in range(3) if a != axis])
            if n > 1:
                expected = slice(at * size // n, (at + 1) * size // n)
                assert profile.argmax() in range(size)[expected]
            else:
                assert profile.min() == profile.max()


def test_cells_are_aligned_by_their_borders():
    """Two cells on four voxels: centers at 0.25, 0.75, 1.25, 1.75 cells, by hand."""
    maps = torch.tensor([[0.0, 1.0]])
    assert upsample(maps, (4,)).tolist() == [[0, 0.25, 0.75, 1]]
    along_depth = upsample(maps.reshape(1, 2, 1, 1), (4, 3, 5))
    assert torch.equal(along_depth[0, :, 1, 2], torch.tensor([0, 0.25, 0.75, 1]))
    assert upsample(maps.reshape(1, 1, 2), (3, 4)).tolist() == [[[0, 0.25, 0.75, 1]] * 3]


def test_items_are_enlarged_alone():
    maps = random_maps(3, 2, 3, 4)
    alone = torch.cat([upsample(maps[i : i + 1], SHAPE) for i in range(3)])
    assert torch.equal(upsample(maps, SHAPE), alone)


@pytest.mark.parametrize("maps", [torch.zeros(1, 2, 3), torch.zeros(1, 1, 2, 3, 4)])
def test_a_shape_with_another_number_of_axes_is_refused(maps):
    with pytest.raises(ValueError, match=r"shape \(8, 12, 20\), got \(1, "):
        upsample(maps, SHAPE)


def pooled(x):
    """Explain by the mean of each cell, 4 x 2 x 4 voxels."""
    return avg_pool3d(x, (4, 2, 4))[:, 0]


def test_moved_windows_are_put_back_in_their_place():
    """A ramp is its own average: away from the borders every window must give the ramp again."""
    depth, height, width = torch.meshgrid(*map(torch.arange, (16, 12, 20)), indexing="ij")
    ramp = (depth + 100.0 * height + 10_000 * width)[None, None]
    maps = shifted_cam(pooled, torch.cat([ramp, -ramp]))
    assert maps.shape == (2, 16, 12, 20)
    inner = (slice(4, -4), slice(2, -2), slice(4, -4))
    torch.testing.assert_close(maps[0][inner], ramp[0, 0][inner])
    torch.testing.assert_close(maps[1], -maps[0])


def test_moved_windows_find_a_spot_within_a_cell():
    """A single window puts the spot in the middle of its cell, wherever in the cell it lies."""
    for spot in [(4, 4, 8), (7, 5, 11), (5, 6, 10)]:
        x = torch.zeros(1, 1, 16, 12, 20)
        x[(0, 0, *spot)] = 1
        grid = torch.stack(
            torch.meshgrid(*[torch.arange(n) + 0.0 for n in (16, 12, 20)], indexing="ij")
        )

        def miss(maps, grid=grid, spot=spot):
            center = (grid * maps).flatten(1).sum(1) / maps.sum()
            return float((center - torch.tensor(spot)).norm())

        assert miss(shifted_cam(pooled, x)[0]) < miss(upsample(pooled(x), (16, 12, 20))[0])


def test_every_combination_of_moved_axes_is_explained_once():
    seen = []

    def explain(x):
        seen.append(tuple(int(i) for i in torch.nonzero(x[0, 0] == 1)[0]))
        return avg_pool2d(x, (2, 4))[:, 0]

    x = torch.zeros(1, 1, 6, 8)
    x[0, 0, 2, 3] = 1
    shifted_cam(explain, x)
    assert sorted(seen) == [(2, 3), (2, 5), (3, 3), (3, 5)]


def test_a_map_as_fine_as_the_input_needs_one_window():
    x = random_maps(2, 1, 4, 6)
    seen = []
    maps = shifted_cam(lambda v: seen.append(v) or v[:, 0], x)
    assert len(seen) == 1
    assert torch.equal(maps, x[:, 0])


def test_a_constant_explanation_stays_constant_up_to_the_borders():
    x = random_maps(1, 1, 8, 12, 8)
    maps = shifted_cam(lambda v: torch.full((1, 2, 6, 2), 3.0), x)
    assert torch.equal(maps, torch.full((1, 8, 12, 8), 3.0))
