from dataclasses import replace

import pytest
import torch
from small_brains import CASES, HEADS, TRAINING, brains, variant

from vismodels.config import parse_config
from vismodels.methods.multilevel_activation import train as module
from vismodels.methods.multilevel_activation.build import build_head
from vismodels.methods.multilevel_activation.config import TrainConfig
from vismodels.methods.multilevel_activation.losses import level_weights
from vismodels.methods.multilevel_activation.train import patch_dice, train
from vismodels.metrics.learning_speed import learning_speed

TRUNK = {"kind": "residual_unet3d", "width": 4, "depth": 2, "dropout": 0.1}
SEGRESNET = {"kind": "segresnet", "width": 4, "dropout": 0.1}


def config(head="multilevel", trunk=None, learning_rate=1e-2, **changes):
    section = {
        "cases": CASES.model_dump(),
        "trunk": TRUNK,
        "variant": variant(head, learning_rate, trunk).model_dump(mode="json"),
        "training": TRAINING | changes,
    }
    return parse_config(TrainConfig, section, "train")


def fit(settings=None, seed=0, **options):
    return train(
        settings or config(), brains(4), brains(3, first=10), name="model", seed=seed, **options
    )


def same_weights(first, second):
    states = [trained.network.state_dict() for trained in (first, second)]
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


class Recorder:
    """A head that notes what it is given, and is another one otherwise."""

    def __init__(self, head, seen):
        self.head, self.seen = head, seen

    def __getattr__(self, name):
        return getattr(self.head, name)

    def loss(self, logits, levels, weights=None):
        self.seen.append((levels.clone(), weights))
        return self.head.loss(logits, levels, weights)


@pytest.fixture
def seen(monkeypatch):
    """Return what losses are asked for: levels and weights of every iteration."""
    found = []
    monkeypatch.setattr(module, "build_head", lambda c: Recorder(build_head(c), found))
    return found


@pytest.mark.parametrize("head", HEADS)
def test_training_learns(head):
    trained = fit(config(head, learning_rate=2e-2, iterations=60, validate_every=30))
    losses = trained.losses.curves["loss"]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    dice = trained.validation.curves["dice"]
    assert dice[0] < 0.3
    assert dice[-1] > 0.8


def test_all_heads_of_a_seed_see_equal_patches(seen):
    for head in HEADS:
        fit(config(head, iterations=3))
    of_heads = [torch.stack([levels for levels, _ in seen[n : n + 3]]) for n in (0, 3, 6)]
    assert torch.equal(of_heads[0], of_heads[1])
    assert torch.equal(of_heads[0], of_heads[2])
    fit(config("softmax", iterations=3), seed=1)
    assert not torch.equal(of_heads[0], torch.stack([levels for levels, _ in seen[9:]]))


def test_all_heads_of_a_seed_start_from_one_trunk():
    """At a rate of nearly nothing and without decay, the trunk is what it was."""
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "iterations": 2, "validate_every": 2}
    states = [fit(config(head, **still)).network.state_dict() for head in HEADS]
    trunk = [name for name in states[0] if not name.startswith("heads.")]
    for name in trunk:
        for other in states[1:]:
            torch.testing.assert_close(states[0][name], other[name], rtol=0, atol=1e-28)
    other = fit(config(**still), seed=1).network.state_dict()
    assert not torch.equal(states[0][trunk[0]], other[trunk[0]])


@pytest.mark.parametrize("trunk", [None, SEGRESNET])
def test_one_seed_gives_one_network(trunk):
    first, second, other = (fit(config(trunk=trunk, iterations=3), seed=s) for s in (0, 0, 1))
    assert first.losses.curves == second.losses.curves
    assert first.validation.curves == second.validation.curves
    assert first.score == second.score
    assert same_weights(first, second)
    assert first.losses.curves != other.losses.curves


@pytest.mark.parametrize("schedule", ["poly", "exponential"])
def test_an_interrupted_training_ends_with_the_same_bits(schedule, tmp_path, monkeypatch):
    settings = config(schedule=schedule, epoch=2)
    whole = fit(settings)
    import vismodels.training.loop as loop

    saved = loop.save_resume

    def save_and_stop(path, state):
        saved(path, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_resume", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        fit(settings, checkpoint_dir=tmp_path)
    monkeypatch.setattr(loop, "save_resume", saved)
    resumed = fit(settings, checkpoint_dir=tmp_path)
    assert resumed.losses.curves == whole.losses.curves
    assert resumed.validation.curves == whole.validation.curves
    assert resumed.validation.iterations == [0, 3, 6]
    assert resumed.score == whole.score
    assert same_weights(resumed, whole)


def test_the_course_begins_with_the_untrained_network():
    trained = fit(config(iterations=5, validate_every=2))
    assert trained.validation.iterations == [0, 2, 4, 5]
    assert list(trained.validation.curves) == ["dice_wt", "dice_tc", "dice_et", "dice"]
    speed = learning_speed(trained.validation.iterations, trained.validation.curves["dice"])
    assert trained.score.value("learning_speed").value == speed


def test_the_course_is_of_the_same_patches_for_all_seeds(monkeypatch):
    shown = []
    monkeypatch.setattr(
        module, "patch_dice", lambda m, h, patches, d: shown.append(patches) or {"dice": 0.5}
    )
    for seed in (0, 1):
        fit(config("softmax", iterations=1, warmup=0), seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(shown[0], shown[-1], strict=True))


def test_weights_of_levels_are_logged_and_used(seen):
    trained = fit(config(class_weights=True, iterations=2))
    counts = [0, 0, 0, 0]
    for case in brains(4):
        for level in range(4):
            counts[level] += int((case.brain & (case.levels == level)).sum())
    expected = level_weights(counts)
    logged = [trained.score.value(f"level_weight_{level}").value for level in range(4)]
    assert logged == pytest.approx(expected.tolist())
    assert logged == sorted(logged)  # the smaller the level, the heavier
    assert all(torch.equal(weights, expected) for _, weights in seen)


def test_without_weights_none_are_logged(seen):
    names = {value.metric.name for value in fit(config(iterations=2)).score.values}
    assert not any(name.startswith("level_weight") for name in names)
    assert {weights for _, weights in seen} == {None}


def test_the_record_tells_budget_size_and_what_the_cases_are():
    trained = fit()
    score = trained.score
    assert score.budget == {"iterations": 6, "patches": 12}
    parameters = sum(p.numel() for p in trained.network.parameters())
    assert score.value("parameters").value == parameters
    assert score.value("patch_dice").value == trained.validation.curves["dice"][-1]
    last = trained.losses.curves["loss"][-3:]
    assert score.value("train_loss").value == pytest.approx(sum(last) / 3)
    assert score.dataset["card"] == "glioma_semisynthetic"
    assert score.note.startswith("semi-synthetic")
    assert not trained.network.training


def test_a_model_may_have_a_trunk_of_its_own():
    assert type(fit(config(trunk=SEGRESNET, iterations=2)).network).__name__ == "SegResNet3D"


def test_the_gradient_is_clipped_where_it_is_wanted(monkeypatch):
    norms = []
    monkeypatch.setattr(
        module.nn.utils, "clip_grad_norm_", lambda parameters, norm: norms.append(norm)
    )
    fit(config(iterations=2, max_gradient_norm=3.0))
    fit(config(iterations=2, max_gradient_norm=None))
    assert norms == [3.0, 3.0]


@pytest.mark.parametrize(
    ("changes", "shares"),
    [
        ({"schedule": "poly"}, [1 / 2, 3 / 4, 1.0, 0.75**0.9, 0.5**0.9, 0.25**0.9]),
        ({"schedule": "exponential", "epoch": 2, "decay": 0.5}, [1 / 2, 3 / 4, 1, 1, 1 / 2, 1 / 2]),
    ],
)
def test_rates_are_those_of_the_schedule(changes, shares, monkeypatch):
    rates = []

    class Noted(torch.optim.Adam):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(module.torch.optim, "Adam", Noted)
    fit(config(learning_rate=0.5, warmup=2, **changes))
    assert rates == pytest.approx([0.5 * share for share in shares])


@pytest.mark.parametrize("class_weights", [False, True])
def test_cases_without_levels_are_refused(class_weights):
    unknown = [replace(case, levels=None) for case in brains(2)]
    settings = config(class_weights=class_weights)
    with pytest.raises(ValueError, match="'case_0' has no levels to learn from"):
        train(settings, unknown, brains(2), name="model", seed=0)
    with pytest.raises(ValueError, match="'case_0' has no levels"):
        train(settings, brains(2), unknown, name="model", seed=0)


def test_cases_smaller_than_a_patch_are_learned_from():
    trained = fit(config(patch=[8, 8, 12]))
    assert trained.validation.curves["dice"][0] < trained.validation.curves["dice"][-1]


class Says(torch.nn.Module):
    """A network that says what it is told."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images):
        return self.logits[images[:, 0, 0, 0, 0].long()]


def test_dice_of_patches_counts_the_voxels_of_all_patches_together():
    """Six patches, more than are evaluated at a time; the region masks are overlaid at once."""
    levels = torch.zeros(6, 1, 1, 4, dtype=torch.int64)
    levels[0, 0, 0] = torch.tensor([0, 1, 2, 3])
    levels[5, 0, 0] = torch.tensor([1, 1, 1, 1])
    logits = torch.full((6, 3, 1, 1, 4), -5.0)
    logits[0, 0, 0, 0, 1:] = 5.0  # WT of the first: all three of three
    logits[5, 0, 0, 0, :2] = 5.0  # and of the last: two of four
    logits[0, 1, 0, 0, 3] = 5.0  # TC: one of two
    logits[2, 2, 0, 0, 0] = 5.0  # ET: elsewhere
    images = torch.arange(6.0).view(6, 1, 1, 1, 1).expand(6, 4, 1, 1, 4)
    head = build_head(variant("sigmoid_regions").head)
    dice = patch_dice(Says(logits), head, (images, levels))
    expected = {
        "dice_wt": (2 * 5 + 1) / (5 + 7 + 1),
        "dice_tc": (2 * 1 + 1) / (1 + 2 + 1),
        "dice_et": (2 * 0 + 1) / (1 + 1 + 1),
    }
    assert dice == pytest.approx(expected | {"dice": sum(expected.values()) / 3})


def test_a_region_that_no_patch_has_and_none_predicts_has_a_dice_of_one():
    levels = torch.zeros(1, 1, 1, 4, dtype=torch.int64)
    head = build_head(variant("sigmoid_regions").head)
    network = Says(torch.full((1, 3, 1, 1, 4), -5.0)).train()
    dice = patch_dice(network, head, (torch.zeros(1, 4, 1, 1, 4), levels))
    assert set(dice.values()) == {1.0}
    assert network.training  # as it was
