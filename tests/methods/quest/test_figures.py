import numpy as np
import pytest

from vismodels.choices import write_choice
from vismodels.config import parse_config
from vismodels.data.array_files import write_arrays
from vismodels.figures import read_pictures, write_pictures
from vismodels.files import FileError, write_json
from vismodels.methods.quest.figures import draw_figures
from vismodels.methods.quest.inspection import INSPECTED
from vismodels.methods.quest.score_stage import EXECUTION, SHOWN
from vismodels.methods.quest.workflow_config import QuestWorkflowConfig
from vismodels.metrics.generation import FRECHET_DISTANCE, FRECHET_FLOOR
from vismodels.metrics.quantized import FILE_MB, OUTPUT_ERROR
from vismodels.results import SCORES, Score, Value, write_scores
from vismodels.training.log import ScalarLog

TUNED = {"quantization": {}, "finetuning": {"variant": "paper", "iterations": 2}}
PROBLEM = {
    "denoiser": {"kind": "scenes"},
    "sampling": {"num_inference_steps": 4, "other_steps": [1]},
    "arms": {
        "mse": {"grid": {"only": {"quantization": {}}}},
        "tuned": {"runs": 2, "grid": {"plain": {"quantization": {}}, "paper": TUNED}},
    },
    "shown": {
        "arms": ["tuned"],
        "images": 1,
        "sensitivity": "mse",
        "histograms": ["mse", "tuned"],
    },
}
FILES = [
    "images_scenes.png",
    "distances_scenes.svg",
    "sizes_scenes.svg",
    "errors_scenes.svg",
    "sensitivity_scenes.svg",
    "activations_scenes.svg",
    "courses_scenes.svg",
]


def config_of(**problem):
    content = {"seeds": [0, 1], "problems": {"scenes": {**PROBLEM, **problem}}}
    return parse_config(QuestWorkflowConfig, content, "quest")


def record(variant, values, seed=0, **condition):
    pairs = [Value(metric, value) for metric, value in values.items()]
    return Score("quest", variant, pairs, seed, condition={**condition, "problem": "scenes"})


@pytest.fixture
def folders(tmp_path):
    """Return folders of two arms and of their scores, as the stages write them."""
    histogram = np.array([[0.0, 1.0], [0.5, 0.5]])
    quantized, scores = [], []
    for arm, seeds in (("tuned", (0, 1)), ("mse", (0,))):
        folder = tmp_path / "quantize" / "scenes" / arm
        folder.mkdir(parents=True)
        write_choice(folder, "only" if arm == "mse" else "paper")
        arrays = {"histogram/a.ff.net.2": histogram}
        if arm == "mse":
            arrays |= {"sensitivity/conv_in": np.array(2.0), "sensitivity/time": np.array(0.5)}
        write_arrays(folder / INSPECTED, arrays)
        made = []
        for seed in seeds:
            made.append(record(arm, {FILE_MB: 0.5}, seed, what="size", settings="only"))
            made += [record(arm, {OUTPUT_ERROR: 1.0}, seed, timestep=t) for t in (100, 900)]
            scores += [record(arm, {FRECHET_DISTANCE: 3.0}, seed, steps=n) for n in (4, 1)]
            log = ScalarLog()
            log.append(1, {"loss": 1.0 + seed})
            for stage in ("tla", "cma") if arm == "tuned" else ():
                log.to_csv(folder / "courses" / f"{stage}_seed{seed}.csv")
        write_scores(folder / SCORES, made)
        quantized.append(folder)
    scores += [
        record("other_noise", {FRECHET_DISTANCE: 1.0, FRECHET_FLOOR: 1.0}, steps=n) for n in (4, 1)
    ]
    scored = tmp_path / "score" / "scenes"
    scored.mkdir(parents=True)
    write_scores(scored / SCORES, scores)
    images = dict.fromkeys(("float", "other_noise", "tuned"), np.zeros((1, 4, 4, 3), np.uint8))
    executed = {"executed": ["a", "b"], "kept_float": {}, "weight_bits_limited_to": {"a": 7}}
    write_json(scored / EXECUTION, {"tuned": executed})
    write_arrays(scored / SHOWN, {"prompts": np.array(["a star"]), **images})
    return {"quantized": quantized, "scored": [scored]}


def test_all_pictures_are_drawn_in_reading_order(folders, tmp_path):
    pictures = draw_figures(config_of(), **folders, folder=tmp_path)
    write_pictures(tmp_path, pictures)
    assert [picture.file for picture in read_pictures(tmp_path)] == FILES
    assert all((tmp_path / file).stat().st_size > 1000 for file in FILES)
    assert "tuned, tla from 1.5 to 1.5; tuned, cma from 1.5" in pictures[-1].alt
    assert "conv_in (2 %), time (0.5 %)" in pictures[4].alt
    assert "tuned: 2 layers on integers, 1 of them with weights of 7 bits." in pictures[2].caption
    assert "mse 3, tuned 3; 1 step" in pictures[1].alt  # arms as configured, not as given


def test_what_nobody_asks_for_is_not_drawn(folders, tmp_path):
    config = config_of(shown={})
    write_choice(folders["quantized"][0], "plain")  # which is not finetuned
    pictures = draw_figures(config, **folders, folder=tmp_path)
    assert [picture.file for picture in pictures] == FILES[:3]


def test_missing_curves_are_named(folders, tmp_path):
    (folders["quantized"][0] / "courses" / "cma_seed1.csv").unlink()
    with pytest.raises(FileError, match=r"cma_seed1\.csv: no such file"):
        draw_figures(config_of(shown={}), **folders, folder=tmp_path)
