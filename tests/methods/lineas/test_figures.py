import numpy as np
import pytest
import torch
from small_concepts import EDIT, LINEAS, MEAN

from vismodels.config import parse_config
from vismodels.data.array_files import write_arrays
from vismodels.files import FileError, write_json
from vismodels.methods.lineas.config import LineasConfig
from vismodels.methods.lineas.figures import draw_figures, draw_tradeoff, points_of
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.methods.lineas.scoring import SHOWN
from vismodels.metrics.scenes import ACCURACIES, LOWEST_ACCURACY
from vismodels.metrics.steering import CLIP_SCORE, CONCEPT_PRESENCE, COUNTERFACTUAL_COSINE
from vismodels.results import SCORES, Score, Value, write_scores
from vismodels.training.log import ScalarLog

GRIDS = {"lineas": LINEAS, "caa": MEAN, "words": EDIT}
CONFIG = parse_config(
    LineasConfig,
    {
        "seeds": [0, 1],
        "problems": {
            "scenes": {
                "pipeline": {"kind": "scenes"},
                "concepts": ["star", "night"],
                "arms": {
                    name: {"runs": 2, "grid": {"only": method.model_dump(mode="json")}}
                    for name, method in GRIDS.items()
                },
                "evaluation": {"strengths": [0.5, 1.0], "shown": ["lineas"], "shown_prompts": 1},
            }
        },
    },
    "lineas",
)


def record(variant, strength, presence, cosine, seed=0, metric=CONCEPT_PRESENCE):
    values = [Value(metric, presence), Value(COUNTERFACTUAL_COSINE, cosine)]
    return Score("lineas_score", variant, values, seed, condition={"strength": strength})


def records(metric=CONCEPT_PRESENCE):
    """Return what LinEAS and two others reach on two seeds."""
    scores = []
    for seed in (0, 1):
        scores += [
            record("unsteered", 0.0, 90.0, 0.5, seed, metric),
            record("words_removed", 1.0, 0.0, 1.0, seed, metric),
        ]
        for number, arm in enumerate(GRIDS):
            scores += [
                record(arm, 0.5, 60.0 + seed, 0.6, seed, metric),
                record(arm, 1.0, 10.0 * number + 20 * seed, 0.75 + 0.1 * seed, seed, metric),
                Score("lineas_score", arm, [], seed, condition={"settings": "only"}),
            ]
    return scores


def log(names):
    made = ScalarLog()
    for iteration in (1, 2):
        made.append(iteration, dict.fromkeys(names, 1.0 / iteration))
    return made


@pytest.fixture
def folders(tmp_path):
    """Return folders of the scene model, of the arms and of the scored concepts."""
    model = tmp_path / "model"
    log(["loss"]).to_csv(model / "losses.csv")
    accuracies = [metric.name for metric in (*ACCURACIES.values(), LOWEST_ACCURACY)]
    log(accuracies).to_csv(model / "validation.csv")
    learnt, scored = [], []
    for arm in GRIDS:
        folder = tmp_path / "learn" / "scenes" / arm
        write_json(folder / "choice.json", {"settings": "only"})
        for concept in ("star", "night") if arm == "lineas" else ():
            for seed in (0, 1):
                log(["loss"]).to_csv(folder / "courses" / f"{concept}_seed{seed}.csv")
                maps = Maps({"unet.norm": AffineMap(torch.ones(2), torch.zeros(2))})
                maps.save_pretrained(folder / concept / f"seed{seed}")
        learnt.append(folder)
    for concept in ("night", "star"):
        folder = tmp_path / "score" / "scenes" / concept
        folder.mkdir(parents=True)
        write_scores(folder / SCORES, records())
        images = np.zeros((1, 4, 4, 3), np.uint8)
        names = ("unsteered/0", "lineas/0.5", "lineas/1", "words_removed/1")
        shown = {"prompts": np.array(["a star"]), **dict.fromkeys(names, images)}
        write_arrays(folder / SHOWN, shown)
        scored.append(folder)
    return {"models": [model], "learnt": learnt, "scored": scored}


def test_all_pictures_are_drawn_in_the_order_of_the_configuration(folders, tmp_path):
    pictures = draw_figures(CONFIG, **folders, folder=tmp_path)
    files = [picture.file for picture in pictures]
    assert files == [
        "images_scenes_star.png",
        "images_scenes_night.png",
        "tradeoff_scenes.svg",
        "layers_scenes_lineas.svg",
        "loss_scenes_lineas.svg",
        "scene_model.svg",
    ]
    assert all((tmp_path / file).stat().st_size > 1000 for file in files)


def test_without_a_trained_model_and_maps_there_are_no_courses(folders, tmp_path):
    problem = CONFIG.problems["scenes"]
    words = problem.model_copy(
        update={"arms": {"words": problem.arms["words"]}, "concepts": ("night",)}
    )
    config = CONFIG.model_copy(update={"problems": {"scenes": words}})
    given = {"models": [], "learnt": folders["learnt"][2:], "scored": folders["scored"][:1]}
    pictures = draw_figures(config, **given, folder=tmp_path)
    files = [picture.file for picture in pictures]
    assert files == ["images_scenes_night.png", "tradeoff_scenes.svg"]


def test_a_missing_course_is_named(folders, tmp_path):
    (folders["learnt"][0] / "courses" / "night_seed1.csv").unlink()
    with pytest.raises(FileError, match=r"night_seed1\.csv: no such file"):
        draw_figures(CONFIG, **folders, folder=tmp_path)


def test_points_are_those_of_a_variant_by_seed_and_strength():
    assert points_of(records(), "caa", CONCEPT_PRESENCE) == {
        0: {0.5: (60.0, 0.6), 1.0: (10.0, 0.75)},
        1: {0.5: (61.0, 0.6), 1.0: (30.0, 0.85)},
    }


@pytest.mark.parametrize(
    ("metric", "label"), [(CONCEPT_PRESENCE, "Concept present (%)"), (CLIP_SCORE, "CLIPScore")]
)
def test_the_means_over_seeds_are_told_and_every_curve_has_a_name(tmp_path, metric, label):
    picture = draw_tradeoff("scenes", ["lineas", "caa"], {"star": records(metric)}, tmp_path)
    assert "star, lineas: 10 and 0.800; star, caa: 20 and 0.800" in picture.alt
    drawn = (tmp_path / picture.file).read_text(encoding="utf-8")
    for text in ("lineas", "caa", "unsteered", "words removed", label, "strength"):
        assert f"<!-- {text} -->" in drawn


def test_every_curve_begins_unsteered_at_strength_0(tmp_path):
    picture = draw_tradeoff("scenes", ["lineas"], {"star": records()}, tmp_path)
    drawn = (tmp_path / picture.file).read_text(encoding="utf-8")
    assert "<!-- 0.0 -->" in drawn  # of the axis of strengths: 0.5 and 1 are the others
