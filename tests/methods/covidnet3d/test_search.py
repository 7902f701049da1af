import pytest
from small_volumes import DATA, SPACE, volumes

from vismodels.config import parse_config
from vismodels.methods.covidnet3d import search as module
from vismodels.methods.covidnet3d.config import SearchConfig
from vismodels.methods.covidnet3d.search import ENTROPY_GATE, RANDOM_GATE, search

SETTINGS = {
    "iterations": 6, "batch_size": 6, "parts": [1, 1, 1], "learning_rate": 3e-3,
    "architecture_learning_rate": 0.05, "validate_every": 3, "compared": 3, "candidates": 2,
    "recalibration": 1,
}  # fmt: skip


def config(estimator="policy", **changes):
    section = {
        "data": DATA,
        "space": SPACE,
        "variant": {"estimator": estimator},
        "settings": SETTINGS | changes,
        "training": {"iterations": 9, "batch_size": 4, "validate_every": 3, "warmup": 2},
    }
    return parse_config(SearchConfig, section, "search")


def run(estimator="policy", seed=0, checkpoint_dir=None, **changes):
    return search(
        config(estimator, **changes), volumes(45), name="policy", seed=seed,
        checkpoint_dir=checkpoint_dir,
    )  # fmt: skip


def _loss(candidate):
    return candidate.loss


@pytest.mark.parametrize("estimator", ["policy", "one_path", "all_paths"])
def test_a_search_ends_with_a_network_of_its_space(estimator):
    found = run(estimator)
    assert found.genotype.choices.keys() == config().space.candidates().keys()
    assert found.course.iterations == [3, 6]
    assert found.genotype in [c.genotype for c in found.candidates if c.origin != "random"]


def test_the_derived_network_is_the_one_that_was_scored():
    found = run()
    chosen = [c for c in found.candidates if c.genotype == found.genotype]
    assert found.score.value("derived_loss").value == chosen[0].loss


def test_the_gate_is_for_the_network_that_was_chosen_without_the_patients():
    found = run(candidates=12)
    probable = found.candidates[0]
    assert probable.origin == "most probable"
    assert found.score.value("probable_loss").value == probable.loss
    random = found.score.value("random_loss").value
    (gate,) = (gate for gate in found.score.gates if gate.name == RANDOM_GATE)
    assert gate.value == pytest.approx(probable.loss - random)
    assert found.score.value("derived_loss").value < probable.loss  # else the case tells nothing


def test_the_record_compares_with_random_networks():
    found = run()
    random = [c.loss for c in found.candidates if c.origin == "random"]
    assert found.score.value("random_loss").value == pytest.approx(sum(random) / 3)
    gates = {gate.name: gate for gate in found.score.gates}
    assert gates.keys() == {ENTROPY_GATE, RANDOM_GATE}
    assert 0 < gates[ENTROPY_GATE].value <= 1.01
    assert found.score.dataset["items"] == 15  # a third of the patients, held out


def test_an_interrupted_search_ends_with_the_same_bits(tmp_path, monkeypatch):
    import vismodels.training.loop as loop

    whole, saved = run("one_path"), loop.save_resume

    def save_and_stop(path, state):
        saved(path, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_resume", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run("one_path", checkpoint_dir=tmp_path)
    monkeypatch.setattr(loop, "save_resume", saved)
    resumed = run("one_path", checkpoint_dir=tmp_path)
    assert resumed.losses.curves == whole.losses.curves
    assert resumed.candidates == whole.candidates


def test_early_selection_trains_the_candidates_before_it_chooses(monkeypatch):
    trained, scored = [], []

    def train_network(network, settings, *_, **__):
        trained.append((network.genotype, settings.iterations))
        return network, None, None

    def loss_and_accuracy(network, *_):
        scored.append(network)
        return -float(len(scored)), 0.5  # the later, the better

    monkeypatch.setattr(module, "train_network", train_network)
    monkeypatch.setattr(module, "loss_and_accuracy", loss_and_accuracy)
    found = run(early_selection=4, compared=1, candidates=4)
    eligible = [c for c in found.candidates if c.origin != "random"]
    assert trained == [(candidate.genotype, 4) for candidate in eligible]
    assert len(eligible) > 1
    assert found.genotype == eligible[-1].genotype != min(eligible, key=_loss).genotype


def test_candidates_become_plain_values():
    records = run().candidates_record()
    assert {"origin", "loss", "accuracy", "choices"} == records[0].keys()
    assert sum(record["origin"] == "random" for record in records) == 3


def test_too_few_patients_are_named():
    with pytest.raises(ValueError, match="cannot be divided into shares of"):
        run(parts=[9, 9, 9])
