import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vismodels.data.label_schemes import scheme_by_name
from vismodels.methods.multilevel_activation.activation import MultiLevelActivation
from vismodels.methods.multilevel_activation.files import (
    read_regions,
    read_segmentation,
    write_regions,
    write_segmentation,
)
from vismodels.methods.multilevel_activation.inference import predict_logits
from vismodels.methods.multilevel_activation.nesting import violations
from vismodels.nn.residual_unet3d import ResidualUNet3D

AFFINE = np.array([[-1.5, 0.25, 0, 90], [0.5, 2, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1]])


def image(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small_network(out_channels=1, spread=1.0):
    """Return a network whose logits reach all levels."""
    network = ResidualUNet3D(2, out_channels, width=2, depth=2)
    generator = torch.Generator().manual_seed(0)
    network.initialize_(generator)
    with torch.no_grad():
        for head in network.output_heads():
            head.weight.normal_(0, spread, generator=generator)
    return network


class WindowMean(nn.Module):
    """The mean of a window at each of its voxels: what one window says is told from another."""

    def forward(self, windows):
        return windows.mean((1, 2, 3, 4), keepdim=True).expand(-1, 1, *windows.shape[2:])


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    st.integers(1, 5),
    st.booleans(),
)
def test_a_network_of_single_voxels_gives_its_own_logits_for_any_size(
    size, window, overlap, batch, flips
):
    network, x = nn.Conv3d(2, 3, 1), image(2, *size)
    with torch.no_grad():
        network.weight.copy_(image(3, 2, 1, 1, 1, seed=1))
        expected = network(x[None])[0]
    found = predict_logits(network, x, window=window, overlap=overlap, batch=batch, flips=flips)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert found.is_contiguous()
    assert not found.requires_grad


def test_windows_are_averaged_with_gaussian_weights_around_their_middle():
    """6 slices and windows of 4: the first window covers 0 to 3, the second 2 to 5."""
    x = torch.zeros(1, 6, 4, 4)
    x[:, 4:] = 8.0  # half of the second window
    found = predict_logits(WindowMean(), x, window=4)[0, :, 1, 1]
    deviation = 4 / 8
    weight = np.exp(-(np.array([0.5, 1.5]) ** 2) / (2 * deviation**2))  # of inner, outer slices
    inner, outer = (weight / weight.sum()).tolist()
    expected = [0, 0, 4 * outer, 4 * inner, 4, 4]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-5)


def test_a_volume_smaller_than_the_window_stands_in_zeros():
    network, x = small_network(), image(2, 5, 8, 3)
    padded = torch.zeros(1, 2, 8, 8, 8)
    padded[0, :, 1:6, :, 2:5] = x
    with torch.no_grad():
        expected = network.eval()(padded)[0, :, 1:6, :, 2:5]
    found = predict_logits(network, x, window=8)
    assert found.shape == (1, 5, 8, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_number_of_windows_at_a_time_does_not_matter():
    network, x = small_network(3), image(2, 9, 12, 10)
    one, many = (predict_logits(network, x, window=(4, 8, 8), batch=batch) for batch in (1, 7))
    assert one.shape == (3, 9, 12, 10)
    torch.testing.assert_close(one, many, rtol=0, atol=1e-5)


def test_averaging_activations_makes_cores_that_no_window_saw():
    """One window sees edema, the next enhancing tumor; their logits have no core between them."""
    x = torch.full((1, 6, 4, 4), -0.25)  # level 1
    x[:, 4:] = 20.0  # the second window has a mean of 9.9: level 3
    head = MultiLevelActivation()
    by_logits = head.levels(predict_logits(WindowMean(), x, window=4))
    by_activations = predict_logits(nn.Sequential(WindowMean(), head), x, window=4).round()
    assert set(by_logits.unique().tolist()) == {1, 3}
    assert 2 in by_activations.unique()


def test_mirrored_views_are_averaged_as_logits():
    network, x = small_network(2).eval(), image(2, 8, 4, 6)
    found = predict_logits(network, x, window=(8, 4, 6), flips=True)
    expected = torch.zeros(1, 2, 8, 4, 6)
    with torch.no_grad():
        for mirrored in itertools.product([False, True], repeat=3):
            axes = [axis for axis, flip in zip((2, 3, 4), mirrored, strict=True) if flip]
            expected += network(x[None].flip(axes)).flip(axes) / 8
    torch.testing.assert_close(found, expected[0], rtol=0, atol=1e-5)
    assert not torch.allclose(found, predict_logits(network, x, window=(8, 4, 6)), atol=1e-2)


def test_mixed_precision_is_within_the_network_and_sums_are_single_precision():
    network, x, seen = small_network(), image(2, 8, 8, 8), []
    network.register_forward_hook(lambda _, i, o: seen.append(o))
    found = predict_logits(network, x, window=8, flips=True, dtype=torch.bfloat16)
    assert {logits.dtype for logits in seen} == {torch.bfloat16}
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())
    exact = predict_logits(network, x, window=8, flips=True)
    assert (found - exact).abs().max() < 0.05 * exact.std()  # 8 bits of mantissa


def test_no_logit_violates_the_nesting_after_windows_flips_and_half_precision(tmp_path):
    x, options = image(2, 11, 9, 13), {"window": 8, "flips": True, "dtype": torch.bfloat16}
    head = MultiLevelActivation()
    logits = predict_logits(small_network(spread=6.0), x, **options)
    assert violations(head.regions(logits[None])[0]).total == 0
    levels = head.levels(logits)[0].numpy()
    assert set(np.unique(levels)) == {0, 1, 2, 3}
    write_segmentation(tmp_path / "a.nii.gz", levels, AFFINE, scheme_by_name("brats2021"))
    read = read_segmentation(tmp_path / "a.nii.gz").levels
    np.testing.assert_array_equal(read, levels)
    write_regions(tmp_path / "a.nii.gz", head.regions(logits[None])[0].numpy(), AFFINE)
    assert violations(read_regions(tmp_path / "a.nii.gz")).total == 0
    sigmoids = predict_logits(small_network(3), x, **options) > 0
    write_regions(tmp_path / "a.nii.gz", sigmoids.numpy(), AFFINE)
    assert violations(read_regions(tmp_path / "a.nii.gz")) == violations(sigmoids)
    assert violations(sigmoids).total > 0


def test_the_network_and_the_image_are_left_as_they_were():
    network, x = small_network().train(), image(2, 8, 8, 8)
    network.heads.eval()
    before = x.clone()
    first, second = (predict_logits(network, x, window=4) for _ in range(2))
    assert torch.equal(first, second)  # no dropout
    assert network.training
    assert not network.heads.training
    torch.testing.assert_close(predict_logits(nn.Identity(), x, window=4), x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (
            None,
            r"8 of 512 logits are not finite, computed in torch\.float32; the training diverged",
        ),
        (torch.bfloat16, r"computed in torch\.bfloat16; .* exceed .* try dtype=None$"),
        (torch.float16, r"computed in torch\.float16; .* try dtype=None or torch\.bfloat16"),
    ],
)
def test_logits_that_are_not_finite_are_an_error_that_names_the_type(value, dtype, message):
    class Broken(nn.Module):
        def forward(self, windows):
            return torch.where(windows > 0, value, windows)

    x = torch.zeros(1, 8, 8, 8)
    x[:, 2:4, 2:4, 2:4] = 1
    with pytest.raises(FloatingPointError, match=message):
        predict_logits(Broken(), x, window=8, dtype=dtype)
    assert predict_logits(Broken(), 0 * x, window=8, dtype=dtype).isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": (4, 4)}, r"window of three sizes .* got \(4, 4\)"),
        ({"window": (4, 0, 4)}, "at least one voxel"),
        ({"overlap": 1.0}, r"overlap in \[0, 1\)"),
        ({"batch": 0}, "got 0.5 and 0"),
        ({"dtype": torch.float64}, "or None as dtype, got torch.float64"),
        ({"image": torch.zeros(1, 2, 4, 4, 4)}, r"one image \(C, D, H, W\)"),
        ({"image": torch.zeros(2, 4, 4, 0)}, r"one image \(C, D, H, W\)"),
        ({"image": torch.zeros(2, 4, 4, 4).half()}, "got .* torch.float16"),
        ({"window": 5}, "divisible by 2"),
    ],
)
def test_arguments_out_of_range_are_an_error(wrong, message):
    arguments = {"image": torch.zeros(2, 8, 8, 8), "window": 4, **wrong}
    with pytest.raises(ValueError, match=message):
        predict_logits(small_network(), **arguments)
