import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from vismodels.config import ConfigError, merged, parse_config
from vismodels.data.pages import page_text, read_pages, write_pages
from vismodels.metrics.restoration import psnr
from vismodels.results import read_scores, write_scores
from vismodels.synthetic.page_sets import PageSetConfig, make_pages, score_pages
from vismodels.synthetic.texts import long_words, split_of

BLUR = {
    "kind": "blur",
    "defocus_radius": [2.5, 4.5],
    "shake_size": [3, 11],
    "light": [0, 0.3],
    "noise": [0, 7],
    "jpeg_quality": [60, 95],
}
WEAR = {
    "kind": "wear",
    "yellowing": [0.3, 1],
    "mottling": [0.05, 0.3],
    "bleed": [0.1, 0.5],
    "bleed_sigma": [1, 2.5],
    "stains": [0, 3],
    "stain_strength": [0.2, 0.8],
    "fading": [0.1, 0.7],
    "soft": [0.4, 1],
    "light": [0, 0.4],
    "noise": [1, 6],
    "jpeg_quality": [60, 95],
}
SECTION = {
    "pages": {"train": 3, "validation": 1, "test": 2, "judge": 1},
    "faces": {
        "train": ["DejaVuSans", "STIXGeneral"],
        "validation": ["DejaVuSansMono"],
        "test": ["DejaVuSerif", "cmr10"],
        "judge": ["DejaVuSerif", "cmb10"],
    },
    "style": {
        "height": 160,
        "width": 224,
        "x_height": [10, 12],
        "leading": [2.4, 2.8],
        "margin": [8, 12],
        "columns": [1],
        "sentences": [2, 4],
        "headings": 0.2,
        "ragged": 0.3,
        "ink": [0, 0.25],
        "paper": [0.9, 1],
        "tint": 0.05,
    },
    "warp": {"rotation": 0.7, "stretch": 0.01, "shear": 0.005},
    "degradation": BLUR,
}


def config(**changes):
    return parse_config(PageSetConfig, {**SECTION, **changes}, "pages")


def digest(pages):
    content = hashlib.sha256()
    for page in pages:
        content.update(repr((page.name, page.words)).encode())
        content.update(page.clean.tobytes())
        content.update(page.degraded.tobytes())
    return content.hexdigest()


# --- pages -------------------------------------------------------------------------------------


def test_a_split_has_its_pages_and_they_are_written_and_read(tmp_path):
    pages = make_pages(config(), "train", 0)
    assert [page.name for page in pages] == ["train_0000", "train_0001", "train_0002"]
    assert all(page.clean.shape == (160, 224, 3) for page in pages)
    assert all(len(page.words) > 8 for page in pages)
    write_pages(pages, tmp_path)
    assert digest(read_pages(tmp_path)) == digest(pages)


def test_a_page_does_not_depend_on_the_number_of_pages():
    more = config(pages={"train": 5, "validation": 0, "test": 0, "judge": 0})
    few, many = make_pages(config(), "train", 0), make_pages(more, "train", 0)
    assert digest(many[:3]) == digest(few)


def test_seeds_splits_and_numbers_give_other_pages():
    texts = [page_text(p.words) for s in ("train", "test") for p in make_pages(config(), s, 0)]
    texts += [page_text(page.words) for page in make_pages(config(), "train", 1)]
    assert len(set(texts)) == 8


def digests():
    """Return what identifies some pages of each kind."""
    kinds = (config(degradation=degradation) for degradation in (BLUR, WEAR))
    return [digest(make_pages(kind, "test", 3)) for kind in kinds]


def test_pages_are_the_same_in_every_process():
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; "
        "from synthetic.test_page_sets import digests; print(*digests())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, *(path for path in sys.path if path)],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
    )
    assert output.stdout.split() == digests(), output.stderr


def test_the_degradation_changes_neither_texts_nor_layout():
    blurred, worn = (make_pages(config(degradation=d), "test", 0) for d in (BLUR, WEAR))
    assert [page.words for page in blurred] == [page.words for page in worn]


def test_blurred_pages_have_pictures_as_targets_and_worn_ones_two_levels():
    blurred, worn = (make_pages(config(degradation=d), "train", 0) for d in (BLUR, WEAR))
    for picture, mask in zip(blurred, worn, strict=True):
        assert len(np.unique(picture.clean)) > 20
        assert set(np.unique(mask.clean)) == {0, 255}
        assert 8 < psnr(picture.degraded, picture.clean) < 25
        text = mask.clean[..., 0] == 0
        assert 0.03 < text.mean() < 0.3
        # The targets fit the inputs: ink is darker than what is around it on both pages.
        for image in (picture.degraded, mask.degraded):
            assert image[text].mean() + 25 < image[~text].mean()


def test_no_long_word_stands_in_two_splits():
    words = {
        split: long_words(" ".join(page_text(p.words) for p in make_pages(config(), split, 0)))
        for split in ("train", "validation", "test", "judge")
    }
    for split, owned in words.items():
        assert owned
        assert {split_of(word) for word in owned} == {split}


# --- records -----------------------------------------------------------------------------------


def test_records_count_what_is_on_the_pages(tmp_path):
    sets = {split: make_pages(config(), split, 0) for split in ("train", "test", "judge")}
    scores = score_pages("synthetic_pages", "blurred_pages", config(), sets, 0)
    write_scores(tmp_path / "scores.json", scores)
    assert read_scores(tmp_path / "scores.json") == scores
    train, test, judge = scores
    assert (train.variant, test.variant, judge.variant) == ("train", "test", "judge")
    assert test.dataset == {"card": "blurred_pages", "split": "test", "items": 2}
    first, second = sets["test"]
    assert test.value("words").value == len(first.words) + len(second.words)
    assert test.value("characters").items[first.name] == len("".join(w.text for w in first.words))
    assert test.value("page_megapixels").value == 2 * 160 * 224 / 1e6
    assert test.value("psnr").items[second.name] == psnr(second.degraded, second.clean)
    assert 3 < test.value("text_share").value < 30
    assert train.gates == []
    assert [(gate.value, gate.passed) for gate in (*test.gates, *judge.gates)] == [(0, True)] * 4


def test_words_of_the_test_that_occur_in_training_fail_the_gate():
    pages = make_pages(config(), "train", 0)
    (_, test) = score_pages("x", "y", config(), {"train": pages, "test": pages[:1]}, 0)
    words, faces = test.gates
    assert words.value == len(long_words(page_text(pages[0].words))) > 0
    assert not words.passed
    assert faces.passed


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faces": {"train": ["DejaVuSan"]}}, r"faces\.train.*did you mean 'DejaVuSans'"),
        ({"faces": {"validation": []}}, r"faces\.validation"),
        ({"faces": {"test": ["cmr10", "DejaVuSans"]}}, "train and test share DejaVuSans"),
        ({"faces": {"judge": ["STIXGeneral"]}}, "train and judge share STIXGeneral"),
        ({"warp": {"rotation": 10.0}}, r"moves ink by up to .* smallest margin is 8"),
        ({"degradation": {"jpeg_quality": [60, 200]}}, r"jpeg_quality.*from 1 to 100"),
        ({"degradation": {"defocus": [1, 2]}}, "did you mean 'defocus_radius'"),
        ({"degradation": {"kind": "rain"}}, "degradation"),
        ({"pages": {"train": -1}}, r"pages\.train"),
    ],
)
def test_sets_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(PageSetConfig, merged(SECTION, changes), "pages")
