import pytest
import torch
from small_pages import TINY, text_page

from vismodels.checkpoint import tensor_digest
from vismodels.data.words import Alphabet
from vismodels.methods.nafdpm.config import ArmConfig, FinetuneConfig, ModelConfig, ObjectiveConfig
from vismodels.methods.nafdpm.finetune import OCRLoss, finetune
from vismodels.methods.nafdpm.model import PredictAndRefine
from vismodels.methods.nafdpm.pipeline import NAFDPMPipeline
from vismodels.methods.nafdpm.word_patches import word_patches
from vismodels.nn.crnn import CRNN

OCR = ArmConfig(weight=1.0)
PLAIN = ArmConfig(weight=0.0)


@pytest.fixture
def critic():
    network = CRNN(classes=Alphabet().classes, widths=(4, 4, 4, 4, 4, 4, 4), hidden=4,
                   recurrent_layers=1)  # fmt: skip
    network.initialize_(torch.Generator().manual_seed(0))
    return network


@pytest.fixture
def start():
    model = PredictAndRefine(3, TINY, ModelConfig().diffusion)
    model.initialize_(0)
    return NAFDPMPipeline.from_model(model, "deblurring", tile_size=64, threshold=0.6)


@pytest.fixture
def tune(sets, finetuning, start, critic, pages):
    def run(arm, name="arm", seed=0, **options):
        config = FinetuneConfig(
            pages=sets,
            models={"base": ModelConfig(network=TINY)},
            finetuned="base",
            arm=arm,
            finetuning=finetuning(**options),
        )
        return finetune(
            config, start, critic, pages[:2], pages[2:], task="deblurring", name=name, seed=seed
        )

    return run


def test_the_finetuned_pipeline_keeps_the_threshold_of_its_start(tune):
    assert tune(PLAIN).pipeline.config["threshold"] == 0.6


def digests(trained):
    return tensor_digest(trained.pipeline.predictor), tensor_digest(trained.pipeline.denoiser)


def estimate(model, batch):
    draws = torch.Generator().manual_seed(0)
    return model(batch.degraded, batch.clean, ObjectiveConfig(), draws)


@pytest.fixture
def batch(pages):
    draws = torch.Generator().manual_seed(0)
    return next(word_patches(pages, draws, Alphabet(), batch_size=2, patch=(64, 160), channels=3))


def test_the_critic_is_the_same_to_the_bit_afterwards(tune, critic):
    before, buffers = tensor_digest(critic), [b.clone() for b in critic.buffers()]
    tune(OCR)
    assert tensor_digest(critic) == before
    assert all(torch.equal(a, b) for a, b in zip(critic.buffers(), buffers, strict=True))
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_the_model_it_starts_from_is_left_as_it_is(tune, start):
    before = tensor_digest(start.predictor)
    trained = tune(OCR)
    assert tensor_digest(start.predictor) == before
    assert tensor_digest(trained.pipeline.predictor) != before


def test_the_ocr_loss_reaches_denoiser_and_predictor(critic, batch):
    model = PredictAndRefine(3, TINY, ModelConfig().diffusion)
    model.initialize_(0)
    OCRLoss(critic, Alphabet(), OCR)(estimate(model, batch), batch).backward()
    for network in (model.denoiser, model.predictor):
        assert sum(float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None)


def test_both_arms_see_the_same_patches_and_noise(tune):
    with_loss, without = tune(OCR), tune(PLAIN)
    for curve in ("loss", "ocr"):
        assert with_loss.losses.curves[curve][0] == without.losses.curves[curve][0] > 0
    assert digests(with_loss) != digests(without)


def test_without_weight_the_loss_is_measured_and_moves_nothing(tune, critic, monkeypatch):
    measured = tune(PLAIN)
    monkeypatch.setattr(OCRLoss, "__call__", lambda self, estimate, batch: torch.tensor(7.0))
    assert digests(tune(PLAIN)) == digests(measured)


def test_seeds_differ_and_repeat(tune):
    assert digests(tune(OCR)) == digests(tune(OCR))
    assert digests(tune(OCR)) != digests(tune(OCR, seed=1))


def test_a_balanced_loss_has_the_size_of_the_weight(tune):
    """The gradient of a huge or tiny loss counts alike."""
    first = tune(ArmConfig(weight=0.1, balanced=True), iterations=1, validate_every=1)
    again = tune(ArmConfig(weight=0.1, balanced=True), iterations=1, validate_every=1)
    plain = tune(PLAIN, iterations=1, validate_every=1)
    assert digests(first) == digests(again) != digests(plain)


def test_noisier_estimates_count_more_if_asked(critic, batch):
    model = PredictAndRefine(3, TINY, ModelConfig().diffusion)
    model.initialize_(0)
    found = estimate(model, batch)
    read = OCRLoss(critic, Alphabet(), ArmConfig(timesteps="noise"))
    shares = found.noise_level
    counts = [len(words) for words in batch.words]
    labels = [word.text for words in batch.words for word in words]
    losses = read._read(found.restored, batch, labels).split(counts)
    expected = sum(s * l.sum() for s, l in zip(shares, losses, strict=True)) / sum(
        s * n for s, n in zip(shares, counts, strict=True)
    )
    torch.testing.assert_close(read(found, batch), expected.to(torch.float32))


def test_the_prediction_is_read_too_if_asked(critic, batch):
    model = PredictAndRefine(3, TINY, ModelConfig().diffusion)
    model.initialize_(0)
    found = estimate(model, batch)
    losses = [
        OCRLoss(critic, Alphabet(), ArmConfig(on_prediction=both))(found, batch)
        for both in (False, True)
    ]
    assert losses[0] != losses[1]


def test_patches_without_words_cost_nothing(critic, batch):
    model = PredictAndRefine(3, TINY, ModelConfig().diffusion)
    model.initialize_(0)
    empty = type(batch)(batch.degraded, batch.clean, ((), ()))
    loss = OCRLoss(critic, Alphabet(), OCR)(estimate(model, empty), empty)
    loss.backward()
    assert loss == 0


def test_a_label_that_is_too_long_for_the_frames_is_no_infinity(critic):
    page = text_page(words=("wwwwwwww",))
    label = "m" * 24  # 24 equal characters ask for 47 frames; there are 31
    page = type(page)(
        page.name,
        page.degraded,
        page.clean,
        tuple(type(w)(label, w.left, w.top, w.right, w.bottom, w.line) for w in page.words),
    )
    draws = torch.Generator().manual_seed(0)
    batch = next(word_patches([page], draws, Alphabet(), batch_size=1, patch=(64, 160), channels=3))
    assert batch.words[0]
    model = PredictAndRefine(3, TINY, ModelConfig().diffusion)
    model.initialize_(0)
    loss = OCRLoss(critic, Alphabet(), OCR)(estimate(model, batch), batch)
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
