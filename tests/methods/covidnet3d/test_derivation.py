import pytest
import torch
from small_volumes import space, volumes

from vismodels.methods.covidnet3d.derivation import Candidate, best_of, candidates, score_path
from vismodels.methods.covidnet3d.supernet import Path, Supernet


@pytest.fixture
def supernet():
    made = Supernet(space())
    made.initialize_(torch.Generator().manual_seed(0))
    return made


def test_statistics_are_those_of_the_path_alone(supernet):
    """The statistics that a search leaves are a mixture of all paths."""
    data = volumes()
    genotype = supernet.config.uniform("mbconv_3_3")
    for norm in supernet.modules():
        if isinstance(norm, torch.nn.BatchNorm3d):
            norm.running_mean.fill_(100.0)
    first = score_path(supernet, genotype, [data.images[:12]], data)
    score_path(supernet, supernet.config.uniform("mbconv_5_3"), [data.images[12:]], data)
    assert score_path(supernet, genotype, [data.images[:12]], data) == first


def test_calibrated_statistics_are_the_mean_over_the_batches(supernet):
    data = volumes()
    batches = [data.images[:10], data.images[10:30]]
    genotype = supernet.config.uniform("skip")
    score_path(supernet, genotype, batches, data)
    stem, norm, _ = supernet.network.stem
    with torch.no_grad():
        expected = sum(stem(batch).mean(dim=(0, 2, 3, 4)) for batch in batches) / 2
    torch.testing.assert_close(norm.running_mean, expected)
    assert norm.momentum == 0.1


def test_the_most_probable_sampled_and_random_networks_are_scored(supernet, generator):
    data = volumes()
    with torch.no_grad():
        supernet.choice("stage0_block0").logits[1] = 9.0
    scored = candidates(
        supernet, [data.images[:12]], data, sampled=3, compared=4, generator=generator
    )
    origins = [candidate.origin for candidate in scored]
    assert origins.count("most probable") == 1
    assert origins.count("random") == 4
    assert 1 <= origins.count("sampled") <= 3
    assert scored[0].genotype.choices["stage0_block0"] == "mbconv_5_3"
    for candidate in scored:
        loss, accuracy = score_path(supernet, candidate.genotype, [data.images[:12]], data)
        assert (candidate.loss, candidate.accuracy) == (loss, accuracy)


def test_a_network_drawn_twice_is_scored_once(supernet, generator):
    with torch.no_grad():
        for name in supernet.choices:
            supernet.choice(name).logits[0] = 50.0
    data = volumes()
    scored = candidates(
        supernet, [data.images[:12]], data, sampled=5, compared=0, generator=generator
    )
    assert [candidate.origin for candidate in scored] == ["most probable"]


def test_the_candidate_of_least_loss_is_derived_and_random_ones_only_compared(supernet):
    genotype = supernet.config.uniform("skip")
    scored = [
        Candidate(genotype, "most probable", 0.9, 0.5),
        Candidate(genotype, "sampled", 0.7, 0.4),
        Candidate(genotype, "random", 0.1, 1.0),
    ]
    assert best_of(scored) is scored[1]


def test_a_path_shares_the_weights(supernet):
    path = Path(supernet, supernet.config.uniform("skip"))
    assert {id(p) for p in path.parameters()} == {id(p) for p in supernet.parameters()}
