import pytest
import torch

from vismodels.diffusion.schedules import alphas_cumprod, linear_betas, solver

PUBLISHED = {0: 0.99999, 10: 0.89403, 25: 0.51254, 50: 0.06936, 75: 0.0022987, 99: 2.1503e-5}


def test_the_linear_schedule_keeps_the_published_shares_of_the_signal():
    betas = linear_betas()
    kept = alphas_cumprod(betas)
    assert (betas[0], betas[-1]) == pytest.approx((1e-5, 0.2))
    for timestep, share in PUBLISHED.items():
        assert kept[timestep].item() == pytest.approx(share, rel=1e-4), timestep


def test_the_schedule_of_a_thousand_timesteps_is_that_of_ddpm():
    betas = linear_betas(1000)
    assert (len(betas), betas[0], betas[-1]) == pytest.approx((1000, 1e-6, 0.02))


@pytest.mark.parametrize("timesteps", [1, 20])
def test_a_schedule_whose_betas_reach_one_is_an_error(timesteps):
    with pytest.raises(ValueError, match=f"more than 20 timesteps, got {timesteps}"):
        linear_betas(timesteps)


def test_the_solver_knows_the_schedule():
    scheduler = solver(linear_betas(), prediction_type="epsilon", order=2)
    torch.testing.assert_close(
        scheduler.alphas_cumprod.double(), alphas_cumprod(linear_betas()), rtol=1e-4, atol=1e-7
    )
    config = scheduler.config
    assert (config.prediction_type, config.solver_order) == ("epsilon", 2)
    assert config.thresholding is False
