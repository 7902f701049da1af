"""What the published code gets wrong and a change could bring back: the correct behaviour.

He et al. (2021), arXiv 2101.05442.
"""

import matplotlib.axes
import nibabel
import numpy as np
import pytest
import torch
from found_sets import acquired_set, found_set
from small_scans import SHAPE, scans
from small_volumes import CLASSES, DATA, SPACE, space, volumes
from torch import nn
from torch.nn import functional as F

from vismodels.config import parse_config
from vismodels.data import ct_sets
from vismodels.data.scans import read_scans
from vismodels.data.volumes import VolumeSet
from vismodels.methods.covidnet3d import search as search_module
from vismodels.methods.covidnet3d.config import (
    DataConfig,
    MapSettings,
    SearchConfig,
    TrainingSettings,
)
from vismodels.methods.covidnet3d.data import volumes_of_scans
from vismodels.methods.covidnet3d.evaluation import BATCH, loss_and_accuracy
from vismodels.methods.covidnet3d.maps import draw_maps
from vismodels.methods.covidnet3d.montage import draw_montage, store_shown
from vismodels.methods.covidnet3d.network import CovidNet3D
from vismodels.methods.covidnet3d.search_run import SearchRun
from vismodels.methods.covidnet3d.space import OPERATIONS
from vismodels.methods.covidnet3d.supernet import MixedBlock
from vismodels.methods.covidnet3d.train import train_network
from vismodels.training.schedule import warmup_cosine


def network(seed=0, **changes):
    made = CovidNet3D(SPACE | changes, {})
    made.initialize_(torch.Generator().manual_seed(seed))
    return made


def search_config(**changes):
    settings = {
        "iterations": 6, "batch_size": 6, "parts": [1, 1, 1], "validate_every": 6,
        "recalibration": 1, "candidates": 1, "compared": 1,
    }  # fmt: skip
    section = {
        "data": DATA,
        "space": SPACE,
        "variant": {"estimator": "policy"},
        "settings": settings | changes,
        "training": {"iterations": 1, "validate_every": 1},
    }
    return parse_config(SearchConfig, section, "search")


def trained(validation, **changes):
    section = {"iterations": 4, "batch_size": 6, "validate_every": 1} | changes
    settings = parse_config(TrainingSettings, section, "training")
    return train_network(network(), settings, volumes(), validation, seed=0)


# --- the search ----------------------------------------------------------------------------------


def test_weights_architecture_and_choice_see_different_patients_of_the_training_set(monkeypatch):
    """Defect 6: there halves are split by scan, and the test set chooses."""
    seen = {"architecture": set(), "weights": set(), "choice": set()}
    data = volumes(36)
    data.images[:, 0, 0, 0, 0] = torch.arange(36.0) // 12 * 3 + data.labels  # marks the patient
    patients = tuple(str(int(mark)) for mark in data.images[:, 0, 0, 0, 0])
    data = VolumeSet(data.images, data.labels, data.names, patients, CLASSES)
    assert len(set(patients)) < len(patients)

    def noting(part, step):
        def noted(self, batch):
            seen[part].update(str(int(mark)) for mark in batch[0][:, 0, 0, 0, 0])
            return step(self, batch)

        return noted

    for part, name in (("architecture", "architecture_step"), ("weights", "weight_step")):
        monkeypatch.setattr(SearchRun, name, noting(part, getattr(SearchRun, name)))
    scored = search_module.candidates

    def noted_candidates(supernet, calibration, held_out, **options):
        seen["choice"].update(held_out.patients)
        return scored(supernet, calibration, held_out, **options)

    monkeypatch.setattr(search_module, "candidates", noted_candidates)
    config = search_config(flip=[0.0, 0.0, 0.0], iterations=12)
    search_module.search(config, data, name="policy", seed=0)
    assert all(seen.values())
    assert not seen["architecture"] & seen["weights"]
    assert not (seen["architecture"] | seen["weights"]) & seen["choice"]
    assert seen["architecture"] | seen["weights"] | seen["choice"] == set(patients)


def test_the_search_steps_its_learning_rate_where_a_schedule_is_configured():
    """There a cosine is configured and never stepped."""
    data = volumes()
    rates = {"cosine": [], "constant": []}
    for schedule, seen in rates.items():
        config = search_config(schedule=schedule, iterations=4)
        run = SearchRun(config, data.shape, data.class_weights(), 0, "cpu")
        for iteration in range(4):
            run.state.iteration = iteration
            seen.append(run.weight_optimizer.param_groups[0]["lr"])
            run.weight_step((data.images[:6], data.labels[:6]))
    assert rates["constant"] == [1e-3] * 4
    half = 0.5e-3
    assert rates["cosine"] == pytest.approx(
        [2 * half, half * (1 + 0.5**0.5), half, half * (1 - 0.5**0.5)]
    )


def test_one_operation_is_free_and_returns_its_input_once():
    """Defect 7: there `identity` doubles its input, and 3 of 10 operations are free."""
    block = MixedBlock(OPERATIONS, 6)
    free = [name for name in OPERATIONS if name not in block.branches]
    assert free == ["skip"]
    features = torch.randn(1, 6, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([float(name == "skip") for name in OPERATIONS])
    assert torch.equal(block(features, weights), features)


def test_networks_wider_than_published_are_built_and_twice_alike():
    """Defect 3: there they fail, and every further one is wider still."""
    config = space(width_mult=2.0)
    first, second = (CovidNet3D.of(config, config.uniform("mbconv_3_3")) for _ in range(2))
    for made in (first, second):
        assert made.trunk.stem[0].out_channels == 8
        assert made.trunk.head[0].in_channels == 16
    assert first(torch.zeros(1, 1, 6, 8, 8)).shape == (1, 3)


# --- training and scores -------------------------------------------------------------------------


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_no_score_decides_which_weights_are_kept(ema_decay):
    """Defect 6: there the checkpoint that is best on the test set is."""
    right = volumes(9, seed=1)
    wrong = VolumeSet(**vars(right) | {"labels": right.labels.roll(1)})
    settings = {"iterations": 16, "learning_rate": 1e-2, "ema_decay": ema_decay}
    (kept, _, good), (other, _, bad) = (
        trained(held_out, **settings) for held_out in (right, wrong)
    )
    best = [int(np.argmin(course.curves["validation_loss"])) for course in (good, bad)]
    assert best[0] != best[1]  # so that a choice would be seen
    for one, same in zip(kept.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)


@pytest.mark.parametrize("warmup", [0, 5])
def test_the_learning_rate_does_not_climb_again(warmup):
    """There a cosine of 80 epochs drives 200: the rate climbs back up to its start."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warmup_cosine(optimizer, 40, warmup)
    rates = []
    for iteration in range(100):
        schedule.step_update(iteration)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert max(rates) == pytest.approx(1.0)
    assert rates[40:] == [0.0] * 60


def test_smoothed_labels_mix_the_loss_with_that_of_even_ones():
    """Defect 10: there the class of this loss raises."""
    losses = {
        smoothing: trained(volumes(9), label_smoothing=smoothing)[1].curves["loss"][0]
        for smoothing in (0.0, 0.1, 1.0)
    }
    assert losses[0.0] != losses[1.0]
    assert losses[0.1] == pytest.approx(0.9 * losses[0.0] + 0.1 * losses[1.0], rel=1e-5)


def test_loss_and_accuracy_are_over_all_items_not_means_of_batches():
    """Defect 9: a last batch of one item would count as much as all before it."""
    data = volumes(BATCH + 1)
    logits = F.one_hot(data.labels, 3).float()
    logits[-1] = logits[-1].roll(1)
    parts = iter(torch.split(logits, BATCH))
    loss, accuracy = loss_and_accuracy(lambda images: next(parts), data)
    assert accuracy == pytest.approx(BATCH / (BATCH + 1))
    right, wrong = np.log(np.e + 2) - 1, np.log(np.e + 2)
    assert loss == pytest.approx((BATCH * right + wrong) / (BATCH + 1), rel=1e-5)


# --- scans and maps ------------------------------------------------------------------------------


def test_all_corners_of_a_file_reach_the_network_in_the_configured_shape(tmp_path, monkeypatch):
    """Defect 4: there a crop "of the centre" is the corner at the bottom right, half as large.

    Nor are apex and base left out, of a stack that has more slices than are wanted.
    """
    marks = np.full((24, 26, 40), -1000.0)
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    for number, corner in enumerate(corners):
        x, y, z = (slice(-3, None) if side else slice(3) for side in corner)
        marks[x, y, z] = 40.0 * number
    image = nibabel.Nifti1Image(marks.astype(np.int16), np.diag([-1.0, -1.0, 5.0, 1.0]))
    for split in ("train", "test"):
        folder = tmp_path / "study" / split / "CT-1"
        folder.mkdir(parents=True)
        nibabel.save(image, folder / f"{split}.nii.gz")
    found = found_set("study", tmp_path / "study")
    acquired_set(found, tmp_path / "acquired")
    monkeypatch.setattr(ct_sets, "locate", lambda *_: found)
    settings = parse_config(
        ct_sets.CTSetConfig, {"shape": [32, 12, 12], "classes": {"CT-1": "NCP"}}, "ct_sets"
    )
    ct_sets.prepare_ct_set(settings, "study", tmp_path, tmp_path / "acquired", tmp_path / "out")
    (scan,) = read_scans(tmp_path / "out" / "test")
    seen = volumes_of_scans(parse_config(DataConfig, DATA, "data"), [scan]).images[0, 0]
    assert seen.shape == (32, 12, 12)
    for number, (x, y, z) in enumerate(corners):  # x to the left, y to the back, z to the head
        hu = (seen[-z, -y, -x] + 1) * 700 - 1000
        assert float(hu) == pytest.approx(40.0 * number, abs=1)


def test_maps_of_a_network_that_was_left_in_training_are_those_of_evaluation():
    """Defect 8: there dropout and the statistics of a single scan run along."""
    test = volumes_of_scans(parse_config(DataConfig, DATA, "data"), scans(1))
    section = {
        "networks": ["hand"], "kinds": ["cam", "shifted_cam", "grad_cam", "layer_cam"],
        "layer": "trunk.blocks.stage0_block0",
    }  # fmt: skip
    settings = parse_config(MapSettings, section, "maps")
    made = network(dropout=0.9)
    expected = draw_maps(made.eval(), test, [0], settings)
    drawn = draw_maps(made.train(), test, [0], settings)
    for one, other in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(one.maps["CP_0"], other.maps["CP_0"])


def test_all_slices_of_a_montage_have_one_scale(tmp_path, monkeypatch):
    """Defect 8: scaled slice by slice, a slice without evidence shows a hot spot."""
    (scan,) = (scan for scan in scans(1) if scan.label == "NCP")
    heat = np.zeros(SHAPE, np.float32)
    heat[5], heat[6, 0, 0] = 1e-3, 2.0
    shown = {"NCP_0": {"image": np.zeros(SHAPE, np.float16), "lesion": scan.lesion}}
    store_shown(tmp_path / "maps.npz", shown, {"hand/cam/NCP_0": heat})
    limits, original = [], matplotlib.axes.Axes.imshow

    def noting(axes, values, **options):
        limits.append((options["cmap"], options["vmin"], options["vmax"]))
        return original(axes, values, **options)

    monkeypatch.setattr(matplotlib.axes.Axes, "imshow", noting)
    draw_montage("phantom", tmp_path / "maps.npz", tmp_path)
    assert {limit for limit in limits if limit[0] == "inferno"} == {("inferno", 0.0, 2.0)}
