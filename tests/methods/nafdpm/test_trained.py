import inspect

import nafnet_transcript as transcript
import pytest

from vismodels.methods.nafdpm.config import DiffusionConfig, NetworkConfig
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.methods.nafdpm.storage import SETTINGS, save_pipeline
from vismodels.methods.nafdpm.trained import PIPELINE, load_pipelines, with_settings
from vismodels.results import SCORES, Score, write_scores


def make(seed=0):
    sizes = NetworkConfig(width=4, blocks=(1,), condition="prediction_and_input", levels="page")
    model = PredictAndRefine(1, sizes, DiffusionConfig(time_scale=1000))
    transcript.awaken_(model.predictor, seed=seed)
    return NAFDPMPipeline.from_model(model, "binarization", 48, threshold=0.6)


def test_all_settings_of_a_pipeline_are_known():
    """One that is forgotten would be lost wherever pipelines are copied or loaded."""
    arguments = inspect.signature(NAFDPMPipeline.__init__).parameters.keys()
    assert arguments - {"self", "predictor", "denoiser", "scheduler"} == set(SETTINGS)


@pytest.mark.parametrize(
    ("changes", "expected"), [({}, {}), ({"tile_size": 64, "time_scale": None}, {"tile_size": 64})]
)
def test_settings_that_are_not_named_stay(changes, expected):
    pipeline = make()
    adapted = with_settings(pipeline, **changes)
    before = {name: pipeline.config[name] for name in SETTINGS}
    assert {name: adapted.config[name] for name in SETTINGS} == before | expected
    assert adapted.predictor is pipeline.predictor
    assert pipeline.config["tile_size"] == 48


def test_pipelines_are_found_by_name_and_seed(tmp_path):
    folders = []
    for seed in (0, 3):
        folder = tmp_path / str(seed)
        save_pipeline(make(seed), folder / PIPELINE)
        write_scores(folder / SCORES, [Score("nafdpm_train", "base", [], seed=seed)])
        folders.append(folder)
    found = load_pipelines(folders)
    assert found.keys() == {"base"}
    assert found["base"].keys() == {0, 3}
    assert all(pipeline.config["page_levels"] for pipeline in found["base"].values())
