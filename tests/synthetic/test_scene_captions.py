import pytest

from vismodels.config import ConfigError
from vismodels.synthetic.scene_captions import (
    CONCEPTS,
    VALUES,
    Attributes,
    caption_words,
    concept_by_name,
    list_attributes,
    parse_caption,
)

BARE = Attributes("small", "red", "circle", "gray")


def test_captions_read_like_sentences():
    assert BARE.caption == "a small red circle on a gray background"
    full = Attributes("large", "pink", "cross", "cyan", True, "striped")
    assert full.caption == (
        "a large pink cross on a cyan background with an orange star, striped style"
    )
    night = Attributes("large", "white", "square", "black", style="night")
    assert night.caption == "a large white square on a black background, at night"


def test_a_caption_says_all_and_is_read_back():
    contents = list_attributes()
    assert [parse_caption(each.caption) for each in contents] == contents
    assert len({each.caption for each in contents}) == len(contents)


def test_every_combination_is_there_but_stripes_on_black():
    contents = list_attributes()
    everything = 2 * 6 * 4 * 4 * 2 * 3
    assert len(contents) == everything - 2 * 6 * 4 * 2
    assert not any((a.background, a.style) == ("black", "striped") for a in contents)


def test_labels_are_positions_of_values():
    labels = Attributes("large", "yellow", "circle", "cyan", True, "night").labels
    assert labels == {
        "size": 1, "color": 3, "shape": 0, "background": 3, "star": 1, "style": 2
    }  # fmt: skip
    assert labels.keys() == VALUES.keys()


def test_there_are_few_words():
    words = caption_words()
    assert words == sorted(set(words))
    assert len(words) == 28
    assert {"a", ",", "star", "night"} <= set(words)


# --- concepts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONCEPTS)
def test_removing_a_concept_takes_its_words_out_of_the_caption_and_nothing_else(name):
    concept = CONCEPTS[name]
    for content in list_attributes():
        without = concept.removed(content)
        assert not concept.is_in(without)
        if concept.is_in(content):
            assert concept.words in content.caption
            assert concept.words not in without.caption
            assert set(without.caption.split()) <= set(content.caption.replace(",", "").split()) | {
                "background,"
            }
            assert concept.added(without) == content
        else:
            assert without == content


def test_removing_a_style_leaves_another_one():
    night = Attributes("small", "red", "circle", "gray", style="night")
    assert CONCEPTS["striped"].removed(night) == night
    assert CONCEPTS["night"].removed(night) == BARE
    assert CONCEPTS["star"].added(night).star


def test_stripes_cannot_be_added_to_black():
    dark = Attributes("small", "red", "circle", "black")
    with pytest.raises(ValueError, match="stripes on a black background"):
        CONCEPTS["striped"].added(dark)


# --- what is refused ---------------------------------------------------------------------------


def test_unknown_values_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="color 'gren' is unknown; did you mean 'green'"):
        Attributes("small", "gren", "circle", "gray")
    with pytest.raises(ValueError, match="star 'yes' is unknown"):
        Attributes("small", "green", "circle", "gray", star="yes")


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        (
            "a small red circel on a gray background",
            "'circel' is in no caption; did you mean 'circ",
        ),
        ("a red small circle on a gray background", "expected a caption like 'a small red circle"),
        ("a small red circle on a gray background without an orange star", "'without' is in no"),
        ("a small red circle on a black background, striped style", "stripes on a black"),
        ("", "expected a caption like"),
    ],
)
def test_sentences_of_another_grammar_are_refused(caption, message):
    with pytest.raises(ValueError, match=message):
        parse_caption(caption)


def test_concepts_are_found_by_name():
    assert concept_by_name("night") is CONCEPTS["night"]
    with pytest.raises(ConfigError, match="no concept 'nihgt'; did you mean 'night'"):
        concept_by_name("nihgt")
