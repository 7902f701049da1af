import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vismodels.quantization.packing import BITS, pack, packed_size, unpack


def test_four_bit_codes_lie_two_in_a_byte_the_first_in_the_lower_half():
    packed = pack(torch.tensor([1, 15, 7]), 4)
    assert packed.dtype == torch.uint8
    assert packed.tolist() == [0xF1, 0x07]


def test_three_bit_codes_run_over_the_ends_of_bytes():
    # 101, 011, 110 and 001 with the lowest bit first: 1 0 1 | 1 1 0 | 0 1 [1] | 1 0 0
    assert pack(torch.tensor([5, 3, 6, 1]), 3).tolist() == [0b10011101, 0b0011]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1001])
def test_the_stream_is_that_of_a_large_integer(bits, count, generator):
    codes = torch.randint(2**bits, (count,), generator=generator)
    number = sum(code << (i * bits) for i, code in enumerate(codes.tolist()))
    assert bytes(pack(codes, bits).tolist()) == number.to_bytes(
        math.ceil(count * bits / 8), "little"
    )


@given(st.data())
def test_what_is_packed_comes_back(data):
    bits = data.draw(st.sampled_from(BITS))
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    values = st.lists(
        st.integers(0, 2**bits - 1), min_size=math.prod(shape), max_size=math.prod(shape)
    )
    codes = torch.tensor(data.draw(values), dtype=torch.uint8).view(shape)
    packed = pack(codes, bits)
    assert packed.shape == (packed_size(codes.numel(), bits),)
    assert torch.equal(unpack(packed, bits, shape), codes)


def test_a_weight_of_four_bits_takes_an_eighth_of_float32():
    assert packed_size(320 * 320, 4) == 51_200
    assert packed_size(3, 4) == 2


@pytest.mark.parametrize("bits", [0, 1, 9, 32])
def test_other_bits_are_refused(bits):
    with pytest.raises(ValueError, match=f"2 to 8 bits, got {bits}"):
        packed_size(4, bits)


@pytest.mark.parametrize("codes", [[0, 16], [-1, 3]])
def test_codes_out_of_range_are_refused(codes):
    with pytest.raises(ValueError, match=f"lie in .0, 15., got {codes[0]} to {codes[1]}"):
        pack(torch.tensor(codes), 4)


def test_codes_that_are_not_integers_are_refused():
    with pytest.raises(ValueError, match="integers, got torch"):
        pack(torch.zeros(2), 4)


@pytest.mark.parametrize(
    "packed", [torch.zeros(3, dtype=torch.uint8), torch.zeros(2, dtype=torch.int8)]
)
def test_a_stream_of_another_length_or_type_is_refused(packed):
    with pytest.raises(ValueError, match="4 codes of 4 bits are a stream of 2 bytes, uint8; got"):
        unpack(packed, 4, (2, 2))
