import numpy as np
import pytest
import torch

from vismodels.methods.quest import sample_store
from vismodels.methods.quest.sample_store import SampleStore


@pytest.mark.parametrize("spilled", [1, 10**9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_batches_are_one_tensor_in_their_order(spilled, dtype, generator):
    samples = torch.randn(5, 2, 3, generator=generator).to(dtype)
    store = SampleStore(5, spilled)
    for batch in samples.split(2):
        store.add(batch)
    assert store.values.dtype == dtype
    assert torch.equal(store.values, samples)
    assert torch.equal(store.values[torch.tensor([4, 0])], samples[[4, 0]])


def test_only_large_ones_lie_in_a_file(monkeypatch):
    mapped, memmap = [], np.memmap
    monkeypatch.setattr(
        sample_store.np, "memmap", lambda *a, **k: mapped.append(k["shape"]) or memmap(*a, **k)
    )
    for count in (3, 4):
        SampleStore(count, spilled=4 * 8).add(torch.zeros(count, 2))
    assert mapped == [(4 * 8,)]


def test_too_few_and_too_many_samples_are_refused():
    store = SampleStore(3)
    store.add(torch.zeros(2, 1))
    with pytest.raises(ValueError, match="expected 3 samples, got 2"):
        _ = store.values
    with pytest.raises(ValueError, match="expected 3 samples, got 4 or more"):
        store.add(torch.zeros(2, 1))
