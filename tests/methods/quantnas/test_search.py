import math

import numpy as np
import pytest
import torch

from vismodels.checkpoint import tensor_digest
from vismodels.config import parse_config
from vismodels.data.pairs import PairSet, make_pair
from vismodels.methods.quantnas import search as module
from vismodels.methods.quantnas import search_run
from vismodels.methods.quantnas.config import SearchConfig
from vismodels.methods.quantnas.search import search, split_images
from vismodels.methods.quantnas.search_run import SearchRun
from vismodels.methods.quantnas.supernet import Supernet
from vismodels.nas.genotype import Genotype
from vismodels.results import read_scores, write_scores

BASIC = {
    "skeleton": {
        "kind": "basic",
        "channels": 12,
        "cells": 1,
        "head_layers": 1,
        "tail_layers": 1,
        "bias": True,
        "bicubic_skip": True,
        "careful_start": True,
    },
    "operations": {
        "head": ["simple_3x3", "simple_1x1"],
        "body": ["conv_3x1_1x3", "skip_connect"],
        "skip": ["simple_1x1", "zero"],
        "upsample": ["simple_1x1", "simple_3x3"],
        "tail": ["simple_1x1", "simple_3x3"],
    },
}
RFDN = {
    "skeleton": {"kind": "rfdn", "channels": 12, "cells": 1, "distilled": 1, "bias": True},
    "operations": {
        group: ["simple_1x1", "growth1_3x3"] for group in ("body", "skip", "upsample", "tail")
    },
}


def pairs(*names, size=48, scale=4):
    """Return smooth random images, so that there is something to learn."""
    made = []
    for number, name in enumerate(names):
        levels = np.random.default_rng(number).integers(0, 256, (size // 8, size // 8, 3))
        image = np.kron(levels, np.ones((8, 8, 1))).astype(np.uint8)
        made.append(make_pair(image, scale, name))
    return PairSet(made)


def config(variant=None, scale=4, spaces=None, **settings):
    section = {
        "scale": scale,
        "train_sets": ["a"],
        "validation_sets": ["b", "c"],
        "spaces": spaces or {"basic": BASIC, "rfdn": RFDN},
        "variant": {"space": "basic", **(variant or {})},
        "settings": {
            "iterations": 6,
            "epochs": 3,
            "batch_size": 2,
            "lr_crop": 6,
            "architecture_learning_rate": 3.0e-2,
            "validate_every": 4,
            "selection": "last",
            **settings,
        },
    }
    for space in section["spaces"].values():
        space["skeleton"] = {**space["skeleton"], "scale": scale}
    return parse_config(SearchConfig, section, "search")


def run(settings=None, *, seed=0, train_on=None, validate_on=None, **options):
    settings = settings or config()
    scale = settings.scale
    return search(
        settings,
        train_on or pairs("a", "b", "c", scale=scale),
        validate_on or pairs("d", scale=scale),
        name="noise",
        seed=seed,
        **options,
    )


def outcome(searched):
    """Return all that a search gives, in a form that compares bit by bit."""
    return (
        searched.genotype,
        searched.losses.state_dict(),
        searched.course.state_dict(),
        searched.score,
        tensor_digest(searched.supernet),
    )


def logits(searched):
    return torch.cat([p.detach() for p in searched.supernet.choices.parameters()])


# --- equal bits --------------------------------------------------------------------------------


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not():
    first, again, other = run(), run(), run(seed=1)
    assert outcome(first) == outcome(again)
    assert tensor_digest(first.supernet) != tensor_digest(other.supernet)


def test_the_global_random_state_plays_no_part():
    first = outcome(run())
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert outcome(run()) == first


class Stopped(Exception):
    pass


VARIANTS = {
    "noise": {},
    "direct": {"mode": "direct"},
    "gumbel": {"relaxation": "gumbel"},
    "rfdn": {"space": "rfdn"},
}


def stop(monkeypatch, owner, name, call):
    """Have a function raise when it is called for the `call`-th time."""
    real, calls = getattr(owner, name), []

    def counted(*arguments, **keywords):
        calls.append(name)
        if len(calls) == call:
            raise Stopped
        return real(*arguments, **keywords)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_search_interrupted_in_a_step_goes_on_bit_by_bit(monkeypatch, tmp_path, variant):
    settings = config(variant, validate_every=2)
    whole = run(settings)
    with monkeypatch.context() as patched:
        stop(patched, SearchRun, "weight_step", 4)  # behind the checkpoint of iteration 2
        with pytest.raises(Stopped):
            run(settings, checkpoint_dir=tmp_path)
    assert outcome(run(settings, checkpoint_dir=tmp_path)) == outcome(whole)


@pytest.mark.parametrize(
    ("place", "call"), [("measure", 1), ("measure", 2), ("_score", 1), ("chosen", 1)]
)
def test_a_search_interrupted_between_steps_goes_on_bit_by_bit(monkeypatch, tmp_path, place, call):
    whole = run()
    with monkeypatch.context() as patched:
        owner = module if place == "_score" else SearchRun
        stop(patched, owner, place, call)
        with pytest.raises(Stopped):
            run(checkpoint_dir=tmp_path)
    assert outcome(run(checkpoint_dir=tmp_path)) == outcome(whole)


# --- data --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "architecture", "weights"),
    [
        (0.5, ["b", "d"], ["a", "c"]),
        (0.25, ["d"], ["a", "b", "c"]),
        (0.75, ["b", "c", "d"], ["a"]),
        (["d", "b"], ["d", "b"], ["a", "c"]),
    ],
)
def test_architecture_and_weights_see_different_images(chosen, architecture, weights):
    settings = config(architecture_images=chosen).settings
    assert split_images(["a", "b", "c", "d"], settings) == (architecture, weights)


def test_a_share_is_spread_evenly_over_the_images():
    names = [f"{i:03}" for i in range(290)]
    chosen, others = split_images(names, config(architecture_images=0.5).settings)
    assert set(chosen) | set(others) == set(names)
    assert (len(chosen), len(others)) == (145, 145)
    assert sum(name < "100" for name in chosen) == 50


@pytest.mark.parametrize("chosen", [0.01, ["a", "b", "c"], ["a", "x"]])
def test_a_split_without_images_or_of_unknown_ones_is_refused(chosen):
    settings = config(architecture_images=chosen).settings
    with pytest.raises(ValueError, match="architecture_images must leave images for both parts"):
        split_images(["a", "b", "c"], settings)


def test_each_step_gets_batches_of_its_own_images(monkeypatch):
    seen = {}

    def record(pairs, generator, *arguments):
        seen[pairs.names] = generator.initial_seed()
        return real(pairs, generator, *arguments)

    real = module.random_patches
    monkeypatch.setattr(module, "random_patches", record)
    monkeypatch.setattr(SearchRun, "architecture_step", lambda self, batch: step("a", batch))
    monkeypatch.setattr(SearchRun, "weight_step", lambda self, batch: step("w", batch))
    batches = {"a": [], "w": []}

    def step(part, batch):
        batches[part].append(batch[0])
        names = ("loss",) if part == "w" else ("architecture_loss", "penalty", "entropy")
        return dict.fromkeys(names, 0.0)

    run(config(architecture_images=["b"]))
    assert list(seen) == [("b",), ("a", "c")]
    assert len(set(seen.values())) == 2
    assert len(batches["a"]) == len(batches["w"]) == 6
    levels = pairs("a", "b", "c").subset(["b"]).pairs[0].lr
    of_b = set((levels.reshape(-1, 3) / np.float32(255)).round(4).flatten().tolist())
    values = torch.stack(batches["a"]).numpy().round(4)
    assert set(values.flatten().tolist()) <= of_b


# --- the steps ---------------------------------------------------------------------------------


def test_until_the_architecture_is_warm_only_the_weights_move(monkeypatch):
    states = []
    real = SearchRun.weight_step

    def record(self, batch):
        states.append([p.detach().clone() for p in self.logits])
        return real(self, batch)

    monkeypatch.setattr(SearchRun, "weight_step", record)
    searched = run(config(architecture_warmup=2))  # of 3 epochs: 4 of 6 iterations
    moved = [any(p.any() for p in state) for state in states]
    assert moved == [False] * 4 + [True] * 2
    curves = searched.losses.curves
    assert curves["architecture_loss"][:4] == [0.0] * 4
    assert all(value > 0 for value in curves["architecture_loss"][4:])
    assert len(set(curves["entropy"][:5])) == 1  # of equal probabilities


def test_each_step_moves_its_own_parameters(monkeypatch):
    before = {}

    def watched(name, real):
        def step(self, batch):
            groups = {"logits": self.logits, "weights": self.weights}
            was = {key: [p.detach().clone() for p in part] for key, part in groups.items()}
            result = real(self, batch)
            before[name] = {
                key
                for key, part in groups.items()
                if any(not torch.equal(p, q) for p, q in zip(part, was[key], strict=True))
            }
            return result

        return step

    for name in ("architecture_step", "weight_step"):
        monkeypatch.setattr(SearchRun, name, watched(name, getattr(SearchRun, name)))
    run()
    assert before == {"architecture_step": {"logits"}, "weight_step": {"weights"}}


def test_one_level_moves_both_by_one_forward(monkeypatch):
    forwards = []
    real = Supernet.forward
    monkeypatch.setattr(
        Supernet,
        "forward",
        lambda self, *a, **k: (forwards.append(self.training), real(self, *a, **k))[1],
    )
    searched = run(config(single_level=True))
    assert sum(forwards) == 6
    assert logits(searched).abs().min() > 0
    assert searched.score.budget["images"] == 12
    forwards.clear()
    assert run().score.budget["images"] == 24
    assert sum(forwards) == 12


def test_one_level_learns_from_the_images_of_the_weights(monkeypatch):
    def constant(pairs, generator, batch_size, lr_crop):
        value = float("b" in pairs.names)  # black for the weights
        while True:
            yield tuple(torch.full((batch_size, 3, n, n), value) for n in (lr_crop, 4 * lr_crop))

    seen, real = [], Supernet.forward

    def forward(self, image, weights=None):
        if self.training:
            seen.append(image.mean().item())
        return real(self, image, weights)

    monkeypatch.setattr(module, "random_patches", constant)
    monkeypatch.setattr(Supernet, "forward", forward)
    run(config(architecture_images=["b"], single_level=True))
    assert seen == [0.0] * 6
    seen.clear()
    run(config(architecture_images=["b"]))
    assert seen == [1.0, 0.0] * 6


@pytest.mark.parametrize("single_level", [True, False])
def test_the_learning_rate_of_the_weights_rises_and_falls(monkeypatch, single_level):
    rates, real = [], torch.optim.Adam.step

    def record(self, *arguments):
        (group,) = self.param_groups
        if group["betas"][0] == 0.9:
            rates.append(group["lr"])
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    run(config(iterations=6, warmup=2, learning_rate=1.0e-3, single_level=single_level))
    cosine = (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    assert rates == pytest.approx((1.0e-3 * np.array([0.5, 0.75, *cosine])).tolist())


def test_every_step_samples_an_architecture_of_its_own(monkeypatch):
    samples, real = [], Supernet.forward

    def forward(self, image, weights=None):
        if self.training:
            samples.append((weights["head_0"].argmax().item(), weights["head_0"].requires_grad))
            assert sorted(weights["head_0"].tolist()) == [0.0, 0.0, 0.0, 1.0]
        return real(self, image, weights)

    monkeypatch.setattr(Supernet, "forward", forward)
    run(config({"relaxation": "hard_gumbel"}))
    assert [moves for _, moves in samples] == [True, False] * 6
    assert len({chosen for chosen, _ in samples}) > 1


def test_one_level_waits_for_the_warm_up_too():
    searched = run(config(single_level=True, architecture_warmup=3))
    assert not logits(searched).any()
    assert searched.losses.curves["loss"][-1] > 0


@pytest.mark.parametrize("single_level", [True, False])
def test_gradients_are_clipped_part_by_part(monkeypatch, single_level):
    norms = []
    real = torch.optim.Adam.step

    def record(self, *arguments):
        gradients = [p.grad.flatten() for g in self.param_groups for p in g["params"]]
        norms.append(torch.cat(gradients).norm().item())
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    run(config(max_gradient_norm=1.0e-5, single_level=single_level))
    assert norms == pytest.approx([1.0e-5] * 12, rel=0.15)  # clipping adds 1e-6 to the norm


def test_the_optimizers_are_the_published_ones():
    made = SearchRun(config(weight_decay=3.0e-8, learning_rate=1.0e-3), 0, "cpu")
    (weights,), (architecture,) = (
        optimizer.param_groups for optimizer in (made.weight_optimizer, made.architecture_optimizer)
    )
    assert (weights["weight_decay"], weights["betas"]) == (3.0e-8, (0.9, 0.999))
    assert (architecture["weight_decay"], architecture["betas"]) == (0, (0.5, 0.999))
    assert architecture["lr"] == 3.0e-2


def test_the_entropy_term_makes_choices_decide():
    settings = {"iterations": 24, "epochs": 8, "architecture_learning_rate": 0.1}
    with_it, without = (
        run(config({"entropy_weight": weight}, **settings)) for weight in (1.0, 0.0)
    )
    entropies = [s.score.value("choice_entropy").value for s in (with_it, without)]
    assert entropies[0] < entropies[1] - 0.5
    decided = [s.score.value("decisiveness").value for s in (with_it, without)]
    assert decided[0] > decided[1]


@pytest.mark.parametrize("scale", ["initial", "published"])
@pytest.mark.parametrize("kind", ["bitops", "linear"])
def test_the_penalty_makes_architectures_cheaper(kind, scale):
    variant = {"penalty": kind, "penalty_scale": scale, "entropy_weight": 0.0}
    settings = {"iterations": 20, "architecture_learning_rate": 0.1}
    cheap, free = (
        run(config({**variant, "penalty_weight": weight}, **settings)) for weight in (10.0, 0.0)
    )
    assert cheap.losses.curves["penalty"][0] == pytest.approx(1 if scale == "initial" else 4 / 9)
    costs = [s.score.value("expected_bitops").value for s in (cheap, free)]
    assert costs[0] < 0.6 * costs[1]
    assert cheap.score.value("bitops").value < free.score.value("bitops").value
    free_of_cost = ("skip_connect", "zero")
    choices = [c for c in cheap.genotype.choices.values() if not c.startswith(free_of_cost)]
    assert all(choice.endswith("@4") for choice in choices)


# --- variants ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variant",
    [
        {"mode": "direct"},
        {"mode": "published_noise", "distribution": "gaussian"},
        {"form": "per_operation"},
        {"mode": "published_noise", "form": "per_operation"},
        {"relaxation": "gumbel"},
        {"relaxation": "hard_gumbel"},
        {"relaxation": "hard_gumbel", "mode": "direct"},
        {"adq": False, "bits": [2, 8, 32]},
        {"space": "rfdn"},
        {"space": "rfdn", "mode": "direct"},
    ],
)
def test_every_variant_runs_and_moves_the_architecture(variant):
    searched = run(config(variant))
    assert logits(searched).isfinite().all()
    assert logits(searched).any()
    searched.supernet.check(searched.genotype)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("space", ["basic", "rfdn"])
def test_other_scales_are_searched(scale, space):
    searched = run(config({"space": space}, scale=scale))
    assert math.isfinite(searched.score.value("supernet_psnr").value)


@pytest.mark.parametrize("model", ["espcn", "rfdn"])
def test_the_bits_of_a_published_network_are_searched(model):
    spaces = {"basic": BASIC}
    section = config(spaces=spaces).model_dump(mode="json")
    section["spaces"] = {"fixed": {"model": model, "bits": [8, 4]}}
    section["variant"] = {"space": "fixed"}
    searched = run(parse_config(SearchConfig, section, "search"))
    assert set(searched.genotype.choices.values()) <= {"bits@8", "bits@4"}
    assert searched.genotype.space == model
    assert logits(searched).any()


# --- what comes out ----------------------------------------------------------------------------


def probabilities(searched, entry):
    """Return decision -> candidate -> probability of one entry of the course."""
    found = {}
    for name, curve in searched.course.curves.items():
        decision, slash, candidate = name.partition("/")
        if slash:
            found.setdefault(decision, {})[candidate] = curve[entry]
    return found


@pytest.mark.parametrize("selection", ["last", "best_validation"])
def test_the_genotype_is_the_most_probable_one_of_the_selected_moment(monkeypatch, selection):
    errors = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr(search_run, "_l1", lambda *arguments: next(errors))
    settings = config(
        selection=selection, validate_every=2, architecture_learning_rate=0.5, iterations=6
    )
    searched = run(settings)
    entry = 2 if selection == "last" else 1
    assert searched.course.curves["validation_l1"] == [0.3, 0.1, 0.2]
    chosen = {d: max(p, key=p.get) for d, p in probabilities(searched, entry).items()}
    assert searched.genotype == Genotype("basic", chosen)
    if selection == "last":
        assert searched.genotype == searched.supernet.genotype()


def test_the_course_and_the_curves_cover_the_whole_search():
    searched = run()
    assert searched.losses.iterations == [1, 2, 3, 4, 5, 6]
    assert searched.course.iterations == [4, 6]
    assert set(searched.losses.curves) == {"loss", "architecture_loss", "penalty", "entropy"}
    last = probabilities(searched, -1)
    assert set(last) == set(searched.genotype.choices)
    for of_decision in last.values():
        assert sum(of_decision.values()) == pytest.approx(1)


def test_the_record_says_what_was_searched_on_what_and_how_it_ended(tmp_path):
    validation = pairs("d", "e")
    searched = run(seed=3, validate_on=validation)
    score = searched.score
    assert (score.stage, score.variant, score.seed) == ("quantnas_search", "noise", 3)
    assert score.dataset == {"card": "b+c", "split": "validation", "items": 2}
    assert score.budget == {"iterations": 6, "images": 24, "patch": 24, "mode": "noise"}
    net = searched.supernet
    assert score.value("bitops").value == net.genotype_bitops(searched.genotype)
    end = net.probabilities()
    assert score.value("expected_bitops").value == net.expected_cost(end).item()
    assert score.value("choice_entropy").value == net.total_entropy(end).item()
    largest = [p.detach().max().item() for p in end.values()]
    assert score.value("decisiveness").value == pytest.approx(sum(largest) / len(largest))
    mixed, derived = (score.value(f"{kind}_psnr").value for kind in ("supernet", "derived"))
    assert score.value("derivation_gap").value == pytest.approx(mixed - derived)
    parameters = sum(p.numel() for p in net.network.parameters())
    assert score.value("parameters").value == parameters
    write_scores(tmp_path / "s.json", [score])
    assert read_scores(tmp_path / "s.json")[0].value("bitops") == score.value("bitops")


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train_on", "validate_on"])
def test_pairs_of_another_scale_are_refused_before_the_search(monkeypatch, part):
    monkeypatch.setattr(module, "fit", None)  # would raise if it were called
    with pytest.raises(ValueError, match="expected pairs of scale 4, got scale 2"):
        run(**{part: pairs("a", "b", scale=2)})


def test_a_crop_larger_than_an_image_is_refused_before_the_search(monkeypatch):
    monkeypatch.setattr(module, "fit", None)
    with pytest.raises(ValueError, match=r"the LR image is 12x12, smaller than .* 13x13; set"):
        run(config(lr_crop=13))


def test_a_diverging_search_stops_and_says_where():
    with pytest.raises(FloatingPointError, match=r"loss is \w+ at iteration \d+; lower the"):
        run(config(learning_rate=1.0e30, iterations=12))
