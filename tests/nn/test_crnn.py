import json

import pytest
import torch
from torch import nn

from vismodels.data.words import Alphabet
from vismodels.nn.crnn import CRNN, frame_centers
from vismodels.registry import ARCHITECTURES

SMALL = {
    "image_channels": 1,
    "classes": 5,
    "widths": (2, 3, 4, 4, 5, 5, 6),
    "hidden": 3,
    "recurrent_layers": 1,
}


LATE = [1, 2, 3, 4, 5, 6]  # all but the first


def small(**changes):
    return CRNN(**{**SMALL, **changes})


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_it_has_the_published_number_of_parameters():
    assert parameters(CRNN(classes=96)) == 8_755_168
    assert parameters(CRNN()) == 8_755_168 + 513  # one class more: 2 x 256 weights and a bias


def test_a_small_recognizer_is_thirty_times_smaller():
    widths = (12, 24, 48, 48, 64, 64, 96)
    model = CRNN(1, 97, widths, hidden=96, recurrent_layers=1, normalized=LATE)
    assert parameters(model) == 291_649


def test_the_default_classes_are_those_of_the_default_alphabet():
    assert CRNN().classifier.out_features == Alphabet().classes


def test_the_published_input_has_31_frames_of_log_probabilities(generator):
    probabilities = CRNN()(torch.rand(2, 3, 32, 128, generator=generator)).exp()
    assert probabilities.shape == (2, 31, 97)
    torch.testing.assert_close(probabilities.sum(dim=2), torch.ones(2, 31))


def test_the_layout_is_the_published_one():
    kinds = [type(layer).__name__ for layer in CRNN().convolutions]
    conv, normed, pool = ["Conv2d", "ReLU"], ["Conv2d", "BatchNorm2d", "ReLU"], ["MaxPool2d"]
    assert kinds == conv + pool + conv + pool + conv + conv + pool + normed + normed + pool + conv
    features = CRNN().convolutions(torch.zeros(1, 3, 32, 128))
    assert features.shape == (1, 512, 1, 31)


@pytest.mark.parametrize(("width", "frames"), [(8, 1), (11, 1), (12, 2), (128, 31), (131, 31)])
def test_a_frame_stands_for_four_columns(width, frames):
    assert small()(torch.zeros(1, 1, 32, width)).shape[1] == frames == len(frame_centers(width))


def test_a_frame_is_centred_where_it_is_said_to_be():
    """The receptive field of a frame is symmetric about its center."""
    model = small(widths=(1,) * 7)
    for layer in model.convolutions:
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    image = torch.ones(1, 1, 32, 128, requires_grad=True)
    model.convolutions(image)[0, 0, 0, 15].backward()
    # Of equal values a pool takes the first: the gradient tells cells of 4 columns apart.
    cells = image.grad.abs().sum(dim=(0, 1, 2)).view(32, 4).sum(dim=1)
    seen = cells.nonzero().flatten()
    assert frame_centers(128)[15] == 64 == 4 * (seen.min() + seen.max() + 1) / 2


def test_of_higher_images_the_rows_that_are_left_are_averaged(generator):
    model = small().eval()
    seen = []
    model.recurrence.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.rand(1, 1, 64, 40, generator=generator)
    model(image)
    features = model.convolutions(image)
    assert features.shape[2] == 3
    torch.testing.assert_close(seen[0], features.mean(dim=2).transpose(1, 2))


def test_weights_depend_on_the_generator_alone():
    models = [small(), small(), small()]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        model.initialize_(torch.Generator().manual_seed(seed))
    first, second, other = (list(model.parameters()) for model in models)
    assert all(map(torch.equal, first, second))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True) if a.ndim > 1)


def test_the_lstm_starts_with_open_forget_gates_and_orthogonal_recurrence():
    model = small(hidden=4, recurrent_layers=2)
    for name, parameter in model.recurrence.named_parameters():
        gates = parameter.detach().chunk(4)
        if name.startswith("bias"):
            assert [gate.unique().tolist() for gate in gates] == [
                [0.0],
                [float(name.startswith("bias_ih"))],
                [0.0],
                [0.0],
            ]
        elif name.startswith("weight_hh"):
            for gate in gates:
                torch.testing.assert_close(gate @ gate.T, torch.eye(4))


def test_initializing_anew_forgets_the_statistics_of_the_batches(generator):
    model = small()
    model.train()(torch.rand(4, 1, 32, 32, generator=generator))
    model.initialize_(generator)
    norms = [layer for layer in model.convolutions if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 2
    assert not any(norm.running_mean.any() or norm.num_batches_tracked for norm in norms)


def test_which_convolutions_are_normalized_is_an_argument():
    def norms(**changes):
        layers = small(**changes).convolutions
        return [layer.num_features for layer in layers if isinstance(layer, nn.BatchNorm2d)]

    assert norms() == [5, 5]
    assert norms(normalized=()) == []
    assert norms(normalized=LATE) == [3, 4, 4, 5, 5, 6]


def test_a_saved_config_holds_plain_lists_and_builds_the_model_again(tmp_path):
    small(normalized=LATE).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["widths"] == [2, 3, 4, 4, 5, 5, 6]
    assert parameters(CRNN.from_pretrained(tmp_path)) == parameters(small(normalized=LATE))


def test_it_is_registered_for_text_recognition():
    entry = ARCHITECTURES.get("crnn")
    assert (entry.build, entry.task, entry.input_shape) == (CRNN, "text-recognition", (3, 32, 128))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (4, 4)}, r"expected 7 widths, got 2: \(4, 4\)"),
        ({"widths": (1, 1, 0, 1, 1, 1, 1)}, "at least 1, got .*0, 1"),
        ({"hidden": 0}, "at least 1, got .*hidden=0"),
        ({"classes": 0}, "at least 1, got .*classes=0"),
        ({"normalized": (6, 7)}, r"from 0 to 6, got \[7\]"),
    ],
)
def test_impossible_sizes_are_errors_that_name_them(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


@pytest.mark.parametrize("changes", [{"normalized": range(4, 6)}, {"widths": iter([1] * 7)}])
def test_sizes_that_could_not_be_stored_are_an_error(changes):
    with pytest.raises(TypeError, match="expected a list or a tuple, which is stored"):
        small(**changes)


@pytest.mark.parametrize("shape", [(1, 32, 128), (2, 3, 32, 128), (1, 1, 1, 32, 128)])
def test_another_shape_is_an_error_that_names_it(shape):
    with pytest.raises(ValueError, match=r"expected images \(B, 1, H, W\), got shape"):
        small()(torch.zeros(shape))


def test_an_eight_bit_image_is_an_error_with_a_remedy():
    with pytest.raises(TypeError, match=r"got torch\.uint8; divide by 255"):
        small()(torch.zeros(1, 1, 32, 128, dtype=torch.uint8))
