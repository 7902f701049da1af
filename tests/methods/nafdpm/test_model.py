import pytest
import torch

from vismodels.methods.nafdpm.config import DiffusionConfig, NetworkConfig, ObjectiveConfig
from vismodels.methods.nafdpm.model import PredictAndRefine

SMALL = {"width": 4, "blocks": (1, 1)}


def build(channels=1, seed=0, diffusion=None, **network):
    sizes = NetworkConfig(**(SMALL | network))
    model = PredictAndRefine(channels, sizes, diffusion or DiffusionConfig())
    model.initialize_(seed)
    with torch.no_grad():  # blocks start as identities; let them do something
        for name, parameter in model.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.fill_(0.1)
    return model


@pytest.fixture
def batch(generator):
    return torch.rand(2, 3, 1, 16, 16, generator=generator)


def run(model, batch, objective=None, **options):
    draws = torch.Generator().manual_seed(1)
    return model(batch[0], batch[1], objective or ObjectiveConfig(), draws, **options)


def gradient(module):
    return sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)


def test_the_published_sizes_have_the_published_parameters():
    counts = [
        sum(p.numel() for p in PredictAndRefine(c, NetworkConfig(), DiffusionConfig()).parameters())
        for c in (3, 1)
    ]
    assert counts == [9_397_670, 9_394_786]


def test_the_loss_adds_the_two_parts_with_the_published_weight(batch):
    losses = run(build(), batch).losses
    torch.testing.assert_close(losses["loss"], losses["denoiser"] + 0.5 * losses["predictor"])


def test_the_denoiser_learns_the_residual_and_pulls_on_the_predictor_through_it(batch):
    model = build()
    run(model, batch).losses["denoiser"].backward()
    assert gradient(model.predictor) > 0
    assert gradient(model.denoiser) > 0


def test_a_detached_target_leaves_the_predictor_to_its_own_loss(batch):
    model = build()
    run(model, batch, ObjectiveConfig(detach_target=True)).losses["denoiser"].backward()
    assert gradient(model.predictor) == 0
    assert gradient(model.denoiser) > 0


def test_the_condition_is_detached(batch):
    """With the target detached too, only the condition could lead back to the predictor."""
    for condition in ("prediction", "prediction_and_input"):
        model = build(condition=condition)
        run(model, batch, ObjectiveConfig(detach_target=True)).losses["denoiser"].backward()
        assert gradient(model.predictor) == 0


def test_the_denoiser_sees_the_page_only_if_it_is_told_to(batch):
    for condition, sees in (("prediction", False), ("prediction_and_input", True)):
        model = build(condition=condition)
        prediction = torch.zeros_like(batch[0])
        seen = model.condition(prediction, batch[0])
        assert seen.shape[1] == (2 if sees else 1)
        assert torch.equal(seen[:, -1:], batch[0] if sees else prediction)


def test_the_restored_image_is_prediction_plus_signal(batch):
    estimate = run(build(), batch)
    assert torch.equal(estimate.restored, estimate.prediction + estimate.signal)
    assert ((estimate.noise_level >= 0) & (estimate.noise_level <= 1)).all()


def test_a_network_that_predicts_noise_finds_the_signal_in_it(batch):
    model = build(diffusion=DiffusionConfig(prediction_type="epsilon"))
    estimate = run(model, batch)
    assert estimate.signal.isfinite().all()
    assert estimate.losses["loss"] > 0


def test_without_a_denoiser_the_prediction_is_the_result(batch):
    model = build(denoiser=False)
    estimate = run(model, batch)
    assert model.denoiser is None
    assert torch.equal(estimate.restored, estimate.prediction)
    assert torch.equal(estimate.losses["loss"], estimate.losses["predictor"])


def test_the_first_iterations_can_leave_the_denoiser_out(batch):
    model = build()
    run(model, batch, predictor_only=True).losses["loss"].backward()
    assert gradient(model.denoiser) == 0 < gradient(model.predictor)


def test_predictors_of_one_seed_are_equal_with_and_without_denoiser():
    first, second = build(seed=3), build(seed=3, denoiser=False)
    for a, b in zip(first.predictor.parameters(), second.predictor.parameters(), strict=True):
        assert torch.equal(a, b)
    other = build(seed=4)
    assert not torch.equal(first.predictor.intro.weight, other.predictor.intro.weight)


def test_weights_are_taken_over_without_sharing():
    first, second = build(seed=0), build(seed=1)
    second.load_networks_(first.predictor, first.denoiser)
    assert torch.equal(first.denoiser.intro.weight, second.denoiser.intro.weight)
    with torch.no_grad():
        second.denoiser.intro.weight.zero_()
    assert first.denoiser.intro.weight.any()


def test_a_missing_denoiser_cannot_be_taken_over():
    with pytest.raises(ValueError, match="has none"):
        build().load_networks_(build(denoiser=False).predictor, None)
