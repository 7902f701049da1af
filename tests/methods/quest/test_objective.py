import pytest
import torch
from diffusers import DDIMScheduler

from vismodels.methods.quest.objective import Objective, epsilon_weights

OUTPUT, TARGET = torch.tensor([[3.0, 1.0], [2.0, 2.0]]), torch.tensor([[1.0, 1.0], [2.0, 0.0]])
LAYERS = {"a": torch.tensor([[2.0], [2.0]]), "b": torch.tensor([[10.0], [10.0]])}
LAYER_TARGETS = {"a": torch.tensor([[1.0], [1.0]]), "b": torch.tensor([[8.0], [8.0]])}
# Mean squared errors: 2 of the output, 1 and 4 of the layers; mean squares of their targets: 6 / 4,
# 1 and 64.


@pytest.mark.parametrize(
    ("objective", "local", "whole"),
    [
        (Objective("none", 1.0), 0, 2),
        (Objective("none", 3.0), 0, 6),
        (Objective("sum", 2.0), 5, 4),
        (Objective("mean", 2.0), 2.5, 4),
        (Objective("mean", 1.0, global_per_layer=True), 2.5, 4),
        (Objective("relative", 2.0), (1 + 4 / 64) / 2, 2 * 2 / 1.5),
    ],
)
def test_terms_by_hand(objective, local, whole):
    terms = objective(OUTPUT, TARGET, LAYERS, LAYER_TARGETS)
    assert terms["local"].item() == pytest.approx(local)
    assert terms["global"].item() == pytest.approx(whole)
    assert terms["loss"].item() == pytest.approx(local + whole)


def test_samples_are_weighted():
    # Their errors are 2 and 2.
    weights = torch.tensor([0.25, 1.0])
    terms = Objective("none", 1.0)(OUTPUT, TARGET, weights=weights)
    assert terms["loss"].item() == pytest.approx((0.25 * 2 + 2) / 2)


def test_only_the_loss_has_a_gradient():
    output = OUTPUT.clone().requires_grad_()
    terms = Objective("sum", 1.0)(output, TARGET, LAYERS, LAYER_TARGETS)
    assert terms["loss"].requires_grad
    assert not terms["local"].requires_grad
    assert not terms["global"].requires_grad


def scheduler(kind):
    return DDIMScheduler(
        prediction_type=kind, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )


def test_weighted_errors_of_v_are_those_of_epsilon(generator):
    ddim, timesteps = scheduler("v_prediction"), torch.tensor([10, 400, 999])
    noisy, v, other = torch.randn(3, 3, 5, generator=generator)
    a = ddim.alphas_cumprod[timesteps][:, None]

    def epsilon(v):
        return a.sqrt() * v + (1 - a).sqrt() * noisy

    expected = (epsilon(v) - epsilon(other)).square().mean(1)
    found = (v - other).square().mean(1) * epsilon_weights(ddim, timesteps)
    assert torch.allclose(found, expected, atol=1e-6)
    assert found[2] == pytest.approx(0, abs=1e-6)  # pure noise


def test_epsilon_needs_no_weight_and_other_predictions_are_refused():
    timesteps = torch.tensor([10, 400])
    assert epsilon_weights(scheduler("epsilon"), timesteps).tolist() == [1, 1]
    with pytest.raises(ValueError, match="errors of sample are not known as errors of epsilon"):
        epsilon_weights(scheduler("sample"), timesteps)
