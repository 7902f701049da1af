import pytest
from small_volumes import DATA, SPACE

from vismodels.config import parse_config
from vismodels.methods.covidnet3d.config import CovidNet3DConfig
from vismodels.methods.covidnet3d.figures import draw_decisions, draw_figures, draw_sizes
from vismodels.methods.covidnet3d.space import SpaceConfig
from vismodels.metrics.classification import BALANCED_ACCURACY
from vismodels.metrics.general import PARAMETERS
from vismodels.results import SCORES, Score, Value, write_scores
from vismodels.training.log import ScalarLog

SECTION = {
    "seeds": [0, 1],
    "problems": {
        "phantom": {
            "data": DATA,
            "space": SPACE,
            "search": {"iterations": 2, "validate_every": 1},
            "searches": {"policy": {"runs": 2}},
            "networks": {"hand": {"network": {"kind": "uniform", "operation": "skip"}}},
            "training": {"iterations": 2, "validate_every": 1},
            "scoring": {},
            "maps": None,
        }
    },
    "audit": {"tests": {}, "rows": []},
}
CONFIG = parse_config(CovidNet3DConfig, SECTION, "covidnet3d")
RECORDS = [
    Score("covidnet3d_score", "majority", [Value(BALANCED_ACCURACY, 33.3)]),
    Score("covidnet3d_score", "hand", [Value(BALANCED_ACCURACY, 70.0)], 0),
    Score("covidnet3d_score", "hand", [Value(BALANCED_ACCURACY, 80.0)], 1),
    Score("covidnet3d_score", "hand", [Value(PARAMETERS, 5000)], 0),
    Score("covidnet3d_score", "hand", [Value(PARAMETERS, 5000)], 1),
    Score("covidnet3d_maps", "hand_cam", [Value(BALANCED_ACCURACY, 1.0)], 0),
]


def course(favourite):
    log = ScalarLog()
    for iteration, largest in ((1, 0.4), (2, 0.9)):
        scalars = {}
        for decision, names in SpaceConfig(**_tuples(SPACE)).candidates().items():
            for name in names:
                scalars[f"{decision}/{name}"] = largest if name == favourite else 0.05
        log.append(iteration, {"validation_loss": 1.0, "validation_accuracy": 0.5, **scalars})
    return log


def losses():
    log = ScalarLog()
    log.append(1, {"loss": 1.0, "entropy": 3.0})
    log.append(2, {"loss": 0.9, "entropy": 1.0})
    return log


def _tuples(space):
    return {key: tuple(v) if isinstance(v, list) else v for key, v in space.items()}


@pytest.fixture
def folders(tmp_path):
    """Return folders of two searches and of the scores."""
    searches = []
    for seed in (0, 1):
        folder = tmp_path / "search" / "phantom" / "policy" / f"seed{seed}"
        folder.mkdir(parents=True)
        course("skip").to_csv(folder / "course.csv")
        losses().to_csv(folder / "losses.csv")
        write_scores(folder / SCORES, [Score("covidnet3d_search", "policy", [], seed=seed)])
        searches.append(folder)
    scored = tmp_path / "score" / "phantom"
    scored.mkdir(parents=True)
    write_scores(scored / SCORES, RECORDS)
    return searches, [scored]


def test_all_pictures_of_a_problem_are_drawn(folders, tmp_path):
    searches, scored = folders
    pictures = draw_figures(CONFIG, searches=searches, scored=scored, folder=tmp_path)
    files = [picture.file for picture in pictures]
    assert files == ["entropy_phantom.svg", "decisions_phantom.svg", "sizes_phantom.svg"]
    assert all((tmp_path / file).stat().st_size > 1000 for file in files)


def test_the_decisions_are_told_in_words(tmp_path):
    problem = CONFIG.problems["phantom"]
    logs = {"policy": [course("skip"), course("mbconv_5_3")]}
    picture = draw_decisions("phantom", problem, logs, tmp_path)
    assert "policy, run 0: skip, skip, skip" in picture.alt
    assert "policy, run 1: mbconv_5_3, mbconv_5_3, mbconv_5_3" in picture.alt


def test_networks_and_shortcuts_are_told_with_their_accuracy(tmp_path):
    picture = draw_sizes("phantom", RECORDS, tmp_path)
    assert "majority 33.3 %; hand 75.0 %" in picture.alt
    assert "hand_cam" not in picture.alt
