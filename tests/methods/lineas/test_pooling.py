import pytest
import torch
from torch.testing import assert_close

from vismodels.methods.lineas.pooling import pool

X = torch.tensor([[[1.0, 10.0], [3.0, 20.0], [5.0, 60.0]], [[0.0, 1.0], [2.0, 2.0], [9.0, 9.0]]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()


@pytest.mark.parametrize(
    ("pooling", "plain", "masked"),
    [
        ("mean", [[3, 30], [11 / 3, 4]], [[3, 30], [1, 1.5]]),
        ("min", [[1, 10], [0, 1]], [[1, 10], [0, 1]]),
        ("max", [[5, 60], [9, 9]], [[5, 60], [2, 2]]),
        ("median", [[3, 20], [2, 2]], [[3, 20], [0, 1]]),
        ("last", [[5, 60], [9, 9]], [[5, 60], [2, 2]]),
    ],
)
def test_poolings_by_hand(pooling, plain, masked):
    assert_close(pool(X, pooling), torch.tensor(plain, dtype=torch.float32))
    assert_close(pool(X, pooling, MASK), torch.tensor(masked, dtype=torch.float32))


def test_all_gives_a_row_for_every_position_that_counts():
    assert torch.equal(pool(X, "all"), X.reshape(6, 2))
    assert torch.equal(pool(X, "all", MASK), X.reshape(6, 2)[:5])


def test_mean_std_sees_a_texture_that_leaves_the_mean_alone():
    flat, striped = torch.full((1, 4, 1), 2.0), torch.tensor([1.0, 3, 1, 3])[None, :, None]
    assert torch.equal(pool(flat, "mean"), pool(striped, "mean"))
    assert pool(striped, "mean_std").tolist() == [[2, 1]]
    assert_close(pool(X, "mean_std", MASK)[1], torch.tensor([1, 1.5, 1, 0.5]))


def test_the_gradient_of_mean_std_is_finite_where_nothing_varies():
    x = torch.ones(1, 4, 1, requires_grad=True)
    pool(x, "mean_std").sum().backward()
    assert x.grad.flatten().tolist() == [0.25] * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow_or_lose_the_sum(dtype):
    x = torch.full((1, 4096, 1), 60.0, dtype=dtype)
    pooled = pool(x, "mean")
    assert (pooled.dtype, pooled.item()) == (torch.float32, 60)


def test_padding_of_any_value_is_ignored_and_needs_no_gradient():
    x = X.clone().requires_grad_()
    pool(x, "mean", MASK).sum().backward()
    assert x.grad[1, 2].tolist() == [0, 0]
    loud = X.masked_fill(~MASK[..., None], torch.nan)
    assert_close(pool(loud, "mean", MASK), pool(X, "mean", MASK))


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"a mask \(2, 3\)"):
        pool(X, "mean", MASK[:, :2])
    with pytest.raises(ValueError, match=r"\[3, 0\]"):
        pool(X, "mean", torch.tensor([[1, 1, 1], [0, 0, 0]]).bool())
