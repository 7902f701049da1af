import math

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional as F

from vismodels.methods.multilevel_activation.activation import (
    Steps,
    activate,
    cumulative_logits,
    inverse,
)
from vismodels.methods.multilevel_activation.losses import (
    level_weights,
    mce,
    mse,
    multilevel_loss,
    nce,
    nested_dice,
    ordinal,
    region_dice,
    sigmoid_loss,
    softmax_loss,
    summed_probabilities,
    weighted_mean,
)
from vismodels.methods.multilevel_activation.names import LOSSES, SIGMOID_LOSSES, SOFTMAX_LOSSES
from vismodels.methods.multilevel_activation.nesting import region_masks

STEPS = Steps()
EVERY_LEVEL = torch.arange(4).view(1, 4)  # (B, ...) = (1, 4)
MIDDLE = torch.zeros(1, 1, 4, dtype=torch.float64)  # a = 1.5 everywhere
LOG_2, SMALL = math.log(2), math.log1p(math.exp(-5))


def heads():
    """Return (name, channels, loss of logits and levels) of every loss of every head."""
    for name in LOSSES:
        yield name, 1, lambda z, y, w=None, n=name: multilevel_loss(n, z, y, STEPS, w)
    for name in SOFTMAX_LOSSES:
        yield name, 4, lambda z, y, w=None, n=name: softmax_loss(n, z, y, 4, w)
    for name in SIGMOID_LOSSES:
        yield name, 3, lambda z, y, w=None, n=name: sigmoid_loss(n, z, y, 4, w)


every_loss = pytest.mark.parametrize(
    ("channels", "loss"), [pytest.param(k, loss, id=name) for name, k, loss in heads()]
)


@pytest.fixture
def batch(generator):
    z = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64, generator=generator)
    return z, torch.randint(4, (2, 3, 4, 5), generator=generator)


def test_the_voxel_losses_at_the_middle_by_hand():
    # P = 1/2, 5/6, 5/6, 1/2 and their sum is 8/3
    expected = {
        mse: [2.25, 0.25, 0.25, 2.25],
        mce: [-math.log(p) for p in (1 / 2, 5 / 6, 5 / 6, 1 / 2)],
        nce: [-math.log(p) for p in (3 / 16, 5 / 16, 5 / 16, 3 / 16)],
        # logits of the regions: 5, 0, -5
        ordinal: [
            (5 + SMALL + LOG_2 + SMALL) / 3,
            (SMALL + LOG_2 + SMALL) / 3,
            (SMALL + LOG_2 + SMALL) / 3,
            (SMALL + LOG_2 + 5 + SMALL) / 3,
        ],
    }
    for loss, values in expected.items():
        found = loss(MIDDLE, EVERY_LEVEL, STEPS)
        assert found.shape == EVERY_LEVEL.shape
        assert found.flatten().tolist() == pytest.approx(values, abs=1e-12), loss.__name__


def test_nested_dice_by_hand():
    # s of WT, TC, ET over 4 voxels: 4s, 2, 4(1-s) with s = logistic(5); g: 3, 2, 1
    s = 1 / (1 + math.exp(-5))
    dice = [
        (2 * 3 * s + 1) / (4 * s + 3 + 1),
        (2 * 2 * 0.5 + 1) / (2 + 2 + 1),
        (2 * (1 - s) + 1) / (4 * (1 - s) + 1 + 1),
    ]
    found = nested_dice(MIDDLE, EVERY_LEVEL, STEPS).item()
    assert found == pytest.approx(1 - sum(dice) / 3, abs=1e-12)


def test_for_two_classes_mce_is_binary_cross_entropy(generator):
    z = torch.randn(3, 1, 7, dtype=torch.float64, generator=generator)
    levels = torch.randint(2, (3, 7), generator=generator)
    expected = F.binary_cross_entropy_with_logits(4 * z[:, 0], levels.double(), reduction="none")
    torch.testing.assert_close(mce(z, levels, Steps(2, 4.0, 1.0)), expected)


def test_mce_forgives_neighboring_levels():
    z = inverse(torch.tensor([[[1.0]]]), STEPS)
    assert mce(z, torch.tensor([[2]]), STEPS).item() == pytest.approx(-math.log(2 / 3))


def test_the_ordinal_loss_is_convex():
    z = torch.linspace(-3, 3, 301, dtype=torch.float64).view(1, 1, -1)
    for level in range(4):
        values = ordinal(z, torch.full((1, 301), level), STEPS)[0]
        assert (values.diff(n=2) > -1e-12).all()


def test_the_region_dice_is_that_of_monai(batch):
    z, levels = batch
    soft, true = cumulative_logits(z, STEPS).sigmoid(), region_masks(levels, 4)
    reference = DiceLoss(batch=True, smooth_nr=1.0, smooth_dr=1.0)
    torch.testing.assert_close(region_dice(soft, true), reference(soft, true.double()))


def test_the_cross_entropy_is_its_definition(batch, generator):
    _, levels = batch
    logits = torch.randn(2, 4, *levels.shape[1:], dtype=torch.float64, generator=generator)
    weights = torch.tensor([0.1, 0.9, 1.5, 1.5], dtype=torch.float64)
    per_voxel = -logits.log_softmax(1).gather(1, levels.unsqueeze(1))[:, 0]
    torch.testing.assert_close(
        softmax_loss("cross_entropy", logits, levels, 4, weights),
        weighted_mean(per_voxel, levels, weights),
    )


def test_sigmoids_of_the_cumulative_logits_have_the_loss_of_the_multilevel_head(batch):
    z, levels = batch
    weights = level_weights([9, 4, 2, 1])
    for sigmoid, multilevel in (
        ("bce", "ordinal"),
        ("bce+region_dice", "ordinal+nested_dice"),
    ):
        torch.testing.assert_close(
            sigmoid_loss(sigmoid, cumulative_logits(z, STEPS), levels, 4, weights),
            multilevel_loss(multilevel, z, levels, STEPS, weights),
        )


def test_softmax_regions_are_sums_over_their_levels():
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().view(1, 4, 1)
    assert summed_probabilities(logits).flatten().tolist() == pytest.approx([0.9, 0.7, 0.4])


def test_the_sum_of_two_losses_is_their_sum(batch):
    z, levels = batch
    expected = sum(multilevel_loss(name, z, levels, STEPS) for name in ("ordinal", "nested_dice"))
    torch.testing.assert_close(multilevel_loss("ordinal+nested_dice", z, levels, STEPS), expected)


def test_the_weighted_mean_by_hand():
    values = torch.tensor([[1.0, 2.0, 4.0]])
    levels = torch.tensor([[0, 0, 1]])
    assert weighted_mean(values, levels).item() == pytest.approx(7 / 3)
    assert weighted_mean(values, levels, torch.tensor([0.5, 3.0])).item() == pytest.approx(13.5 / 4)


def test_level_weights_are_inverse_roots_of_mean_1():
    # 1/10, 1/5, 1/2, 1, whose mean is 0.45
    expected = [10 / 45, 20 / 45, 50 / 45, 100 / 45]
    assert level_weights([100, 25, 4, 1]).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("counts", [[5, 0, 1, 1], []])
def test_a_level_without_voxels_has_no_weight(counts):
    with pytest.raises(ValueError, match="every level needs voxels"):
        level_weights(counts)


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_prefers_a_wrong_level(name):
    plateaus = inverse(torch.tensor([0.02, 1, 2, 2.98]), STEPS)
    for level in range(4):
        levels = torch.full((1, 6), level)
        losses = [multilevel_loss(name, z.expand(1, 1, 6), levels, STEPS).item() for z in plateaus]
        assert min(range(4), key=losses.__getitem__) == level


@every_loss
def test_weights_move_every_loss_but_dice(request, batch, channels, loss):
    _, levels = batch
    logits = torch.randn(2, channels, *levels.shape[1:], generator=torch.Generator().manual_seed(1))
    plain, even = loss(logits, levels), loss(logits, levels, torch.ones(4))
    weighted = loss(logits, levels, torch.tensor([0.1, 0.2, 0.7, 3.0]))
    torch.testing.assert_close(plain, even)
    is_dice = request.node.callspec.id == "nested_dice"
    assert (weighted == plain) == is_dice


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_losses_and_gradients_are_finite_at_extreme_logits(channels, loss, dtype):
    values = torch.tensor([-1e4, -100, -0.8, 0, 0.8, 100, 1e4])
    logits = values.expand(1, channels, 4, 7).clone()
    logits[:, ::2] *= -1  # channels that contradict one another
    logits = logits.to(dtype).requires_grad_()
    levels = torch.arange(4).view(1, 4, 1).expand(1, 4, 7)
    total = loss(logits, levels, torch.tensor([0.3, 0.7, 1.0, 2.0]))
    total.backward()
    assert total.dtype == torch.float32
    assert total.isfinite()
    assert logits.grad.dtype == dtype
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("dtype", "largest"),
    [
        (torch.float16, math.inf),
        (torch.bfloat16, 3.3e38),
        (torch.float32, 3.4e38),
        (torch.float32, math.inf),
        (torch.float64, 1e308),
    ],
)
def test_losses_and_gradients_are_finite_where_k_z_overflows(name, dtype, largest):
    z = torch.tensor([-largest, largest]).to(dtype).view(1, 1, 2, 1).expand(1, 1, 2, 4)
    z = z.clone().requires_grad_()
    levels = torch.arange(4).expand(1, 2, 4)
    total = multilevel_loss(name, z, levels, STEPS)
    total.backward()
    assert total.isfinite()
    assert z.grad.isfinite().all()
    right = torch.tensor([[[0], [3]]])
    assert multilevel_loss(name, z[..., :1], right, STEPS) < total


def test_only_the_ordinal_loss_pulls_a_saturated_logit_back():
    levels = torch.zeros(1, 1, dtype=torch.int64)
    for name in ("mse", "mce", "nce", "ordinal"):
        z = torch.full((1, 1, 1), 50.0, requires_grad=True)
        multilevel_loss(name, z, levels, STEPS).backward()
        assert (z.grad.item() > 0) == (name == "ordinal")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_have_the_loss_of_their_exact_values(batch, dtype):
    z, levels = batch[0].to(dtype), batch[1]
    for name in LOSSES:
        exact = multilevel_loss(name, z.float(), levels, STEPS)
        assert torch.equal(multilevel_loss(name, z, levels, STEPS), exact)


@every_loss
def test_descent_finds_the_levels(batch, channels, loss):
    _, levels = batch
    logits = torch.zeros(2, channels, *levels.shape[1:], requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        loss(logits, levels).backward()
        optimizer.step()
    if channels == 1:
        found = activate(logits[:, 0], STEPS).round()
    else:
        found = logits.argmax(1) if channels == 4 else (logits > 0).sum(1)
    assert torch.equal(found.long(), levels)


@pytest.mark.parametrize(
    "call",
    [
        lambda z, y: multilevel_loss("ordnal", z, y, STEPS),
        lambda z, y: softmax_loss("cross_entropi", z, y, 4),
        lambda z, y: sigmoid_loss("bcee", z, y, 4),
    ],
)
def test_unknown_losses_are_refused_with_the_nearest_name(batch, call):
    with pytest.raises(ValueError, match=r"unknown loss '\w+'; did you mean '\w+'\?"):
        call(*batch)


@every_loss
@pytest.mark.parametrize(
    ("extra", "shape", "dtype"),
    [
        (1, (2, 3, 4), torch.int64),
        (0, (2, 1, 3, 4), torch.int64),
        (0, (2, 3, 5), torch.int64),
        (0, (2, 3, 4), torch.uint8),
    ],
)
def test_logits_and_levels_that_do_not_fit_are_refused(channels, loss, extra, shape, dtype):
    logits = torch.zeros(2, channels + extra, 3, 4)
    with pytest.raises(
        ValueError, match=rf"expected logits \(B, {channels}, ...\) and int64 levels"
    ):
        loss(logits, torch.zeros(shape, dtype=dtype))
