import numpy as np
import pytest
import torch

from vismodels.quantization.observers import Extremes, Histogram, to_rows


def test_rows_are_channels_or_the_whole_tensor():
    x = torch.arange(24.0).view(2, 3, 4)
    assert to_rows(x, None).shape == (1, 24)
    assert torch.equal(to_rows(x, 1)[1], x[:, 1].flatten())
    assert torch.equal(to_rows(x, -1)[3], x[..., 3].flatten())


def test_extremes_are_those_of_all_batches():
    seen = Extremes()
    for batch in ([[0.0, 3.0]], [[-2.0, 1.0]], [[0.0, 0.0]]):
        seen.update(torch.tensor(batch))
    assert [each.tolist() for each in seen.ends] == [[-2], [3]]


def test_running_extremes_keep_a_share_of_the_mean():
    seen = Extremes(momentum=0.75)
    seen.update(torch.tensor([[0.0, 4.0]]))
    seen.update(torch.tensor([[-4.0, 8.0]]))
    assert [each.tolist() for each in seen.ends] == [[-1], [5]]


def test_a_histogram_counts_what_numpy_counts(generator):
    rows = torch.randn(3, 1000, generator=generator, dtype=torch.float64)
    low, high = rows.aminmax(dim=1)
    seen = Histogram(low, high, bins=20)
    for batch in rows.split(300, dim=1):
        seen.update(batch)
    for row in range(3):
        counts, edges = np.histogram(rows[row].numpy(), bins=20)
        assert seen.counts[row].tolist() == counts.tolist()
        assert seen.centers[row].numpy() == pytest.approx((edges[:-1] + edges[1:]) / 2)


def test_values_outside_fall_into_the_outer_bins():
    seen = Histogram(torch.tensor([0.0]), torch.tensor([4.0]), bins=4)
    seen.update(torch.tensor([[-9.0, 1.5, 9.0, 4.0]]))
    assert seen.counts.tolist() == [[1, 1, 0, 2]]


def test_a_row_of_one_value_is_counted():
    seen = Histogram(torch.tensor([2.0]), torch.tensor([2.0]), bins=4)
    seen.update(torch.full((1, 3), 2.0))
    assert seen.counts.sum() == 3
    assert seen.centers.isfinite().all()
