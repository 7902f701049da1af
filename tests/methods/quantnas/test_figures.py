from pathlib import Path

import numpy as np
import pytest

from vismodels.config import ConfigError, parse_config
from vismodels.data.windows import write_windows
from vismodels.figures import figure_to
from vismodels.files import project_root
from vismodels.methods.quantnas.architecture import draw_architecture
from vismodels.methods.quantnas.config import FiguresConfig
from vismodels.methods.quantnas.course import draw_probabilities, probability_curves
from vismodels.methods.quantnas.figures import draw_figures
from vismodels.methods.quantnas.labels import label_points
from vismodels.methods.quantnas.pareto import chosen_set, draw_pareto, points, published_points
from vismodels.methods.quantnas.space import (
    BasicSkeleton,
    FixedSpace,
    RFDNSkeleton,
    SpaceConfig,
)
from vismodels.metrics.general import BITOPS
from vismodels.metrics.image import PSNR_Y
from vismodels.nas.genotype import Genotype, write_genotype
from vismodels.report.method_files import read_method_files
from vismodels.results import SCORES, Score, Value, write_scores
from vismodels.tables.layout import PaperValues
from vismodels.training.log import ScalarLog

SKELETON = {"kind": "basic", "channels": 4, "cells": 2, "head_layers": 1, "tail_layers": 1}
OPERATIONS = {
    "head": ["simple_3x3"],
    "body": ["simple_3x3", "conv_3x1_1x3"],
    "skip": ["simple_1x1"],
    "upsample": ["simple_3x3"],
    "tail": ["simple_3x3"],
}
SPACE = {"skeleton": SKELETON, "operations": OPERATIONS, "bits": [8, 4]}
FOUND = {
    "head_0": "simple_3x3@8",
    "body_0": "conv_3x1_1x3@4",
    "body_1": "simple_3x3@4",
    "skip_0": "simple_1x1@8",
    "upsample": "simple_3x3@8",
    "tail_0": "simple_3x3@4",
}
SECTION = {
    "seeds": [0, 1],
    "spaces": {"basic": SPACE, "espcn": {"model": "espcn"}},
    "searches": {
        "noise": {"runs": 2, "space": "basic"},
        "mixed": {"space": "espcn"},
        "left_out": None,
    },
    "networks": {
        "noise": {"runs": 2, "network": {"kind": "searched", "search": "noise"}},
        "espcn_8": {"network": {"kind": "fixed", "model": "espcn", "bits": 8}},
        "mixed": {"network": {"kind": "searched", "search": "mixed"}},
    },
    "shown": ["noise", "espcn_8"],
    "crops": [{"set": "photos", "image": "cat", "top": 0, "left": 0, "height": 12, "width": 16}],
}
CONFIG = parse_config(FiguresConfig, SECTION, "figures")
_, PAPERS, _ = read_method_files("quantnas", project_root() / "workflows")


def quality(variant, seed, value, card="photos"):
    dataset = {"card": card, "split": "test", "items": 1}
    return Score("quantnas_score", variant, [Value(PSNR_Y, value)], seed, dataset)


def cost(variant, seed, value):
    return Score("quantnas_score", variant, [Value(BITOPS, value)], seed)


RECORDS = [
    quality("bicubic", None, 26.0),
    quality("noise", 0, 27.0),
    quality("noise", 1, 28.0),
    quality("espcn_8", 0, 26.5),
    quality("mixed", 0, 26.4),
    cost("noise", 0, 1.0e9),
    cost("noise", 1, 3.0e9),
    cost("espcn_8", 0, 2.4e9),
    cost("mixed", 0, 1.2e9),
    cost("srresnet_4", None, 36.0e9),
]


def course(candidates):
    made = ScalarLog()
    for iteration in (5, 10):
        probabilities = {
            f"{decision}/{option}": 1 / len(options)
            for decision, options in candidates.items()
            for option in options
        }
        made.append(iteration, {"validation_l1": 0.1, **probabilities})
    return made


def curve(name, *values):
    made = ScalarLog()
    for number, value in enumerate(values, start=1):
        made.append(number, {name: value})
    return made


@pytest.fixture
def stages(tmp_path):
    """Folders of two seeds of one search and one of another, of their networks, and of scores."""
    place = tmp_path / "Ergebnisse ü"
    spaces = {"noise": SpaceConfig.model_validate_json(_json(SPACE)).candidates()}
    bits = {f"layers_{i}": ("bits@8", "bits@4") for i in (0, 2, 4)}
    searches, networks = [], []
    for name, seed in (("noise", 0), ("noise", 1), ("mixed", 0)):
        folder = place / f"search {name} {seed}"
        folder.mkdir(parents=True)
        write_scores(folder / SCORES, [Score("quantnas_search", name, [], seed)])
        choices = FOUND if name == "noise" else dict.fromkeys(bits, "bits@4")
        write_genotype(Genotype("basic", choices), folder / "genotype.json")
        curve("entropy", 10.0, 2.0 + seed).to_csv(folder / "losses.csv")
        course(spaces.get(name, bits)).to_csv(folder / "course.csv")
        searches.append(folder)
    for name, seed in (("noise", 0), ("noise", 1), ("espcn_8", 0), ("mixed", 0)):
        folder = place / f"train {name} {seed}"
        folder.mkdir(parents=True)
        write_scores(folder / SCORES, [Score("quantnas_train", name, [], seed)])
        curve("loss", 0.2, 0.1).to_csv(folder / "losses.csv")
        curve("psnr_y", 25.0, 26.0).to_csv(folder / "validation.csv")
        networks.append(folder)
    scored = place / "score"
    scored.mkdir()
    write_scores(scored / SCORES, RECORDS)
    pixels = np.zeros((12, 16, 3), np.uint8)
    shown = ("original", "bicubic", "noise", "espcn_8")
    write_windows({("cat", name): pixels for name in shown}, scored)
    return {"searches": searches, "networks": networks, "scored": scored, "papers": PAPERS}


def _json(value):
    import json

    return json.dumps(value)


# --- all ---------------------------------------------------------------------------------------


FILES = [
    "pareto.svg",
    "architecture_noise.svg",
    "probabilities_noise.svg",
    "architecture_mixed.svg",
    "entropy.svg",
    "training.svg",
    "losses.svg",
    "crop_cat.png",
]


def test_every_picture_is_drawn_with_words_for_who_cannot_see_it(stages, tmp_path):
    pictures = draw_figures(CONFIG, **stages, folder=tmp_path)
    assert [picture.file for picture in pictures] == FILES
    for picture in pictures:
        assert (tmp_path / picture.file).is_file()
        assert picture.title
        assert picture.caption.endswith(".")
        assert len(picture.alt) > 20


def test_drawing_again_gives_equal_bytes(stages, tmp_path):
    for folder in ("first", "again"):
        draw_figures(CONFIG, **stages, folder=tmp_path / folder)
    for name in FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_curves_and_windows_show_the_chosen_networks_only(stages, tmp_path):
    alts = {p.file: p.alt for p in draw_figures(CONFIG, **stages, folder=tmp_path)}
    assert "espcn_8" in alts["training.svg"]
    assert "mixed" not in alts["training.svg"] + alts["losses.svg"] + alts["crop_cat.png"]


# --- quality against cost ----------------------------------------------------------------------


def test_points_pair_cost_and_quality_of_the_same_seed_and_average_both():
    made = {point.name: point for point in points(CONFIG.networks, RECORDS, "photos")}
    assert list(made) == ["noise", "espcn_8", "mixed"]
    assert made["noise"].runs == [(1.0, 27.0), (3.0, 28.0)]
    assert made["noise"].mean == (2.0, 27.5)
    assert (made["noise"].kind, made["espcn_8"].kind) == ("searched", "fixed")


def test_the_plot_shows_the_set_of_the_published_points_if_it_was_scored():
    assert chosen_set(RECORDS) == "photos"
    assert chosen_set([*RECORDS, quality("noise", 0, 26.0, "set14")]) == "set14"


def test_the_published_points_are_those_of_the_authors_figure():
    series = published_points(PAPERS)
    assert list(series) == ["noise + ADQ", "noise", "direct + ADQ", "direct"]
    assert series["noise + ADQ"] == [
        (1.94, 27.629),
        (2.63, 27.629),
        (4.64, 27.813),
        (16.64, 27.914),
    ]
    assert all(len(line) == 4 for line in series.values())
    assert series["direct"][-1] == (11.16, 27.839)


def test_a_published_point_without_its_cost_is_an_error():
    lonely = {"table": "figure of PSNR against BitOPs", "row": "noise, 1", "column": "PSNR-Y"}
    paper = {"paper": "p", "reference": "r", "values": [{**lonely, "value": 27.0}]}
    values = parse_config(PaperValues, paper, "paper")
    with pytest.raises(ConfigError, match="row 'noise, 1': expected GBitOPs and PSNR-Y, got PSNR"):
        published_points([values])


def test_the_plot_says_that_published_points_are_others_and_how_exact_they_are(tmp_path):
    picture = draw_pareto(CONFIG.networks, RECORDS, PAPERS, tmp_path)
    assert "digitised" in picture.caption
    assert "±0.02 GBitOPs" in picture.caption
    assert "must not be compared" in picture.caption
    assert "noise 2 G, 27.50 dB" in picture.alt
    assert "bicubic interpolation has 26.00 dB" in picture.alt


def test_labels_cover_neither_points_nor_one_another(tmp_path):
    places = [(f"network {i}", float(i % 3), float(i // 3)) for i in range(9)]
    with figure_to(tmp_path / "x.png", 6, 4) as figure:
        axes = figure.subplots()
        axes.scatter(*zip(*((x, y) for _, x, y in places), strict=True))
        assert label_points(axes, places, [0.5]) == []
        boxes = [text.get_window_extent() for text in axes.texts]
        assert sorted(text.get_text() for text in axes.texts) == [name for name, *_ in places]
        for number, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:number])
            assert box.count_contains(axes.transData.transform([p[1:] for p in places])) == 0


def test_labels_for_which_there_is_no_room_are_named(tmp_path):
    with figure_to(tmp_path / "x.png", 1, 1) as figure:
        axes = figure.subplots()
        axes.scatter([0.0, 1.0], [0.0, 1.0])
        name = "a name much too long for this plot"
        assert label_points(axes, [(name, 0.0, 0.0)]) == [name]
        assert not axes.texts


# --- what was found, and how -------------------------------------------------------------------


def texts_of(tmp_path, monkeypatch, space, genotype):
    """Return the texts of a drawing."""
    drawn = []
    fitted = "vismodels.methods.quantnas.drawing.Drawing.fit"
    monkeypatch.setattr(fitted, lambda drawing: drawn.append(drawing))
    draw_architecture("x", 0, space, genotype, tmp_path)
    return [text.get_text() for text in drawn[0].axes.texts if text.get_text()]


SPACES = {
    "published basic": SpaceConfig(skeleton=BasicSkeleton()),
    "one cell without tail": SpaceConfig(skeleton=BasicSkeleton(cells=1, tail_layers=0)),
    "published rfdn": SpaceConfig(skeleton=RFDNSkeleton()),
    "rfdn without tail": SpaceConfig(skeleton=RFDNSkeleton(tail_layers=0, cells=1)),
}


@pytest.mark.parametrize("name", SPACES)
def test_the_drawing_shows_every_decision_with_its_operation_and_bits(name, tmp_path, monkeypatch):
    space = SPACES[name]
    genotype = space.random_genotype(1)
    texts = texts_of(tmp_path, monkeypatch, space, genotype)
    for decision, chosen in genotype.choices.items():
        operation, _, bits = chosen.partition("@")
        base, _, groups = operation.partition("_grouped_")
        position = texts.index(decision.split("_", 2)[2] if "cell_" in decision else decision)
        shown = f"{groups} groups, {bits} bits" if groups else f"{bits} bits"
        if "cell_" not in decision:  # names within cells repeat
            assert texts[position + 1 : position + 3] == [base, shown]
        assert base in texts
        assert shown in texts
    assert ("tail_0" in texts) == bool(space.skeleton.tail_layers)


def test_a_published_network_is_drawn_as_a_sequence_of_bits(tmp_path, monkeypatch):
    choices = {f"layers_{i}": f"bits@{4 if i % 2 else 8}" for i in range(9)}
    genotype = Genotype("srresnet", choices)
    texts = texts_of(tmp_path, monkeypatch, FixedSpace(model="srresnet"), genotype)
    assert texts[:4] == ["layers_0", "8 bits", "layers_1", "4 bits"]
    assert len(texts) == 18


def test_the_drawing_tells_whether_there_is_adq(tmp_path):
    genotype = SPACES["published basic"].random_genotype(0)
    without = SpaceConfig(skeleton=BasicSkeleton(adq=False))
    captions = [
        draw_architecture("x", 0, space, genotype, tmp_path).caption
        for space in (SPACES["published basic"], without)
    ]
    assert "with ADQ" in captions[0]
    assert "without ADQ" in captions[1]


def test_probabilities_begin_with_equal_ones():
    candidates = {"head": ("a@8", "a@4"), "tail": ("a@8", "b@8", "b@4", "a@4")}
    log = ScalarLog()
    log.append(
        7, {"head/a@8": 0.9, "head/a@4": 0.1} | {f"tail/{c}": 0.25 for c in candidates["tail"]}
    )
    curves = probability_curves(log, candidates)
    assert curves["head"] == {"a@8": [0.5, 0.9], "a@4": [0.5, 0.1]}
    assert curves["tail"]["b@4"] == [0.25, 0.25]


@pytest.mark.parametrize("count", [1, 6, 11, 30])
def test_any_number_of_decisions_has_a_panel_each(count, tmp_path: Path):
    candidates = {f"layer_{i}": ("simple_3x3@8", "simple_3x3@32") for i in range(count)}
    genotype = Genotype("basic", dict.fromkeys(candidates, "simple_3x3@8"))
    picture = draw_probabilities("x", 0, course(candidates), genotype, candidates, tmp_path)
    assert picture.alt.startswith(f"{count} line plots")
    assert "layer_0 simple_3x3@8 0.50" in picture.alt
