"""The ten defects of the published code that could return, one by one.

| defect of the published code | what must hold is tested here, and in detail in |
|---|---|
| 1 times ten times as large in sampling as in training | `tests/diffusion`, `test_restoration` |
| 2 local pooling that takes its window from the first image | `tests/nn/test_nafnet.py` |
| 3 DRD of the first wrong pixel, blocks of 7x7 | `tests/metrics/test_document.py` |
| 4 averaged weights never stored nor used | `test_train` |
| 5 best checkpoint never saved; F-measure of empty pages | nothing is selected; `test_score` |
| 6 CTC's blank is the backtick; infinite losses; gradients in the critic | `test_finetune` |
| 7 a critic of 3 channels fed with 1; weights loaded as code | `test_recognizer`, `test_storage` |
| 8 augmentation that no seed repeats | `test_patches`, `test_train` |
| 9 blank rows at the border, seams, all tiles at once | `tests/nn/test_blending.py` |
| 10 mirrored text under an OCR loss | `test_word_patches` |
"""

import random

import numpy as np
import pytest
import torch
import yaml
from small_pages import TINY, text_page

from vismodels.config import merged
from vismodels.data.words import Alphabet
from vismodels.files import project_root
from vismodels.methods.nafdpm.config import AugmentationConfig, ModelConfig
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.patches import page_batches
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.metrics.document import drd, f_measure
from vismodels.nn.crnn import CRNN
from vismodels.nn.nafnet import NAFNet

CONFIGS = project_root() / "workflows" / "config"


@pytest.fixture
def pipeline():
    model = PredictAndRefine(3, TINY, ModelConfig().diffusion)
    model.initialize_(0)
    return NAFDPMPipeline.from_model(model, "deblurring", tile_size=64)


def test_1_the_denoiser_is_never_asked_about_times_it_was_not_trained_on(pipeline, monkeypatch):
    times = []
    embed = type(pipeline.denoiser.time_embedding).forward

    def recorded(self, time):
        times.extend(time.tolist())
        return embed(self, time)

    monkeypatch.setattr(type(pipeline.denoiser.time_embedding), "forward", recorded)
    pipeline.restore(text_page().degraded, num_steps=20)
    assert len(set(times)) == 20
    assert max(times) == 99  # the published sampler starts at 990
    assert min(times) >= 0


def test_2_a_small_first_image_does_not_fix_the_window_of_later_ones(generator):
    network = NAFNet(width=4, encoder_blocks=(1,), decoder_blocks=(1,), train_size=8).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
    small = torch.rand(1, 3, 8, 8, generator=generator)
    large = torch.rand(1, 3, 40, 40, generator=generator)
    first = network(large)
    network(small)
    assert torch.equal(network(large), first)


def test_3_every_wrong_pixel_counts_in_the_drd():
    target = np.zeros((16, 16), bool)
    target[4:12, 4:6] = True
    one, two = target.copy(), target.copy()
    one[0, 12] = two[0, 12] = two[12, 12] = True
    assert drd(two, target) > 1.5 * drd(one, target) > 0


def test_5_an_empty_page_has_no_f_measure_instead_of_a_good_one():
    empty = np.zeros((8, 8), bool)
    found = empty.copy()
    found[2, 2] = True
    assert np.isnan(f_measure(found, empty))
    assert f_measure(empty, found) == 0


def test_6_the_backtick_is_a_symbol_like_any_other():
    alphabet = Alphabet()
    (code,) = alphabet.encode("`")
    assert code != alphabet.BLANK
    assert alphabet.decode([alphabet.BLANK, code, code, alphabet.BLANK]) == "`"


def test_7_a_recognizer_refuses_images_of_other_channels():
    network = CRNN(widths=(4,) * 7, hidden=4, recurrent_layers=1)
    with pytest.raises(ValueError, match="3, H, W"):
        network(torch.zeros(1, 1, 32, 128))


def test_8_patches_depend_on_their_own_generator_alone():
    varied = AugmentationConfig(rotation=10, scale=(0.8, 1.2), flip=0.5, tone=1, noise=0.05)

    def draw():
        draws = torch.Generator().manual_seed(5)
        options = {"batch_size": 2, "patch": (32, 32), "channels": 3, "augmentation": varied}
        return next(page_batches([text_page()], draws, **options))

    first = draw()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(draw(), first, strict=True))


@pytest.mark.parametrize("size", [(64, 64), (65, 127), (7, 3)])
def test_9_a_page_keeps_its_size_whatever_the_tiles(pipeline, size):
    page = text_page(size=(130, 130)).degraded[: size[0], : size[1]]
    assert pipeline.restore(page, num_steps=1).shape == page.shape


@pytest.mark.parametrize("run", ["default", "test", "benchmark", "paper"])
def test_10_no_run_mirrors_text_that_is_to_be_read(run):
    default = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    overlay = {} if run == "default" else yaml.safe_load((CONFIGS / f"{run}.yaml").read_text())
    task = merged(default, overlay)["nafdpm"]["tasks"]["deblurring"]
    assert task["training"].get("augmentation", {}).get("flip", 0) == 0
    assert "augmentation" not in task["finetuning"]
