import pytest

from vismodels.methods.covidnet3d.ranking import rank_score

LOSSES = {f"random_{n}": 1.0 + n / 10 for n in range(6)}
DATA = {"card": "phantom", "split": "test", "items": 9}


def ranked(accuracies, losses=LOSSES):
    retrained = {f"random_{n}": values for n, values in enumerate(accuracies)}
    return rank_score("stage", "policy", DATA, losses, retrained, "phantom")


def test_networks_of_less_loss_and_more_accuracy_are_ranked_alike():
    score = ranked([[60.0], [59.0], [58.0], [57.0], [56.0], [55.0]])
    assert score.value("rank_correlation").value == pytest.approx(1.0)
    assert score.gates[0].passed
    assert (score.variant, score.budget["networks"], score.note) == ("ranking_policy", 6, "phantom")


def test_one_exchange_of_neighbors_costs_what_spearman_says():
    score = ranked([[59.0], [60.0], [58.0], [57.0], [56.0], [55.0]])
    assert score.value("rank_correlation").value == pytest.approx(1 - 6 * 2 / (6 * 35))


def test_a_supernet_that_ranks_the_other_way_fails_its_gate():
    score = ranked([[float(n)] for n in range(6)])
    assert score.value("rank_correlation").value == pytest.approx(-1.0)
    assert not score.gates[0].passed


def test_means_over_seeds_are_ranked():
    one = ranked([[60.0 - n] for n in range(6)])
    many = ranked([[70.0 - n, 50.0 - n] for n in range(6)])
    assert one.value("rank_correlation") == many.value("rank_correlation")


def test_equal_accuracies_rank_nothing():
    assert ranked([[50.0]] * 6).value("rank_correlation").value == 0.0


def test_fewer_than_six_networks_give_no_correlation():
    assert ranked([[50.0]] * 5) is None
    assert rank_score("stage", "policy", DATA, {}, {}) is None
