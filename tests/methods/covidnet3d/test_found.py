import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.files import FileError, write_json
from vismodels.methods.covidnet3d.config import NetworkVariant
from vismodels.methods.covidnet3d.found import read_compared, read_found
from vismodels.nas.genotype import Genotype, write_genotype


@pytest.fixture
def folder(tmp_path):
    """Return what a search leaves: its genotype, two candidates and two random networks."""
    write_genotype(Genotype("covidnet3d", {"a": "skip"}), tmp_path / "genotype.json")
    records = [
        {"origin": origin, "loss": loss, "accuracy": 0.5, "choices": {"a": operation}}
        for origin, loss, operation in (
            ("most probable", 0.9, "skip"), ("random", 1.0, "mbconv_3_3"),
            ("sampled", 0.8, "mbconv_5_3"), ("random", 1.2, "mbconv_7_3"),
        )
    ]  # fmt: skip
    write_json(tmp_path / "candidates.json", records)
    return tmp_path


def variant(**network):
    return parse_config(NetworkVariant, {"network": network}, "network")


def test_a_searched_network_is_what_the_search_chose(folder):
    found = read_found(variant(kind="searched", search="policy"), folder)
    assert found == Genotype("covidnet3d", {"a": "skip"})


def test_compared_networks_are_counted_among_the_random_ones(folder):
    found = read_found(variant(kind="compared", search="policy", number=1), folder)
    assert found == Genotype("covidnet3d", {"a": "mbconv_7_3"})
    assert read_compared(folder, 1)["loss"] == 1.2


def test_a_number_beyond_what_was_compared_is_refused(folder):
    with pytest.raises(ConfigError, match="network 2 of a search that compared 2 random ones"):
        read_compared(folder, 2)


def test_damaged_candidates_are_named(folder):
    write_json(folder / "candidates.json", [{"loss": 1.0}])
    with pytest.raises(FileError, match=r"candidates.json: damaged .* run the search again"):
        read_compared(folder, 0)
