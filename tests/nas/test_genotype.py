import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.config import ConfigError
from vismodels.files import FileError
from vismodels.nas.choice import Choice
from vismodels.nas.genotype import Genotype, read_genotype, write_genotype

SPACE = {
    "head_0": ["simple_3x3@8", "simple_3x3@4", "simple_5x5@8"],
    "body_0": ["conv_3x1_1x3@8", "conv_3x1_1x3@4", "skip_connect"],
}
GENOTYPE = Genotype("basic", {"head_0": "simple_3x3@4", "body_0": "skip_connect"})


def changed(**choices):
    return Genotype("basic", {**GENOTYPE.choices, **choices})


@given(st.text(max_size=10), st.dictionaries(st.text(max_size=10), st.text(max_size=10)))
def test_json_and_back_is_the_same_genotype(space, choices):
    genotype = Genotype(space, choices)
    assert Genotype.from_dict(json.loads(json.dumps(genotype.to_dict()))) == genotype


def test_a_file_and_back_is_the_same_genotype(tmp_path):
    write_genotype(GENOTYPE, tmp_path / "search" / "genotype.json")
    assert read_genotype(tmp_path / "search" / "genotype.json") == GENOTYPE
    assert read_genotype(str(tmp_path / "search" / "genotype.json")) == GENOTYPE


def test_the_file_is_plain_json_of_names(tmp_path):
    write_genotype(GENOTYPE, tmp_path / "genotype.json")
    assert json.loads((tmp_path / "genotype.json").read_text()) == {
        "space": "basic",
        "choices": {"head_0": "simple_3x3@4", "body_0": "skip_connect"},
    }


def test_the_order_of_decisions_does_not_matter(tmp_path):
    turned = Genotype("basic", dict(reversed(GENOTYPE.choices.items())))
    assert turned == GENOTYPE
    write_genotype(GENOTYPE, tmp_path / "a.json")
    write_genotype(turned, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_reordering_decisions_and_candidates_of_the_space_changes_nothing():
    turned = {decision: options[::-1] for decision, options in reversed(SPACE.items())}
    GENOTYPE.check("basic", SPACE)
    GENOTYPE.check("basic", turned)
    for decision, options in turned.items():
        name = GENOTYPE.choices[decision]
        selected = Choice(options).one_hot(name)
        assert options[int(selected.argmax())] == name


def test_a_genotype_does_not_change():
    with pytest.raises(FrozenInstanceError):
        GENOTYPE.space = "other"


# --- against a space ---------------------------------------------------------------------------


def test_a_genotype_of_another_space_is_refused():
    with pytest.raises(ConfigError, match="genotype of the space 'basic', expected 'rfdn'"):
        GENOTYPE.check("rfdn", SPACE)


def test_an_unknown_decision_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"no decision 'haed_0'; did you mean 'head_0'\?"):
        changed(haed_0="simple_3x3@4").check("basic", SPACE)


def test_an_unknown_candidate_is_refused_with_the_nearest_name():
    with pytest.raises(
        ConfigError, match=r"head_0 has no candidate .*did you mean 'simple_3x3@\d'"
    ):
        changed(head_0="simple_3x3@2").check("basic", SPACE)


def test_the_candidate_of_another_decision_is_refused():
    with pytest.raises(ConfigError, match="head_0 has no candidate 'skip_connect'"):
        changed(head_0="skip_connect").check("basic", SPACE)


def test_missing_decisions_are_named():
    with pytest.raises(ConfigError, match=r"says nothing about head_0, body_0$"):
        Genotype("basic", {}).check("basic", SPACE)


# --- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "basic",
        {},
        {"space": "basic"},
        {"choices": {}},
        {"space": 3, "choices": {}},
        {"space": "basic", "choices": ["simple_3x3@4"]},
        {"space": "basic", "choices": {"head_0": 1}},
        {"space": "basic", "choices": {"head_0": None}},
        {"space": "basic", "choices": {"head_0": ["simple_3x3", 4]}},
    ],
)
def test_other_content_is_refused_with_what_was_expected(content):
    with pytest.raises(ConfigError, match=r'a genotype is \{"space": name, "choices"') as error:
        Genotype.from_dict(content)
    assert str(content)[:40] in str(error.value)


@pytest.mark.parametrize("text", ["", '{"space": "basic", "cho', '{"space": "basic"}', "\x00\x01"])
def test_a_damaged_file_is_reported_with_its_name(text, tmp_path):
    path = tmp_path / "genotype.json"
    path.write_text(text)
    with pytest.raises(FileError, match=r"genotype\.json: "):
        read_genotype(path)


def test_a_missing_file_is_reported_with_its_name(tmp_path):
    with pytest.raises(FileError, match=r"absent\.json: no such file"):
        read_genotype(tmp_path / "absent.json")


def test_the_genotype_is_a_copy_of_what_was_read():
    content = GENOTYPE.to_dict()
    genotype = Genotype.from_dict(content)
    content["choices"]["head_0"] = "simple_5x5@8"
    assert genotype == GENOTYPE
