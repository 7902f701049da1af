import pytest
import torch
import yaml
from small_volumes import DATA, SPACE, volumes

from vismodels.config import parse_config
from vismodels.files import project_root
from vismodels.methods.covidnet3d.config import SearchConfig
from vismodels.methods.covidnet3d.search_run import SearchRun
from vismodels.methods.covidnet3d.space import OPERATIONS
from vismodels.nas.search import paired

SETTINGS = {
    "iterations": 12, "batch_size": 6, "parts": [1, 1, 1], "learning_rate": 3e-3,
    "architecture_learning_rate": 0.05, "architecture_weight_decay": 0.0, "validate_every": 6,
    "temperature": [5.0, 0.5], "compared": 3, "candidates": 1, "recalibration": 1,
}  # fmt: skip


def config(estimator="one_path", space=None, **changes):
    section = {
        "data": DATA,
        "space": SPACE | (space or {}),
        "variant": {"estimator": estimator},
        "settings": SETTINGS | changes,
        "training": {"iterations": 4, "batch_size": 4, "validate_every": 2},
    }
    return parse_config(SearchConfig, section, "search")


def run(estimator="one_path", seed=0, **changes):
    data = volumes()
    return SearchRun(config(estimator, **changes), data.shape, data.class_weights(), seed, "cpu")


def batches(seed=1, size=9):
    data = volumes(seed=seed)
    draws = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randperm(len(data), generator=draws)[:size]
        yield data.images[chosen], data.labels[chosen]


def advance(search, steps):
    stream = paired(batches(1), batches(2))
    for _ in range(steps):
        scalars = search.step(next(stream))
        search.state.iteration += 1
    return scalars


@pytest.mark.parametrize("estimator", ["one_path", "all_paths", "policy"])
def test_the_architecture_moves(estimator):
    search = run(estimator)
    scalars = advance(search, 3)
    assert all(logits.abs().max() > 0 for logits in search.logits)
    assert scalars.keys() == {"architecture_loss", "log_cost", "entropy", "loss"}


@pytest.mark.parametrize("estimator", ["one_path", "policy"])
def test_weights_alone_move_while_it_warms_up(estimator):
    search = run(estimator, warmup_share=0.5)
    before = [p.detach().clone() for p in search.weights]
    advance(search, 3)
    assert all(not logits.any() for logits in search.logits)
    assert any(not torch.equal(a, b) for a, b in zip(before, search.weights, strict=True))
    advance(search, 5)
    assert all(logits.abs().max() > 0 for logits in search.logits)


def test_the_architecture_step_leaves_the_weights_alone():
    search = run("one_path")
    before = [p.detach().clone() for p in search.weights]
    search.architecture_step(next(batches()))
    assert all(torch.equal(a, b) for a, b in zip(before, search.weights, strict=True))


def test_the_weight_step_leaves_the_architecture_and_idle_operations_alone():
    search = run("one_path")
    before = {n: p.detach().clone() for n, p in search.supernet.network.named_parameters()}
    search.weight_step(next(batches()))
    assert all(not logits.any() for logits in search.logits)
    moved = {
        n for n, p in search.supernet.network.named_parameters() if not torch.equal(p, before[n])
    }
    in_blocks = {tuple(n.split(".")[1:4:2]) for n in moved if ".branches." in n}
    assert len(in_blocks) <= len(search.supernet.choices)
    assert any(n.startswith("stem") for n in moved)


def test_a_cost_penalty_alone_prefers_cheap_operations():
    search = run("policy", cost_weight=50.0)
    advance(search, 8)
    probabilities = search.supernet.probabilities()
    assert all(int(p.argmax()) == 2 for p in probabilities.values())  # skip


def test_the_weight_of_the_entropy_grows_from_zero():
    search = run("policy", entropy_weight=1.0)
    start, _ = search.regularizer()
    search.state.iteration = search.settings.iterations
    end, parts = search.regularizer()
    assert float(start.detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(end.detach()) == pytest.approx(parts["entropy"], rel=1e-5)


def test_one_seed_makes_one_search():
    first, second, other = run("policy"), run("policy"), run("policy", seed=1)
    ends = [advance(search, 3)["architecture_loss"] for search in (first, second, other)]
    assert ends[0] == ends[1] != ends[2]


BLOCK, NOISE, SEEDS = "stage1_block0", 30.0, range(10)


def spoil_(block, useful, generator):
    """Have all operations of a block but one, skips included, drown its features in noise."""

    def add_noise(module, arguments, output):
        for name, weight in zip(module.candidates, arguments[1], strict=True):
            if name != useful and weight.item():
                output = output + weight * NOISE * torch.randn(output.shape, generator=generator)
        return output

    block.register_forward_hook(add_noise)


def is_solved(useful, seed):
    """Return whether the default's search finds the only useful one of 8 operations of a block.

    Nothing is changed of its settings but sizes; the noise is new in every pass.
    """
    content = yaml.safe_load((project_root() / "workflows/config/default.yaml").read_text())
    default = content["covidnet3d"]["problems"]["phantom"]
    sizes = {"iterations": 120, "batch_size": 9, "flip": [0, 0, 0], "shift": 0, "level": 0.0}
    (variant,) = default["searches"].values()
    search = run(
        variant["estimator"],
        seed,
        space={"operations": list(OPERATIONS), "blocks": [1, 1]},
        **default["search"] | sizes,
    )
    spoil_(search.supernet.network.blocks[BLOCK], useful, torch.Generator().manual_seed(seed))
    advance(search, search.settings.iterations)
    return search.supernet.best().choices[BLOCK] == useful


def test_a_planted_problem_is_solved():
    assert is_solved("mbconv_3_4", 0)


@pytest.mark.slow
def test_planted_problems_are_solved_in_nine_of_ten_seeds():
    """The bar of the issue; every operation is the useful one at least once."""
    solved = [is_solved(OPERATIONS[seed % len(OPERATIONS)], seed) for seed in SEEDS]
    assert sum(solved) >= 9, solved
