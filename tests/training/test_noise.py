import torch
from torch.nn import functional as F

from vismodels.training.noise import global_noise

ONES = torch.ones(64)


def dropped(source):
    with global_noise(source):
        return F.dropout(ONES)


def test_the_source_decides_what_is_drawn(generator):
    state = generator.get_state()
    torch.manual_seed(1)
    first, second = dropped(generator), dropped(generator)
    assert not torch.equal(first, second)
    generator.set_state(state)
    torch.manual_seed(2)
    assert torch.equal(dropped(generator), first)


def test_the_global_generator_is_as_it_was(generator):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    dropped(generator)
    assert torch.equal(torch.rand(4), expected)
