from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers.utils import BaseOutput
from torch import Tensor, nn

from vismodels.nn.hooks import capture, edit, on_element, select_modules

Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class Plain:
    sample: Tensor
    note: str = "kept"


@dataclass
class Output(BaseOutput):
    sample: Tensor
    extra: Tensor


class Returns(nn.Module):
    """Puts out what `wrap` makes of the input."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(x)


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class AddOne(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


@pytest.fixture
def model() -> Iterator[nn.Module]:
    """f(x) = 2 x + 1 in two steps; no test may leave a hook on it."""
    model = nn.Sequential(OrderedDict(twice=Double(), add=AddOne()))
    yield model
    assert not any(module._forward_hooks for module in model.modules())


def test_capture_gives_the_output_of_each_named_module(model):
    with capture(model, ["twice", "add", ""]) as outputs:
        model(torch.tensor(3.0))
    assert outputs == {"twice": 6, "add": 7, "": 7}


def test_capture_takes_one_name_or_a_predicate(model):
    with capture(model, "add") as one, capture(model, lambda n, m: isinstance(m, Double)) as some:
        model(torch.tensor(3.0))
    assert (list(one), list(some)) == (["add"], ["twice"])


def test_a_second_run_replaces_what_was_captured(model):
    with capture(model, "add") as outputs:
        model(torch.tensor(3.0))
        model(torch.tensor(5.0))
    assert outputs["add"] == 11


def test_gradients_flow_through_captured_outputs(model):
    x = torch.tensor(3.0, requires_grad=True)
    with capture(model, "twice") as outputs:
        y = model(x) ** 2
    (gradient,) = torch.autograd.grad(y, outputs["twice"])
    assert gradient == 2 * 7


def test_copies_are_detached_and_survive_in_place_operations():
    model = nn.Sequential(Double(), nn.ReLU(inplace=True))
    x = torch.tensor(-3.0, requires_grad=True)
    with capture(model, "0") as outputs, capture(model, "0", copies=True) as copies:
        model(x)
    assert outputs["0"] == 0
    assert copies["0"] == -6
    assert not copies["0"].requires_grad


@pytest.mark.parametrize("wrap", [lambda x: (x, [x]), Plain, lambda x: Output(x, x)])
def test_copies_reach_into_structured_outputs(wrap):
    model = Returns(wrap)
    with capture(model, "", copies=True) as copies:
        original = model(torch.zeros(2, requires_grad=True) * 1)
    leaf = copies[""].sample if hasattr(original, "sample") else copies[""][1][0]
    assert type(copies[""]) is type(original)
    assert not leaf.requires_grad


def test_reading_a_module_that_did_not_run_says_so(model):
    with (
        capture(model, "add") as outputs,
        pytest.raises(KeyError, match="no output of 'add' was captured"),
    ):
        outputs["add"]


def test_an_unknown_name_suggests_the_nearest(model):
    with (
        pytest.raises(KeyError, match="no module 'twic'; did you mean 'twice'"),
        capture(model, ["add", "twic"]),
    ):
        pass
    with pytest.raises(KeyError, match="'twice'"), edit(model, {"twic": lambda m, y: y}):
        pass


def test_selecting_nothing_is_an_error(model):
    with pytest.raises(ValueError, match="no module of Sequential is selected"):
        select_modules(model, lambda name, module: False)
    with pytest.raises(ValueError, match="is selected"), edit(model, {}):
        pass


def test_a_shared_module_is_known_by_each_of_its_names():
    shared = Double()
    model = nn.Sequential(shared, shared)
    assert select_modules(model, ["0", "1"]) == {"0": shared, "1": shared}


def test_edit_replaces_an_output_inside_the_block_only(model):
    with edit(model, {"twice": lambda module, output: output * 10}):
        assert model(torch.tensor(3.0)) == 61
    assert model(torch.tensor(3.0)) == 7


def test_edits_see_the_module_and_carry_gradients(model):
    weight = torch.tensor(2.0, requires_grad=True)
    seen = []

    def scale(module: nn.Module, output: Tensor) -> Tensor:
        seen.append(type(module))
        return output * weight

    with edit(model, {"twice": scale}):
        model(torch.tensor(3.0)).backward()
    assert weight.grad == 6
    assert seen == [Double]


def test_hooks_are_removed_after_an_exception_in_the_block(model):
    with (
        pytest.raises(RuntimeError, match="stop"),
        capture(model, "add"),
        edit(model, {"add": lambda m, y: y}),
    ):
        raise RuntimeError("stop")


def test_hooks_are_removed_after_an_exception_in_an_edit(model):
    with pytest.raises(ZeroDivisionError), edit(model, {"add": lambda m, y: 1 / 0}):
        model(torch.tensor(3.0))


def test_of_two_edits_the_outer_acts_first(model):
    with edit(model, {"add": lambda m, y: y * 10}), edit(model, {"add": lambda m, y: y + 1}):
        assert model(torch.tensor(3.0)) == 71


def test_capture_sees_the_edits_opened_before_it(model):
    with (
        capture(model, "add") as before,
        edit(model, {"add": lambda m, y: y * 10}),
        capture(model, "add") as after,
    ):
        model(torch.tensor(3.0))
    assert (before["add"], after["add"]) == (7, 70)


@pytest.mark.parametrize(
    ("wrap", "element"),
    [
        (lambda x: (x, x), 1),
        (lambda x: (x, x), -1),
        (lambda x: [x, x], 1),
        (lambda x: Pair(x, x), 1),
        (lambda x: Pair(x, x), "second"),
        (lambda x: {"first": x, "second": x}, "second"),
        (lambda x: Output(x, x), "extra"),
        (lambda x: Output(x, x), 1),
    ],
)
def test_one_element_of_an_output_is_edited_and_the_rest_kept(wrap, element):
    model = Returns(wrap)
    with capture(model, "") as original, edit(model, {"": on_element(element, lambda m, y: y + 1)}):
        edited = model(torch.tensor(3.0))
    assert type(edited) is type(original[""])
    assert _values(edited) == [3, 4]
    assert _values(original[""]) == [3, 3]


def _values(output: Any) -> list[Tensor]:
    return list(output.values()) if isinstance(output, dict) else list(output)


def test_a_field_of_a_dataclass_is_edited_and_the_rest_kept():
    model = Returns(Plain)
    with edit(model, {"": on_element("sample", lambda m, y: y + 1)}):
        assert model(torch.tensor(3.0)) == Plain(torch.tensor(4.0), "kept")


def test_fields_of_library_outputs_agree_by_name_and_by_key():
    model = Returns(lambda x: Output(x, x))
    with edit(model, {"": on_element("sample", lambda m, y: y + 1)}):
        edited = model(torch.tensor(3.0))
    assert edited.sample == edited["sample"] == edited[0] == 4


@pytest.mark.parametrize(("wrap", "element"), [(lambda x: x, 0), (Plain, 0), (lambda x: x, "a")])
def test_editing_an_element_of_an_output_without_elements_is_an_error(wrap, element):
    model = Returns(wrap)
    with (
        pytest.raises(TypeError, match="has no element"),
        edit(model, {"": on_element(element, lambda m, y: y)}),
    ):
        model(torch.tensor(3.0))


@pytest.mark.parametrize("forgetful", [lambda m, y: None, lambda m, y: y[0]])
def test_an_edit_that_returns_another_kind_of_output_is_an_error(forgetful):
    model = Returns(lambda x: (x, x))
    with (
        pytest.raises(TypeError, match=r"got a tuple and must return one.*on_element"),
        edit(model, {"": forgetful}),
    ):
        model(torch.tensor(3.0))
