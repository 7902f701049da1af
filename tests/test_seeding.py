import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vismodels.seeding import derive_seed, generator, numpy_generator

NAMES = st.lists(st.one_of(st.text(max_size=5), st.integers(-3, 3)), max_size=4)


def test_a_derived_seed_is_the_sha256_of_the_json_path():
    # printf '[0, "search", 3]' | sha256sum: 63 bits of the first 8 bytes
    assert derive_seed(0, "search", 3) == 0x5B4517CA227CF469 >> 1


@given(NAMES, NAMES)
def test_different_paths_give_different_seeds(first, second):
    same = [(type(n), n) for n in first] == [(type(n), n) for n in second]
    assert (derive_seed(7, *first) == derive_seed(7, *second)) == same


@pytest.mark.parametrize(
    "names", [("a", "b"), ("ab",), ("a,b",), ('a", "b',), ("a b",), ("b", "a")]
)
def test_the_boundaries_between_names_count(names):
    others = {("a", "b"), ("ab",), ("a,b",), ('a", "b',), ("a b",), ("b", "a")} - {names}
    assert derive_seed(0, *names) not in {derive_seed(0, *other) for other in others}


@settings(deadline=None)  # the first example imports
@given(st.integers(), NAMES)
def test_a_seed_fits_into_63_bits_and_is_taken_by_both_libraries(seed, names):
    assert 0 <= derive_seed(seed, *names) < 2**63
    generator(seed, *names)
    numpy_generator(seed, *names)


def test_the_run_seed_and_a_name_are_not_interchangeable():
    assert derive_seed(1, 2) != derive_seed(2, 1)


@pytest.mark.parametrize("name", [1.0, True, None, np.int64(3), ("a",)])
def test_other_names_than_strings_and_integers_are_refused(name):
    with pytest.raises(TypeError, match="strings and integers"):
        derive_seed(0, name)


def test_equal_paths_give_equal_numbers_and_other_paths_others():
    first, second, other = (
        torch.rand(4, generator=generator(3, name)) for name in ("noise", "noise", "crops")
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    numbers = [numpy_generator(3, name).random(4) for name in ("noise", "noise", "crops")]
    assert np.array_equal(numbers[0], numbers[1])
    assert not np.array_equal(numbers[0], numbers[2])


def test_generators_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    torch.rand(2, generator=generator(0))
    assert torch.equal(before, torch.get_rng_state())


def test_seeds_do_not_depend_on_the_hash_seed_and_import_neither_torch_nor_numpy():
    code = (
        "import sys; from vismodels.seeding import derive_seed; print(derive_seed(0, 'a', 1)); "
        "assert not {'torch', 'numpy'} & sys.modules.keys()"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert seen == {f"{derive_seed(0, 'a', 1)}\n"}
