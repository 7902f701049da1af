import pytest
import torch

from vismodels.methods.quest.packed_file import STRINGS, string_members, strung, unstrung

STATE = {
    "b.bias": torch.tensor([9.0]),
    "b.weight_quantizers.0.packed": torch.tensor([7], dtype=torch.uint8),
    "b.weight_quantizers.0.scale": torch.tensor([1.0]),
    "b.weight_quantizers.0.zero_point": torch.tensor([2], dtype=torch.uint8),
    "b.activation_quantizers.0.scale": torch.tensor([[3.0, 4.0]]),
    "b.activation_quantizers.0.zero_point": torch.tensor([[5.0, 6.0]]),
    "a.weight_quantizers.0.packed": torch.tensor([8, 9], dtype=torch.uint8),
    "a.weight_quantizers.0.scale": torch.tensor([10.0, 11.0]),
    "a.weight_quantizers.0.zero_point": torch.tensor([12, 13], dtype=torch.uint8),
    "norm.scale": torch.tensor([14.0]),  # of a network, without a zero point
}


def test_scales_and_zero_points_are_strung_in_the_order_of_their_names():
    state = strung(STATE)
    assert {name: state[name].tolist() for name in STRINGS} == {
        "quantization.weight_scales": [10, 11, 1],
        "quantization.weight_zero_points": [12, 13, 2],
        "quantization.activation_scales": [3, 4],
        "quantization.activation_zero_points": [5, 6],
    }
    assert state.keys() - set(STRINGS) == {
        "b.bias", "b.weight_quantizers.0.packed", "a.weight_quantizers.0.packed", "norm.scale",
    }  # fmt: skip


def test_types_stay():
    state = strung(STATE)
    assert state["quantization.weight_zero_points"].dtype == torch.uint8
    assert state["quantization.weight_scales"].dtype == torch.float32


def test_what_is_strung_comes_back_whatever_the_order_of_the_network():
    empty = {name: torch.empty_like(STATE[name]) for name in reversed(STATE)}
    back = unstrung(strung(STATE), empty)
    assert back.keys() == STATE.keys()
    assert all(torch.equal(back[name], STATE[name]) for name in STATE)


def test_a_part_of_a_file_comes_back_as_a_part():
    whole = strung(STATE)
    part = {name: whole[name] for name in (STRINGS[0], "b.bias")}
    assert unstrung(part, STATE).keys() == {
        "b.bias", "a.weight_quantizers.0.scale", "b.weight_quantizers.0.scale",
    }  # fmt: skip


def test_a_network_without_activation_quantizers_has_no_strings_of_them():
    weights = {name: tensor for name, tensor in STATE.items() if "activation" not in name}
    assert not any("activation" in name for name in strung(weights))
    assert string_members(weights)["quantization.activation_scales"] == []


def test_a_string_of_another_length_is_refused():
    state = strung(STATE)
    state["quantization.weight_scales"] = torch.ones(2)
    with pytest.raises(ValueError, match=r"weight_scales has the shape .2,., but .* has 3 such"):
        unstrung(state, STATE)
