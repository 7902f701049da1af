from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from small_brains import AFFINE, CASES, HEADS, SHAPE, brain, brains, variant

from vismodels.config import parse_config
from vismodels.methods.multilevel_activation import segment as module
from vismodels.methods.multilevel_activation.build import build_head
from vismodels.methods.multilevel_activation.config import SegmentConfig
from vismodels.methods.multilevel_activation.files import (
    LABELS,
    MASKS,
    PRODUCT,
    read_regions,
    read_segmentation,
)
from vismodels.methods.multilevel_activation.inference import predict_logits
from vismodels.methods.multilevel_activation.nesting import violations
from vismodels.methods.multilevel_activation.segment import segment
from vismodels.nn.residual_unet3d import ResidualUNet3D

HARD = {"window": [8, 8, 8], "overlap": 0.25, "batch": 4, "flips": True, "dtype": "bfloat16"}


def config(head, **inference):
    section = {
        "cases": CASES.model_dump(),
        "variant": variant(head).model_dump(mode="json"),
        "inference": HARD | inference,
    }
    return parse_config(SegmentConfig, section, "segment")


def random_network(head):
    """Return a network whose logits reach all levels and all regions."""
    network = ResidualUNet3D(4, build_head(variant(head).head).channels, width=4, depth=2)
    generator = torch.Generator().manual_seed(2)
    network.initialize_(generator)
    with torch.no_grad():
        for output in network.output_heads():
            output.weight.normal_(0, 1, generator=generator)
    return network


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """Return head -> folder of its files, the record, and the logits of each case."""
    found = {}
    for head in HEADS:
        folder, network = tmp_path_factory.mktemp(head), random_network(head)
        result = segment(config(head), network, brains(2), folder, name=head, seed=3)
        logits = {
            case.name: predict_logits(
                network, torch.from_numpy(case.images), window=8, overlap=0.25, batch=4,
                flips=True, dtype=torch.bfloat16,
            )[None]
            for case in brains(2)
        }  # fmt: skip
        found[head] = folder, result, logits
    return found


@pytest.mark.parametrize("head", HEADS)
def test_files_hold_what_the_head_says(head, segmented):
    folder, _, logits = segmented[head]
    built, seen = build_head(variant(head).head), set()
    for name, each in logits.items():
        read = read_segmentation(folder / f"{name}{LABELS}")
        assert np.array_equal(read.levels, built.levels(each)[0].numpy())
        assert np.array_equal(read_regions(folder / f"{name}{MASKS}"), built.regions(each)[0])
        assert read.levels.shape == SHAPE
        np.testing.assert_allclose(read.affine, AFFINE)
        seen |= set(np.unique(read.levels).tolist())
    assert len(seen) >= 3


@pytest.mark.parametrize("head", HEADS)
def test_violations_in_the_record_are_those_of_the_files(head, segmented):
    folder, result, _ = segmented[head]
    for metric in ("et_outside_tc", "tc_outside_wt"):
        of_files = {
            case.name: getattr(violations(read_regions(folder / f"{case.name}{MASKS}")), metric)
            for case in brains(2)
        }
        assert result.score.value(metric).items == of_files
        assert result.score.value(metric).value == sum(of_files.values())


def test_only_sigmoids_violate_the_nesting_after_windows_flips_and_half_precision(segmented):
    counts = {
        head: sum(violations(read_regions(path)).total for path in folder.glob(f"*{MASKS}"))
        for head, (folder, _, _) in segmented.items()
    }
    assert counts["multilevel"] == counts["softmax"] == 0
    assert counts["sigmoid_regions"] > 100


def test_only_sigmoids_have_products_of_probabilities_which_are_nested(segmented):
    assert [h for h in HEADS if list(segmented[h][0].glob(f"*{PRODUCT}"))] == ["sigmoid_regions"]
    folder, _, logits = segmented["sigmoid_regions"]
    for name, each in logits.items():
        found = read_regions(folder / f"{name}{PRODUCT}")
        whole, core, enhancing = torch.sigmoid(each[0])
        expected = torch.stack([whole, whole * core, whole * core * enhancing]) > 0.5
        assert np.array_equal(found, expected)
        assert violations(found).total == 0


def test_nested_masks_and_labels_are_one(segmented):
    for head in ("multilevel", "softmax"):
        for case in brains(2):
            levels = read_segmentation(segmented[head][0] / f"{case.name}{LABELS}").levels
            masks = read_regions(segmented[head][0] / f"{case.name}{MASKS}")
            assert np.array_equal(masks, np.stack([levels >= n for n in (1, 2, 3)]))


@pytest.mark.parametrize("scheme", ["brats2021", "brats2023", "msd"])
@pytest.mark.parametrize("source", ["cases", "settings"])
def test_labels_are_of_the_scheme_of_the_cases_unless_the_settings_name_another(
    source, scheme, tmp_path
):
    cases = [replace(brain(0), scheme=scheme if source == "cases" else "brats2021")]
    stated = {"scheme": scheme} if source == "settings" else {}
    settings = config("softmax", flips=False, **stated)
    segment(settings, random_network("softmax"), cases, tmp_path, name="softmax", seed=0)
    read = read_segmentation(tmp_path / f"case_0{LABELS}")
    stored = np.asanyarray(nibabel.load(tmp_path / f"case_0{LABELS}").dataobj)
    assert read.scheme.name == scheme
    labels = {"brats2021": (0, 2, 1, 4), "brats2023": (0, 2, 1, 3), "msd": (0, 1, 2, 3)}[scheme]
    assert np.array_equal(stored, np.array(labels)[read.levels])


def test_a_case_without_a_scheme_is_not_written_in_a_guessed_one(tmp_path):
    cases, network = [replace(brain(0), scheme="")], random_network("softmax")
    with pytest.raises(ValueError, match=r"'case_0' names no label scheme.* set inference.scheme"):
        segment(config("softmax", flips=False), network, cases, tmp_path, name="softmax", seed=0)


def test_settings_of_inference_reach_the_network(tmp_path, monkeypatch):
    seen = []

    def note(network, image, **options):
        seen.append(options)
        return predict_logits(network, image, **options)

    monkeypatch.setattr(module, "predict_logits", note)
    segment(
        config("multilevel", flips=False, dtype="float32", overlap=0.375, batch=2),
        random_network("multilevel"), brains(1), tmp_path, name="multilevel", seed=0,
    )  # fmt: skip
    assert seen == [
        {"window": (8, 8, 8), "overlap": 0.375, "batch": 2, "flips": False, "dtype": None,
         "device": "cpu"}
    ]  # fmt: skip


def test_the_record_says_whose_masks_they_are(segmented):
    _, result, _ = segmented["softmax"]
    score = result.score
    assert (score.stage, score.variant, score.seed) == ("multilevel_segment", "softmax", 3)
    assert score.dataset == {"card": "glioma_semisynthetic", "split": "test", "items": 2}
    assert score.value("cases").value == 2
    assert score.note.startswith("semi-synthetic")
    assert result.timings["cpu_seconds_per_case"] > 0


def test_segmenting_twice_gives_equal_files(segmented, tmp_path):
    head = "sigmoid_regions"
    segment(config(head), random_network(head), brains(2), tmp_path, name=head, seed=3)
    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (segmented[head][0], tmp_path)
    )
    assert len(first) == 6
    assert first == second
