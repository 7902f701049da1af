import torch

from vismodels.methods.lineas.trainable import TrainableMaps


def make():
    return TrainableMaps({"unet.a": 2, "text_encoder.b": 3}, "avg")


def test_maps_start_at_the_identity():
    maps = make().maps()
    assert (list(maps), maps.mode) == (["unet.a", "text_encoder.b"], "avg")
    assert maps["unet.a"].scale.tolist() == [1, 1]
    assert maps.support() == 0


def test_gradients_reach_scales_and_shifts():
    trainable = make()
    moved = trainable.maps()["unet.a"].moved(torch.tensor([[3.0, 5.0]]))
    moved.sum().backward()
    assert trainable.deviations[0].grad.tolist() == [3, 5]
    assert trainable.shifts[0].grad.tolist() == [1, 1]
    assert trainable.without_gradient() == ["text_encoder.b"]


def test_small_numbers_are_cleared_and_zeros_are_frozen():
    trainable = make()
    with torch.no_grad():
        trainable.deviations[0].copy_(torch.tensor([0.1, -0.3]))
    trainable.clear_small_(0.1)
    assert trainable.deviations[0].tolist() == [0, torch.tensor(-0.3).item()]
    trainable.deviations[0].grad = torch.ones(2)
    trainable.freeze_zeros_()
    assert trainable.deviations[0].grad.tolist() == [0, 1]
    assert trainable.support() == 1 / 5
