import math

import numpy as np
import pytest
import torch

from vismodels.checkpoint import tensor_digest
from vismodels.config import parse_config
from vismodels.data.pages import PagePair, Word
from vismodels.data.words import Alphabet, greedy_decode, word_crop
from vismodels.methods.nafdpm import recognizer as module
from vismodels.methods.nafdpm.recognizer import (
    aligned_share,
    build_recognizer,
    page_cer,
    read_page,
    read_words,
    train_recognizer,
)
from vismodels.methods.nafdpm.recognizer_config import RecognizerConfig
from vismodels.methods.nafdpm.word_batches import page_tensor
from vismodels.nn.crnn import CRNN
from vismodels.results import read_scores, write_scores
from vismodels.training.loop import CHECKPOINT

# Glyphs of a toy script: 9x5 blocks that differ in the rows of their ink.
GLYPHS = {"a": (0, 3), "b": (3, 6), "c": (6, 9)}


def page(name, texts):
    """Return a page of words in the toy script, one below the other."""
    image = np.full((12 * len(texts) + 6, 80, 3), 255, np.uint8)
    words = []
    for line, text in enumerate(texts):
        top, left = 4 + 12 * line, 5
        for position, letter in enumerate(text):
            first, last = GLYPHS[letter]
            column = left + 9 * position
            image[top + first : top + last, column : column + 7] = 0
        words.append(Word(text, left, top, left + 9 * len(text) - 2, top + 9, line))
    return PagePair(name, image, image, tuple(words))


def pages():
    return [
        page("p0", ["a", "bc", "cab"]),
        page("p1", ["ba", "c", "abc"]),
        page("p2", ["b", "ac", "cb"]),
    ]


def config(network=None, **training):
    section = {
        "pages": ["toy"],
        "split": "train",
        "validation_pages": 1,
        "network": {
            "image_channels": 1,
            "widths": [2, 4, 4, 4, 6, 6, 8],
            "hidden": 6,
            "recurrent_layers": 1,
            "normalized": [1, 2, 3, 4, 5, 6],
            **(network or {}),
        },
        "training": {
            "iterations": 6,
            "batch_size": 3,
            "learning_rate": 1.0e-2,
            "warmup": 1,
            "aligned_iterations": 3,
            "max_gradient_norm": 5.0,
            "validate_every": 2,
            "augmentation": {"probability": 0.5, "blur": [0.3, 1.0], "noise": [0.0, 0.05]},
            **training,
        },
    }
    return parse_config(RecognizerConfig, section, "recognizer")


def run(settings=None, *, seed=0, name="critic", on=None, **options):
    return train_recognizer(settings or config(), on or pages(), name=name, seed=seed, **options)


def curves(trained):
    return trained.losses.state_dict(), trained.validation.state_dict()


# --- equal bits --------------------------------------------------------------------------------


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not():
    torch.manual_seed(1)
    first = run()
    torch.manual_seed(2)
    again = run()
    assert tensor_digest(first.network) == tensor_digest(again.network)
    assert curves(first) == curves(again)
    assert first.score == again.score
    assert tensor_digest(run(seed=1).network) != tensor_digest(first.network)


def test_critic_and_judge_of_one_seed_start_from_different_weights():
    critic, judge = (build_recognizer(config(), 0, name) for name in ("critic", "judge"))
    assert tensor_digest(critic) != tensor_digest(judge)


class Stopped(Exception):
    pass


@pytest.mark.parametrize(
    ("place", "call"),
    [("ctc_loss", 1), ("ctc_loss", 3), ("ctc_loss", 6)]
    + [("clean_cer", call) for call in (1, 2, 3, 4)],  # the last one is for the score
)
def test_an_interrupted_training_goes_on_bit_by_bit(monkeypatch, tmp_path, place, call):
    whole = run()
    real, calls = getattr(module, place), []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise Stopped
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(module, place, counted)
        with pytest.raises(Stopped):
            run(checkpoint_dir=tmp_path)
        assert (tmp_path / CHECKPOINT).exists() == (place == "clean_cer" or call > 2)
    resumed = run(checkpoint_dir=tmp_path)
    assert tensor_digest(resumed.network) == tensor_digest(whole.network)
    assert curves(resumed) == curves(whole)
    assert resumed.score == whole.score


# --- what training does ------------------------------------------------------------------------


def test_a_tiny_set_is_learned_by_heart():
    settings = config(
        {"widths": [4, 8, 8, 8, 12, 12, 16], "hidden": 12},
        iterations=90,
        batch_size=12,
        learning_rate=2.0e-2,
        warmup=5,
        aligned_iterations=30,
        validate_every=90,
        augmentation={"probability": 0.0},
    )
    trained = run(settings)
    losses = trained.losses.curves["loss"]
    assert sum(losses[-10:]) < 0.2 * sum(losses[:10])
    learned = pages()[0]
    assert page_cer(trained.network, Alphabet(), learned.clean, learned.words) < 0.5
    assert not trained.network.training


def test_the_aligned_loss_comes_first_and_leaves_along_a_line():
    shares = [aligned_share(iteration, 8) for iteration in range(10)]
    assert shares == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0]
    assert aligned_share(0, 0) == 0


def test_the_loss_of_an_iteration_is_the_mixture_of_both(monkeypatch):
    monkeypatch.setattr(module, "ctc_loss", lambda scores, *_: 0 * scores.sum() + 10)
    monkeypatch.setattr(module, "aligned_loss", lambda scores, _: 0 * scores.sum() + 2)
    losses = run(config(aligned_iterations=4)).losses.curves["loss"]
    assert losses == pytest.approx([2, 2, 2, 6, 10, 10])


def test_the_last_pages_are_not_learned_from(monkeypatch):
    seen = []
    real = module.word_batches
    monkeypatch.setattr(
        module, "word_batches", lambda on, *a, **k: seen.append(on) or real(on, *a, **k)
    )
    trained = run()
    assert [[p.name for p in on] for on in seen] == [["p0", "p1"]]
    assert trained.score.value("cer").items.keys() == {"p2"}


def test_the_course_is_logged_and_the_record_says_what_was_trained(tmp_path):
    trained = run(seed=3, name="judge")
    score = trained.score
    assert trained.losses.iterations == [1, 2, 3, 4, 5, 6]
    assert trained.validation.iterations == [2, 4, 6]
    assert (score.stage, score.variant, score.seed) == ("nafdpm_recognizer", "judge", 3)
    assert score.dataset == {"card": "toy", "split": "train", "items": 1}
    assert score.budget == {"iterations": 6, "images": 18}
    assert score.value("cer").value == trained.validation.curves["cer"][-1]
    assert score.value("parameters").value == sum(p.numel() for p in trained.network.parameters())
    write_scores(tmp_path / "s.json", [score])
    assert read_scores(tmp_path / "s.json") == [score]


# --- reading -----------------------------------------------------------------------------------


class Fixed(CRNN):
    """Reads what it is told, word after word; remembers the crops."""

    def __init__(self, texts):
        super().__init__(1, 97, (1,) * 7, 1, 1)
        self.texts, self.crops = list(texts), []

    def forward(self, image):
        alphabet = Alphabet()
        self.crops.extend(image)
        scores = torch.zeros(len(image), 31, alphabet.classes)
        scores[:, :, 0] = 0.5
        for item in scores:
            for place, code in enumerate(alphabet.encode(self.texts.pop(0))):
                item[2 * place, code] = 1.0
        return scores.log_softmax(dim=2)


def test_a_page_is_read_in_reading_order_line_by_line():
    image = np.full((40, 90, 3), 200, np.uint8)
    words = [Word("x", 5, 5, 20, 15, 0), Word("x", 30, 5, 50, 15, 0), Word("x", 5, 20, 20, 30, 1)]
    assert read_page(Fixed(["The", "end", "of."]), Alphabet(), image, words) == "The end\nof."


def test_each_word_is_read_from_its_own_crop():
    toy = pages()[0]
    network = Fixed(["x"] * 3)
    read_words(network, Alphabet(), toy.clean, toy.words)
    tensor = page_tensor(toy.clean, 1)
    for crop, word in zip(network.crops, toy.words, strict=True):
        assert torch.equal(crop, word_crop(tensor, word).float() / 255)


def test_a_word_that_does_not_qualify_counts_on_neither_side():
    image = np.full((40, 200, 3), 200, np.uint8)
    words = [Word("ab", 5, 5, 20, 15, 0), Word("wide", 30, 5, 190, 15, 0)]
    assert page_cer(Fixed(["ab"]), Alphabet(), image, words) == 0
    assert page_cer(Fixed(["ax"]), Alphabet(), image, words) == 0.5
    assert math.isnan(page_cer(Fixed([]), Alphabet(), image, words[1:]))


def test_a_word_that_is_read_as_nothing_leaves_no_blank():
    image = np.full((40, 90, 3), 200, np.uint8)
    words = [Word("ab", 5, 5, 20, 15, 0), Word("cd", 30, 5, 50, 15, 0)]
    assert page_cer(Fixed(["ab", ""]), Alphabet(), image, words) == pytest.approx(3 / 5)


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_do_not_change_what_is_read_and_modes_are_put_back(monkeypatch, channels):
    network = build_recognizer(config({"image_channels": channels}), 0, "critic").train()
    toy = page("p", ["abc", "b", "ca", "ab", "cc"])
    whole = read_words(network, Alphabet(), toy.clean, toy.words)
    monkeypatch.setattr(module, "READ_AT_ONCE", 2)
    assert read_words(network, Alphabet(), toy.clean, toy.words) == whole
    assert network.training
    crops = torch.stack([word_crop(page_tensor(toy.clean, channels), w) for w in toy.words])
    with torch.no_grad():
        texts = greedy_decode(network.eval()(crops.float() / 255), Alphabet())
    assert [word.text for word in whole] == texts


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pages_are_refused(count):
    with pytest.raises(ValueError, match=f"expected more than 1 pages, .* got {count} pages"):
        train_recognizer(config(), pages()[:count], name="critic", seed=0)


def test_a_validation_page_without_words_is_refused_by_name():
    with pytest.raises(ValueError, match=r"without words: \['scan'\]"):
        run(on=[*pages(), page("scan", [])])


def test_a_diverging_training_stops_and_says_where():
    with pytest.raises(FloatingPointError, match=r"loss is \w+ at iteration \d+; lower the"):
        run(config(learning_rate=1.0e30, iterations=20))
