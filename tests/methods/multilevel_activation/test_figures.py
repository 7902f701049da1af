import numpy as np
from small_brains import CASES, HEADS, TRAINING

from vismodels.config import parse_config
from vismodels.methods.multilevel_activation.config import MultiLevelActivationConfig
from vismodels.methods.multilevel_activation.figures import (
    draw_activation,
    draw_courses,
    draw_figures,
    draw_montage,
    draw_violation,
)
from vismodels.methods.multilevel_activation.shown import SHOWN
from vismodels.results import SCORES, Score, write_scores
from vismodels.training.log import ScalarLog

PROBLEM = {
    "cases": CASES.model_dump(),
    "trunk": {"width": 2, "depth": 2},
    "models": {head: {"learning_rate": 1e-3, "head": {"kind": head}} for head in HEADS},
    "training": TRAINING,
    "inference": {"window": [8, 8, 8]},
    "scoring": {"reference": "softmax", "shown": list(HEADS), "cases": ["case_0", "case_1"]},
}


def configured(**changes):
    section = {"seeds": [0, 1], "problems": {"glioma": PROBLEM | changes}}
    return parse_config(MultiLevelActivationConfig, section, "multilevel_activation")


def problem(**changes):
    return configured(**changes).problems["glioma"]


def arrays(violation=True):
    """Return what `store_shown` stores, of slices of 12 by 14 voxels."""
    rng = np.random.default_rng(0)
    found = {}
    for case in ("case_0", "case_1"):
        for name in ("t1ce", "flair"):
            found[f"{case}/{name}"] = rng.normal(size=(12, 14)).astype(np.float16)
        for name in ("truth", *HEADS):
            found[f"{case}/{name}"] = rng.integers(0, 4, (12, 14), dtype=np.uint8)
    if violation:
        wrong = np.zeros((2, 12, 14), bool)
        wrong[0, 3, 2:5], wrong[1, 7, 4:6] = True, True
        key = "violation/sigmoid_regions/case_1"
        found |= {f"{key}/image": found["case_1/t1ce"], f"{key}/wrong": wrong}
    return found


def course(last):
    log = ScalarLog()
    for iteration, dice in ((0, 0.0), (3, last / 2), (6, last)):
        log.append(iteration, {f"dice_{r}": dice for r in ("wt", "tc", "et")} | {"dice": dice})
    return log


def stage_folders(root, names=("glioma",), violation=True):
    """Return folders of trained models and of scores, as the workflow lays them out."""
    trained, scored = [], []
    for name in names:
        for head in HEADS:
            for seed, last in ((0, 0.5), (1, 0.75)):
                folder = root / "train" / name / head / f"seed{seed}"
                folder.mkdir(parents=True)
                write_scores(folder / SCORES, [Score("multilevel_train", head, [], seed)])
                course(last).to_csv(folder / "validation.csv")
                trained.append(folder)
        scored.append(root / "score" / name)
        scored[-1].mkdir(parents=True)
        np.savez(scored[-1] / SHOWN, allow_pickle=False, **arrays(violation))
    return trained, scored


def check(picture, folder):
    assert (folder / picture.file).stat().st_size > 2000
    assert min(len(picture.title), len(picture.caption), len(picture.alt)) > 10


def test_all_pictures_of_a_problem_are_drawn_and_told_in_words(tmp_path):
    trained, scored = stage_folders(tmp_path)
    pictures = draw_figures(configured(), trained=trained, scored=scored, folder=tmp_path)
    assert [picture.file for picture in pictures] == [
        "activation_glioma.svg", "courses_glioma.svg", "segmentations_glioma.png",
        "violation_glioma.png",
    ]  # fmt: skip
    for picture in pictures:
        check(picture, tmp_path)


def test_without_a_violation_there_is_no_picture_of_one(tmp_path):
    assert draw_violation("glioma", problem(), arrays(violation=False), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_courses_are_those_of_the_problem_wherever_the_project_lies(tmp_path):
    """A folder above the results may be called as a problem is."""
    models = {"softmax": PROBLEM["models"]["softmax"]}
    scoring = {"reference": "softmax", "shown": ["softmax"], "cases": []}
    each = PROBLEM | {"models": models, "scoring": scoring}
    section = {"seeds": [0, 1], "problems": {"glioma": each, "real": each}}
    both = parse_config(MultiLevelActivationConfig, section, "multilevel_activation")
    trained, scored = stage_folders(tmp_path / "glioma", ("glioma", "real"), violation=False)
    course(0.25).to_csv(trained[-1] / "validation.csv")
    pictures = draw_figures(both, trained=trained, scored=scored, folder=tmp_path)
    alt = {picture.file: picture.alt for picture in pictures}
    assert "WT sigmoid_regions 0.50 to 0.75" in alt["courses_glioma.svg"]
    assert "WT sigmoid_regions 0.25 to 0.50" in alt["courses_real.svg"]


def test_the_activation_is_told_with_its_steps(tmp_path):
    (picture,) = draw_activation("glioma", problem(), tmp_path)
    check(picture, tmp_path)
    assert "k = 10, h = 0.5" in picture.caption
    assert "three steps at -0.503, 0.000, 0.503, from 0 to 3" in picture.alt


def test_the_first_multi_level_head_is_the_one_that_is_drawn(tmp_path):
    models = PROBLEM["models"] | {
        "multilevel": {
            "learning_rate": 1e-3,
            "head": {"kind": "multilevel", "steepness": 2.0, "spacing": 2.5},
        }
    }
    (picture,) = draw_activation("glioma", problem(models=models), tmp_path)
    assert "k = 2, h = 2.5" in picture.caption


def test_without_a_multi_level_head_no_activation_is_drawn(tmp_path):
    models = {head: PROBLEM["models"][head] for head in ("softmax", "sigmoid_regions")}
    scoring = PROBLEM["scoring"] | {"shown": ["softmax"]}
    assert draw_activation("glioma", problem(models=models, scoring=scoring), tmp_path) == []


def test_courses_are_told_with_where_each_model_ended(tmp_path):
    logs = {"multilevel": [course(0.5), course(0.75)], "softmax": [course(0.25)]}
    picture = draw_courses("glioma", problem(), logs, tmp_path)
    check(picture, tmp_path)
    for region in ("WT", "TC", "ET"):
        assert f"{region} multilevel 0.50 to 0.75" in picture.alt
        assert f"{region} softmax 0.25 to 0.25" in picture.alt


def test_courses_say_that_cases_are_generated_and_what_was_chosen_by_them(tmp_path):
    logs = {"softmax": [course(0.25)]}
    caption = draw_courses("glioma", problem(), logs, tmp_path).caption
    assert caption.endswith("Semi-synthetic: real anatomy of a template, generated tumors.")
    assert "rates of the default run were chosen by these patches" in caption
    scoring = PROBLEM["scoring"] | {"cases": []}
    real = problem(cases={"card": "brats2021"}, scoring=scoring)
    assert "ynthetic" not in draw_courses("glioma", real, logs, tmp_path).caption


def test_a_problem_with_the_networks_of_another_has_no_courses(tmp_path):
    borrowed = {key: PROBLEM[key] for key in PROBLEM if key not in ("trunk", "training")}
    borrowed["networks"] = "glioma"
    section = {"seeds": [0, 1], "problems": {"glioma": PROBLEM, "hard": borrowed}}
    both = parse_config(MultiLevelActivationConfig, section, "multilevel_activation")
    trained, scored = stage_folders(tmp_path, ("glioma", "hard"), violation=False)
    own = [path for path in trained if path.parents[1].name == "glioma"]
    pictures = draw_figures(both, trained=own, scored=scored, folder=tmp_path)
    courses = [picture.file for picture in pictures if picture.file.startswith("courses")]
    assert courses == ["courses_glioma.svg"]


def test_the_montage_names_models_and_says_that_cases_are_generated(tmp_path):
    (picture,) = draw_montage("glioma", problem(), arrays(), tmp_path)
    check(picture, tmp_path)
    assert "Semi-synthetic" in picture.caption
    assert "2 cases" in picture.alt
    assert all(head in picture.alt for head in HEADS)
    scoring = PROBLEM["scoring"] | {"cases": ["case_0"]}
    real = problem(cases={"card": "brats2021"}, scoring=scoring)
    assert "ynthetic" not in draw_montage("glioma", real, arrays(), tmp_path)[0].caption


def test_the_montage_has_as_many_rows_as_cases(tmp_path):
    from PIL import Image

    heights = []
    for cases in (["case_0"], ["case_0", "case_1"]):
        settings = problem(scoring=PROBLEM["scoring"] | {"cases": cases})
        (picture,) = draw_montage("glioma", settings, arrays(), tmp_path)
        with Image.open(tmp_path / picture.file) as image:
            heights.append(image.height)
    assert heights[1] > 1.7 * heights[0]


def test_without_cases_to_show_there_is_no_montage(tmp_path):
    """Real sets name none: nobody knows beforehand which cases are tested."""
    settings = problem(scoring=PROBLEM["scoring"] | {"cases": []})
    assert draw_montage("glioma", settings, {}, tmp_path) == []


def test_the_violation_is_told_with_model_case_and_voxels(tmp_path):
    (picture,) = draw_violation("glioma", problem(), arrays(), tmp_path)
    check(picture, tmp_path)
    assert "sigmoid_regions, case_1" in picture.caption
    assert "whole tumor (3 voxels)" in picture.caption
    assert "core (2)" in picture.caption
    assert "5 marked voxels" in picture.alt
    assert "Semi-synthetic" in picture.caption
