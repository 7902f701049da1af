import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vismodels.cost import counters
from vismodels.quantization.spec import FULL_PRECISION, QuantSpec


@pytest.mark.parametrize(
    ("bits", "signed", "minimum", "maximum"),
    [
        (1, False, 0, 1),
        (2, False, 0, 3),
        (8, False, 0, 255),
        (2, True, -2, 1),
        (4, True, -8, 7),
        (8, True, -128, 127),
    ],
)
def test_the_range_holds_the_integers_of_the_bits(bits, signed, minimum, maximum):
    spec = QuantSpec(bits, signed)
    assert (spec.minimum, spec.maximum) == (minimum, maximum)


@given(st.integers(2, 32), st.booleans())
def test_there_are_two_to_the_bits_integers(bits, signed):
    spec = QuantSpec(bits, signed)
    assert spec.maximum - spec.minimum + 1 == 2**bits


@given(st.integers(2, 32), st.booleans())
def test_only_32_bits_are_full_precision(bits, signed):
    assert QuantSpec(bits, signed).is_full_precision == (bits == 32)


def test_quantizers_and_cost_mean_the_same_bits_by_full_precision():
    assert FULL_PRECISION == counters.FULL_PRECISION


@pytest.mark.parametrize("bits", [-1, 0, 33])
def test_bits_outside_1_to_32_are_refused(bits):
    with pytest.raises(ValueError, match=f"bits must be 1 to 32, got {bits}"):
        QuantSpec(bits, signed=False)


def test_one_signed_bit_is_refused():
    with pytest.raises(ValueError, match="2 bits or more, got 1"):
        QuantSpec(1, signed=True)


def test_the_spec_and_the_genotype_load_without_torch():
    code = (
        "import sys, vismodels.quantization.spec, vismodels.nas.genotype; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
