import pytest

from vismodels.synthetic.scene_captions import list_attributes
from vismodels.synthetic.scene_tokenizer import UNTRAINED, build_tokenizer

TOKENIZER = build_tokenizer(24)


def encoded(text, **options):
    return TOKENIZER(text, **options).input_ids


def test_every_caption_fits_and_has_no_unknown_word():
    captions = [attributes.caption for attributes in list_attributes()]
    rows = encoded(captions)
    assert max(len(row) for row in rows) == 17
    assert not any(TOKENIZER.unk_token_id in row for row in rows)
    assert len({tuple(row) for row in rows}) == len(captions)


def test_texts_begin_and_end_and_are_padded():
    row = encoded("A small red circle", padding="max_length")
    assert TOKENIZER.convert_ids_to_tokens(row) == [
        "<start>", "a", "small", "red", "circle", "<end>", *["<pad>"] * 18
    ]  # fmt: skip
    assert encoded("") == [TOKENIZER.bos_token_id, TOKENIZER.eos_token_id]


def test_commas_are_tokens_of_their_own():
    assert TOKENIZER.tokenize("background, at night") == ["background", ",", "at", "night"]


def test_long_texts_are_cut_and_still_end():
    row = encoded("a " * 40, truncation=True)
    assert len(row) == 24
    assert row[-1] == TOKENIZER.eos_token_id


@pytest.mark.parametrize("word", UNTRAINED)
def test_words_of_prompt_edits_are_known_and_in_no_caption(word):
    assert TOKENIZER.unk_token_id not in encoded(f"{word} star")
    assert all(word not in attributes.caption.split() for attributes in list_attributes())


def test_the_longest_caption_and_its_denial_fit():
    longest = max((a.caption for a in list_attributes()), key=lambda text: len(encoded(text)))
    for words in ("without an orange star", "without striped style", "without night"):
        assert len(encoded(f"{longest} {words}")) <= TOKENIZER.model_max_length


def test_other_words_are_unknown():
    assert encoded("a dog")[2] == TOKENIZER.unk_token_id
