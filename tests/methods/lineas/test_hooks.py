from collections import namedtuple

import pytest
import torch
from diffusers.utils import BaseOutput
from torch import nn
from torch.testing import assert_close

from vismodels.methods.lineas.hooks import at_element, inserted, module_edits, transported
from vismodels.methods.lineas.maps import AffineMap

Pair = namedtuple("Pair", ["first", "second"])
TWICE = AffineMap(torch.tensor([2.0, 2.0]), torch.tensor([0.0, 1.0]))


class Output(BaseOutput):
    sample: torch.Tensor
    extra: torch.Tensor


def add(amount):
    return lambda module, output: output + amount


def test_all_moves_every_pixel_of_a_channel():
    image = torch.tensor([[[[1.0, 2]], [[3, 4]]]])  # (1, 2, 1, 2)
    assert transported(image, TWICE, 1, "all").tolist() == [[[[2, 4]], [[7, 9]]]]


def test_avg_moves_the_mean_and_keeps_the_differences():
    image = torch.tensor([[[[1.0, 3]], [[3, 5]]]])
    moved = transported(image, TWICE, 1, "avg")
    assert moved.tolist() == [[[[3, 5]], [[8, 10]]]]  # means 2 -> 4 and 4 -> 9


def test_image_avg_moves_the_mean_of_images_and_every_token():
    image, tokens = torch.rand(2, 2, 3, 3), torch.rand(2, 3, 2)
    for output, axis, same in ((image, 1, "avg"), (tokens, 2, "all")):
        moved = transported(output, TWICE, axis, "image_avg")
        assert torch.equal(moved, transported(output, TWICE, axis, same))


def test_last_moves_the_last_token_only():
    tokens = torch.tensor([[[1.0, 1], [3, 3]]])
    assert transported(tokens, TWICE, 2, "last").tolist() == [[[1, 1], [6, 7]]]
    assert transported(tokens[:, 0], TWICE, 1, "last").tolist() == [[2, 3]]
    with pytest.raises(ValueError, match="no last token"):
        transported(torch.zeros(1, 2, 3, 3), TWICE, 1, "last")


@pytest.mark.parametrize("mode", ["all", "avg", "last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_type_shape_and_the_input_itself_are_kept(mode, dtype):
    tokens = torch.ones(2, 3, 2, dtype=dtype)
    moved = transported(tokens, TWICE, 2, mode)
    assert (moved.dtype, moved.shape, moved.is_contiguous()) == (dtype, tokens.shape, True)
    assert torch.equal(tokens, torch.ones_like(tokens))


def test_maps_act_in_float32_on_half_precision():
    each = AffineMap(torch.tensor([1 + 2**-9]), torch.tensor([0.003]))
    x = torch.tensor([[1.5]], dtype=torch.bfloat16)  # its next value is 1.5 + 2^-7
    in_half = x * each.scale.bfloat16() + each.shift.bfloat16()
    assert in_half.item() == 1.5  # each part is too small alone
    assert transported(x, each, 1, "all").item() == 1.5 + 2**-7  # 1.50593 rounds up


def test_another_number_of_units_is_refused():
    with pytest.raises(ValueError, match="3 units and its map has 2"):
        transported(torch.zeros(1, 3), TWICE, 1, "all")


@pytest.mark.parametrize(
    "output",
    [
        (torch.zeros(1), torch.ones(1)),
        [torch.zeros(1), torch.ones(1)],
        Pair(torch.zeros(1), torch.ones(1)),
        Output(sample=torch.zeros(1), extra=torch.ones(1)),
    ],
    ids=lambda output: type(output).__name__,
)
def test_one_element_is_changed_and_the_output_keeps_its_kind(output):
    for element, expected in ((None, [5, 1]), (0, [5, 1]), (1, [0, 6])):
        changed = at_element(element, add(5))(nn.Identity(), output)
        assert type(changed) is type(output)
        values = changed.values() if isinstance(changed, dict) else changed
        assert [value.item() for value in values] == expected


def test_an_element_of_a_plain_tensor_is_refused():
    assert at_element(0, add(5))(nn.Identity(), torch.zeros(1)).item() == 5
    with pytest.raises(ValueError, match="no element 1"):
        at_element(1, add(5))(nn.Identity(), torch.zeros(1))


def test_two_elements_of_one_module_are_changed_apart():
    edits = module_edits({"a": add(1), "a:1": add(10), "b": add(3)})
    assert edits.keys() == {"a", "b"}
    assert edits["a"](nn.Identity(), (torch.zeros(1), torch.zeros(1))) == (1, 10)


def test_an_insertion_acts_before_hooks_that_are_there_already():
    model = nn.Sequential(nn.Identity())
    seen = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(output.item()))
    with inserted(model, {"0": add(1)}):
        assert model(torch.tensor(1.0)) == 2
    assert seen == [2]


def test_nothing_is_left_after_an_error():
    model = nn.Sequential(nn.Identity())
    with pytest.raises(RuntimeError, match="stop"), inserted(model, {"0": add(1)}):
        raise RuntimeError("stop")
    assert_close(model(torch.tensor(1.0)), torch.tensor(1.0))
    with (
        pytest.raises(KeyError, match="no module '1'"),
        inserted(model, {"0": add(1), "1": add(1)}),
    ):
        pass
    assert not model[0]._forward_hooks
