import pytest
import torch
from torch import nn

from vismodels.methods.quest.freezing import frozen


def test_parameters_get_no_gradient_inside_and_have_none_afterwards():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].bias.requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]
    with frozen(model):
        model[1].bias.requires_grad_(True)
        model(torch.ones(1, 2)).sum().backward()
        assert [p.grad is not None for p in model.parameters()] == [False, False, False, True]
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_error_unfreezes():
    model = nn.Linear(2, 2)
    with pytest.raises(RuntimeError), frozen(model):
        raise RuntimeError
    assert model.weight.requires_grad
