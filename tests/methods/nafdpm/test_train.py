import pytest
import torch
from small_pages import TINY, two_valued

from vismodels.checkpoint import tensor_digest
from vismodels.methods.nafdpm.config import ModelConfig, OptimizerConfig, TrainingConfig
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.optimization import Optimization
from vismodels.methods.nafdpm.train import train
from vismodels.training.loop import CHECKPOINT


def digest(trained):
    return tensor_digest(trained.pipeline.predictor), tensor_digest(trained.pipeline.denoiser)


def run(config, pages, task="deblurring", seed=0, **options):
    options = {"task": task, "name": "base", "seed": seed} | options
    return train(config, pages[:2], pages[2:], **options)


@pytest.fixture
def stopped(monkeypatch):
    """Return a function that trains until the process is interrupted after some updates."""

    def stop(after, *arguments, **options):
        updates = []
        update = Optimization.update

        def counted(self, loss, iteration):
            if len(updates) == after:
                raise KeyboardInterrupt
            updates.append(iteration)
            update(self, loss, iteration)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Optimization, "update", counted)
            run(*arguments, **options)

    return stop


@pytest.mark.parametrize("task", ["deblurring", "binarization"])
def test_a_training_writes_its_course_and_its_score(train_config, pages, task):
    pages = [two_valued(page) for page in pages] if task == "binarization" else pages
    trained = run(train_config(), pages, task)
    metric = {"deblurring": "psnr", "binarization": "f_measure"}[task]
    assert len(trained.losses) == 4
    assert trained.validation.iterations == [2, 4]
    assert trained.score.value(metric).items.keys() == {"page2"}
    assert trained.score.value(metric).value == trained.validation.curves[metric][-1]
    assert trained.score.dataset == {"card": "rendered", "split": "validation", "items": 1}
    assert trained.pipeline.config["task"] == task


def test_equal_seeds_give_equal_weights(train_config, pages):
    first, second = run(train_config(), pages), run(train_config(), pages)
    assert digest(first) == digest(second)
    assert digest(first) != digest(run(train_config(), pages, seed=1))


def test_an_interrupted_training_ends_with_the_same_bits(train_config, pages, tmp_path, stopped):
    config = train_config(iterations=6, predictor_iterations=2)
    whole = run(config, pages)
    stopped(5, config, pages, checkpoint_dir=tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    resumed = run(config, pages, checkpoint_dir=tmp_path)
    assert digest(resumed) == digest(whole)
    assert resumed.losses.curves == whole.losses.curves
    assert resumed.validation.curves == whole.validation.curves


def test_the_averaged_weights_are_what_is_kept(train_config, pages):
    """In the published code they are neither stored nor used."""
    slow = OptimizerConfig(learning_rate=1e-2, ema_decay=0.9999)
    fast = OptimizerConfig(learning_rate=1e-2, ema_decay=0.0)
    averaged = run(train_config(optimizer=slow, iterations=6), pages)
    last = run(train_config(optimizer=fast, iterations=6), pages)
    assert averaged.losses.curves == last.losses.curves  # the same training
    assert digest(averaged) != digest(last)


def test_the_average_forgets_the_start_soon():
    """A fixed decay of 0.9999 would keep 99 % of the initial weights after 100 iterations."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    optimization = Optimization(model, OptimizerConfig(), iterations=100)
    with torch.no_grad():
        model.weight.fill_(1.0)
    for iteration in range(1, 101):
        optimization._average.update(model, step=iteration)
    assert optimization.averaged.weight.item() > 0.99


def test_the_first_iterations_train_the_predictor_alone(train_config, pages):
    config = train_config(iterations=2, predictor_iterations=2)
    trained = run(config, pages)
    start = PredictAndRefine(3, TINY, ModelConfig().diffusion)
    start.initialize_(0)
    assert tensor_digest(trained.pipeline.denoiser) == tensor_digest(start.denoiser)
    assert tensor_digest(trained.pipeline.predictor) != tensor_digest(start.predictor)


def test_a_model_may_have_iterations_of_its_own(train_config):
    config = train_config(
        ModelConfig(network=TINY, iterations=9, predictor_iterations=3), batch_size=5
    )
    assert (config.settings.iterations, config.settings.predictor_iterations) == (9, 3)
    assert config.settings.batch_size == 5


def test_training_lowers_the_loss(train_config, pages):
    fast = OptimizerConfig(learning_rate=5e-3)
    config = train_config(iterations=40, validate_every=40, optimizer=fast)
    losses = run(config, pages).losses.curves["predictor"]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_a_loss_that_is_not_finite_stops_the_training(train_config, pages):
    with pytest.raises(FloatingPointError, match="learning rate"):
        run(train_config(optimizer=OptimizerConfig(learning_rate=1e20)), pages)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": OptimizerConfig(warmup=4)}, "warmup"),
        ({"predictor_iterations": 5}, "predictor_iterations"),
    ],
)
def test_settings_that_do_not_fit_are_refused(train_config, changed, message):
    with pytest.raises(ValueError, match=message):
        train_config(**changed)


def test_a_cosine_schedule_is_a_part_of_what_is_resumed():
    model = torch.nn.Linear(1, 1)
    for schedule, expected in (("constant", False), ("cosine", True)):
        parts = Optimization(model, OptimizerConfig(schedule=schedule), 10).parts()
        assert ("scheduler" in parts) is expected
    assert TrainingConfig.model_fields["augmentation"].default.rotation == 0
