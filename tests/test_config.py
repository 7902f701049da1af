from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from vismodels.config import (
    Config,
    ConfigError,
    compose,
    config_digest,
    lookup,
    merged,
    parse_config,
)


class Network(Config):
    kind: Literal["plain"]
    channels: int = 8


class Other(Config):
    kind: Literal["other"]
    depth: int


class Training(Config):
    learning_rate: float
    flip: bool = True
    crops: tuple[int, ...] = ()
    networks: dict[str, Network] = Field(default_factory=dict)
    network: Annotated[Network | Other, Field(discriminator="kind")] = Network(kind="plain")


def parse(**section):
    return parse_config(Training, {"learning_rate": 0.1, **section}, "sr.training")


def test_yaml_lists_become_tuples():
    assert parse(crops=[1, 2]).crops == (1, 2)


def test_integers_are_good_numbers():
    assert parse(learning_rate=1).learning_rate == 1.0


def test_text_that_looks_like_a_number_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"sr\.training\.learning_rate.*write 1\.0e-3"):
        parse(learning_rate="1e-3")


def test_text_is_not_a_boolean():
    with pytest.raises(ConfigError, match=r"sr\.training\.flip: .*'no'"):
        parse(flip="no")


def test_unknown_key_names_its_path_and_the_nearest_one():
    with pytest.raises(
        ConfigError, match=r"sr\.training\.lerning_rate: unknown key; did you mean 'learning_rate'"
    ):
        parse(lerning_rate=1.0)


@pytest.mark.parametrize("key", ["networks", "network"])
def test_unknown_key_of_a_nested_section_is_explained(key):
    nested = {"kind": "plain", "chanels": 3}
    section = {"a": nested} if key == "networks" else nested
    with pytest.raises(ConfigError, match=r"chanels: unknown key; did you mean 'channels'"):
        parse(**{key: section})


def test_missing_key_is_named():
    with pytest.raises(ConfigError, match=r"sr\.learning_rate: this key is required"):
        parse_config(Training, {}, "sr")


def test_every_error_has_its_line():
    with pytest.raises(ConfigError) as caught:
        parse(flip=3, crops="x")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("section", [None, [], "text", 3])
def test_a_section_must_be_a_mapping(section):
    with pytest.raises(ConfigError, match="expected a mapping"):
        parse_config(Training, section, "sr")


def test_infinity_is_refused():
    with pytest.raises(ConfigError, match="finite"):
        parse(learning_rate=float("inf"))


def test_configs_are_immutable():
    with pytest.raises(ValueError, match="frozen"):
        parse().learning_rate = 2.0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_digest_ignores_the_order_of_keys(config):
    assert config_digest(config) == config_digest(dict(reversed(config.items())))


@given(st.dictionaries(st.text(max_size=5), values, max_size=4), st.text(max_size=5))
def test_digest_sees_a_new_key(config, key):
    changed = {**config, key: [config.get(key), 1]}
    assert config_digest(config) != config_digest(changed)


def test_a_config_and_its_json_survive_the_round_trip():
    config = parse(crops=[1], networks={"a": {"kind": "plain"}})
    again = parse_config(Training, config.model_dump(mode="json"), "sr.training")
    assert again == config
    assert config_digest(again) == config_digest(config)


def test_overlays_merge_key_by_key_and_replace_lists():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merged(base, {"a": {"y": [3]}}) == {"a": {"x": 1, "y": [3]}, "b": 1}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_lookup_follows_dots_and_suggests():
    assert lookup({"a": {"b": 1}}, "a.b") == 1
    with pytest.raises(ConfigError, match="a has no key 'training'; did you mean 'trainings'"):
        lookup({"a": {"trainings": 1}}, "a.training")


def test_lookup_below_a_plain_value_is_refused():
    with pytest.raises(ConfigError, match=r"a\.b has no key 'c'"):
        lookup({"a": {"b": 1}}, "a.b.c")


def test_compose_puts_sections_together():
    config = {"a": {"b": 1}, "c": 2}
    assert compose(config, {"": "a"}) == {"b": 1}
    assert compose(config, {"first": "a.b", "second": "c"}) == {"first": 1, "second": 2}
    assert compose(config, {}) == {}


def test_one_seed_of_an_arm_does_not_depend_on_how_many_there_are():
    keys = {"variant": "arms.softmax", "training": "training"}

    def of(runs):
        arms = {"softmax": {"runs": runs, "rate": 0.1}}
        return compose({"arms": arms, "training": {"runs": 7}}, keys)

    assert of(3) == of(5) == {"variant": {"rate": 0.1}, "training": {"runs": 7}}
