import pytest
import yaml

from vismodels.config import ConfigError, merged, parse_config
from vismodels.files import project_root
from vismodels.methods.nafdpm.config import (
    AugmentationConfig,
    DiffusionConfig,
    FinetuningConfig,
    NAFDPMConfig,
    NetworkConfig,
    ObjectiveConfig,
    OptimizerConfig,
    Point,
)

FILES = project_root() / "workflows" / "config"


def section(run="default"):
    default = yaml.safe_load((FILES / "default.yaml").read_text())
    overlay = {} if run == "default" else yaml.safe_load((FILES / f"{run}.yaml").read_text())
    return merged(default, overlay)["nafdpm"]


@pytest.mark.parametrize("run", ["default", "test", "benchmark", "paper"])
def test_the_shipped_configurations_are_valid(run):
    config = parse_config(NAFDPMConfig, section(run), "nafdpm")
    assert config.tasks.deblurring.arms.keys() == {"plain", "ocr"}
    assert config.tasks.deblurring.arms["plain"].weight == 0


def test_the_claims_of_the_benchmark_run_on_five_seeds():
    config = parse_config(NAFDPMConfig, section("benchmark"), "nafdpm")
    runs = [arm.runs for arm in config.tasks.deblurring.arms.values()]
    assert runs == [5, 5]
    assert config.tasks.binarization.models["base"].runs == len(config.seeds) == 5


def test_the_paper_run_has_the_published_values():
    tasks = parse_config(NAFDPMConfig, section("paper"), "nafdpm").tasks
    for task in (tasks.deblurring, tasks.binarization):
        base = task.models["base"]
        assert base.network == NetworkConfig()
        assert base.diffusion == DiffusionConfig()
        assert base.objective == ObjectiveConfig()
        assert task.training.optimizer == OptimizerConfig()
        assert task.training.predictor_iterations == 0
    assert (tasks.deblurring.training.iterations, tasks.deblurring.training.batch_size) == (
        800_000,
        64,
    )
    assert tasks.binarization.training.patch == (256, 256)
    assert tasks.deblurring.training.augmentation == AugmentationConfig(rotation=10)
    assert isinstance(tasks.deblurring.finetuning, FinetuningConfig)
    ocr = tasks.deblurring.arms["ocr"]
    assert (ocr.weight, ocr.timesteps, ocr.balanced, ocr.on_prediction) == (1, "all", False, False)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("finetuned", "bass", "did you mean 'base'"),
        ("finetuning", None, "arms need"),
        ("arms", {"base": {}}, "names a model and an arm"),
        ("classical", {"sauvola": {"first": [1], "second": [1]}}, "no baseline 'sauvola'"),
    ],
)
def test_parts_that_do_not_fit_are_named(key, value, message):
    config = section()
    config["tasks"]["deblurring"][key] = value
    with pytest.raises(ConfigError, match=message):
        parse_config(NAFDPMConfig, config, "nafdpm")


def test_an_unknown_model_for_the_scans_is_named():
    config = section()
    config["tasks"]["binarization"]["scoring"]["scanned"] = "bass"
    with pytest.raises(ConfigError, match="scanned"):
        parse_config(NAFDPMConfig, config, "nafdpm")


def test_a_page_that_is_deblurred_keeps_its_levels():
    config = section()
    config["tasks"]["deblurring"]["models"]["base"]["network"]["levels"] = "page"
    with pytest.raises(ConfigError, match=r"base\.network\.levels is 'page'.*set it to 'given'"):
        parse_config(NAFDPMConfig, config, "nafdpm")


def test_equal_seeds_are_refused():
    with pytest.raises(ConfigError, match="seeds must differ"):
        parse_config(NAFDPMConfig, section() | {"seeds": [0, 0]}, "nafdpm")


def test_an_overlay_can_leave_a_model_out():
    config = section()
    config["tasks"]["deblurring"]["models"]["regression"] = None
    parsed = parse_config(NAFDPMConfig, config, "nafdpm")
    assert parsed.tasks.deblurring.models.keys() == {"base"}


@pytest.mark.parametrize(
    ("point", "label"),
    [
        ({"steps": 0}, "predictor"),
        ({"steps": 5}, "5"),
        ({"steps": 5, "samples": 4}, "5_mean4"),
        ({"steps": 20, "time_scale": 1000.0}, "20_times1000"),
    ],
)
def test_ways_of_sampling_have_names(point, label):
    assert Point(**point).label == label
