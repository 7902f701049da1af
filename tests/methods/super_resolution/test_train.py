import numpy as np
import pytest
import torch

from vismodels.checkpoint import tensor_digest
from vismodels.config import parse_config
from vismodels.cost.counters import count
from vismodels.data.enlarging import evaluate
from vismodels.data.pairs import PairSet, make_pair
from vismodels.methods.super_resolution import train as module
from vismodels.methods.super_resolution.config import TrainConfig
from vismodels.methods.super_resolution.train import build_network, train
from vismodels.results import read_scores, write_scores
from vismodels.training.loop import CHECKPOINT

RESIDUAL = {"architecture": "residual_sr", "channels": 4, "blocks": 1}
ESPCN = {"architecture": "espcn", "bicubic_skip": False}


def pairs(*names, size=48, scale=4):
    """Return smooth random images, so that there is something to learn."""
    made = []
    for number, name in enumerate(names):
        levels = np.random.default_rng(number).integers(0, 256, (size // 8, size // 8, 3))
        image = np.kron(levels, np.ones((8, 8, 1))).astype(np.uint8)
        made.append(make_pair(image, scale, name))
    return PairSet(made)


def config(model=RESIDUAL, learning_rate=2.0e-3, **training):
    settings = {
        "iterations": 10,
        "batch_size": 2,
        "lr_crop": 6,
        "warmup": 2,
        "max_gradient_norm": 1.0,
        "validate_every": 4,
        **training,
    }
    network = {"model": model, "learning_rate": learning_rate}
    sets = {"train_sets": ["a"], "validation_sets": ["b", "c"]}
    section = {"scale": 4, **sets, "network": network, "training": settings}
    return parse_config(TrainConfig, section, "sr")


def run(settings=None, *, seed=0, train_on=None, validate_on=None, **options):
    return train(
        settings or config(),
        train_on or pairs("a", "b"),
        validate_on or pairs("c"),
        name="net",
        seed=seed,
        **options,
    )


def curves(trained):
    return trained.losses.state_dict(), trained.validation.state_dict()


# --- equal bits --------------------------------------------------------------------------------


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not():
    first, again, other = run(), run(), run(seed=1)
    assert tensor_digest(first.network) == tensor_digest(again.network)
    assert curves(first) == curves(again)
    assert first.score == again.score
    assert tensor_digest(first.network) != tensor_digest(other.network)


def test_the_global_random_state_plays_no_part():
    before = tensor_digest(run().network)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert tensor_digest(run().network) == before


class Stopped(Exception):
    pass


def stop_at_call(monkeypatch, name, call):
    """Have the function `name` of the module raise when it is called for the `call`-th time."""
    real, calls = getattr(module, name), []

    def counted(*arguments, **keywords):
        calls.append(name)
        if len(calls) == call:
            raise Stopped
        return real(*arguments, **keywords)

    monkeypatch.setattr(module, name, counted)


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("evaluate", 1),  # after the first checkpoint, before its validation
        ("evaluate", 2),
        ("evaluate", 3),  # the last validation
        ("evaluate", 4),  # the score
        ("_score", 1),
        ("count", 1),
    ],
)
def test_an_interrupted_training_goes_on_bit_by_bit(monkeypatch, tmp_path, place, call):
    whole = run()
    scratch = tmp_path / "Zwischenstand mit ü"
    with monkeypatch.context() as patched:
        stop_at_call(patched, place, call)
        with pytest.raises(Stopped):
            run(checkpoint_dir=scratch)
    resumed = run(checkpoint_dir=scratch)
    assert tensor_digest(resumed.network) == tensor_digest(whole.network)
    assert curves(resumed) == curves(whole)
    assert resumed.score == whole.score


@pytest.mark.parametrize("iteration", [1, 4, 5, 7, 9])
def test_a_training_stopped_within_an_iteration_goes_on_bit_by_bit(
    monkeypatch, tmp_path, iteration
):
    whole = run()
    with monkeypatch.context() as patched:
        real, calls = torch.nn.functional.l1_loss, []

        def counted(*arguments):
            calls.append(1)
            if len(calls) == iteration:
                raise Stopped
            return real(*arguments)

        patched.setattr(torch.nn.functional, "l1_loss", counted)
        with pytest.raises(Stopped):
            run(checkpoint_dir=tmp_path)
        assert (tmp_path / CHECKPOINT).exists() == (iteration > 4)
        patched.setattr(torch.nn.functional, "l1_loss", real)
        resumed = run(checkpoint_dir=tmp_path)
    assert tensor_digest(resumed.network) == tensor_digest(whole.network)
    assert curves(resumed) == curves(whole)


def test_resuming_a_finished_training_computes_no_iteration(monkeypatch, tmp_path):
    whole = run(checkpoint_dir=tmp_path)
    monkeypatch.setattr(torch.nn.functional, "l1_loss", None)  # would raise if it were called
    again = run(checkpoint_dir=tmp_path)
    assert tensor_digest(again.network) == tensor_digest(whole.network)
    assert (curves(again), again.score) == (curves(whole), whole.score)


def test_networks_of_one_seed_see_the_same_batches(monkeypatch):
    seen = []
    real = torch.nn.functional.l1_loss

    def record(output, target):
        seen[-1].append(target)
        return real(output, target)

    monkeypatch.setattr(torch.nn.functional, "l1_loss", record)
    for model, seed in ((RESIDUAL, 0), (ESPCN, 0), (ESPCN, 1)):
        seen.append([])
        run(config(model), seed=seed)
    residual, espcn, other_seed = (torch.stack(batches) for batches in seen)
    assert len(residual) == 10
    assert torch.equal(residual, espcn)
    assert not torch.equal(espcn, other_seed)


def test_weights_at_the_start_depend_on_the_seed_alone():
    network = config().network
    first, again, other = (tensor_digest(build_network(network, 4, seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


# --- what training does ------------------------------------------------------------------------


def test_training_lowers_the_loss():
    losses = run(config(iterations=60, warmup=5)).losses.curves["loss"]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_validation_comes_at_its_interval_and_at_the_end():
    trained = run(config(iterations=10, validate_every=4))
    assert trained.validation.iterations == [4, 8, 10]
    assert trained.losses.iterations == list(range(1, 11))
    assert run(config(iterations=8, validate_every=4)).validation.iterations == [4, 8]
    assert run(config(iterations=8, validate_every=100)).validation.iterations == [8]


def test_learning_rate_warms_up_then_falls_along_a_half_cosine(monkeypatch):
    rates = []
    real = torch.optim.Adam.step

    def record(self, *arguments):
        rates.append(self.param_groups[0]["lr"])
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    run(config(iterations=12, warmup=4))
    rise = np.linspace(1 / 4, 1, 5)  # from rate / warmup
    fall = (1 + np.cos(np.pi * np.arange(1, 8) / 8)) / 2  # the zero comes after the last step
    assert rates == pytest.approx(2.0e-3 * np.concatenate([rise, fall]))


def test_gradients_are_clipped_to_the_largest_norm(monkeypatch):
    norms = []
    real = torch.optim.Adam.step

    def record(self, *arguments):
        (group,) = self.param_groups
        norms.append(torch.cat([p.grad.flatten() for p in group["params"]]).norm().item())
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    run(config(max_gradient_norm=1.0e-3))
    assert norms == pytest.approx([1.0e-3] * 10, rel=1e-2)  # clipping divides by the norm + 1e-6


def test_the_record_says_what_was_trained_on_what_and_at_what_cost(tmp_path):
    validation = pairs("c", "d")
    trained = run(seed=3, validate_on=validation)
    score = trained.score
    assert (score.stage, score.variant, score.seed) == ("super_resolution_train", "net", 3)
    assert score.dataset == {"card": "b+c", "split": "validation", "items": 2}
    assert score.budget == {"iterations": 10, "images": 20, "patch": 24}
    measured = evaluate(trained.network, validation, border=4)["psnr_y"]
    assert score.value("psnr_y").items == measured
    assert score.value("psnr_y").value == pytest.approx(sum(measured.values()) / 2)
    assert trained.validation.curves["psnr_y"][-1] == score.value("psnr_y").value
    cost = count(trained.network, torch.zeros(1, 3, 32, 32))
    assert score.value("parameters").value == cost.parameters
    assert score.value("macs").value == cost.macs
    last = trained.losses.curves["loss"][-4:]
    assert score.value("train_loss").value == pytest.approx(sum(last) / 4)
    write_scores(tmp_path / "s.json", [score])
    assert read_scores(tmp_path / "s.json")[0].value("macs") == score.value("macs")


def test_the_trained_network_is_in_evaluation_mode():
    assert not run().network.training


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train_on", "validate_on"])
def test_pairs_of_another_scale_are_refused_before_training(monkeypatch, part):
    monkeypatch.setattr(module, "fit_to_milestones", None)  # would raise if it were called
    with pytest.raises(ValueError, match="expected pairs of scale 4, got scale 2"):
        run(**{part: pairs("a", scale=2)})


def test_a_crop_larger_than_an_image_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(module, "fit_to_milestones", None)
    with pytest.raises(ValueError, match=r"a: the LR image is 12x12, smaller than .* 13x13; set"):
        run(config(lr_crop=13))


def test_a_diverging_training_stops_and_says_where():
    with pytest.raises(FloatingPointError, match=r"loss is \w+ at iteration \d+; lower the"):
        run(config(learning_rate=1.0e30))
