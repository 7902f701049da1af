import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vismodels.files import FileError
from vismodels.training.log import ScalarLog


def filled(*rows):
    log = ScalarLog()
    for iteration, scalars in rows:
        log.append(iteration, scalars)
    return log


def test_the_table_has_one_row_for_each_iteration_with_all_digits(tmp_path):
    log = filled((1, {"loss": 0.1 + 0.2, "lr": 1}), (5, {"lr": 1e-300, "loss": -0.0}))
    log.to_csv(tmp_path / "curves.csv")
    expected = b"iteration,loss,lr\n1,0.30000000000000004,1.0\n5,-0.0,1e-300\n"
    assert (tmp_path / "curves.csv").read_bytes() == expected


@settings(deadline=None, max_examples=50)  # synchronizes files with the disk
@given(
    names=st.sets(
        st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1), max_size=3
    ),
    data=st.data(),
)
def test_a_table_reads_back_as_the_same_log(tmp_path_factory, names, data):
    log = ScalarLog()
    for iteration in sorted(data.draw(st.sets(st.integers(0, 10**6), max_size=5))):
        log.append(iteration, {name: data.draw(st.floats(allow_nan=False)) for name in names})
    path = tmp_path_factory.mktemp("log") / "curves.csv"
    log.to_csv(path)
    again = ScalarLog.read_csv(path)
    assert (again.iterations, again.curves) == (log.iterations, log.curves)


def test_an_undefined_value_is_kept(tmp_path):
    filled((1, {"hd95": math.nan})).to_csv(tmp_path / "curves.csv")
    assert math.isnan(ScalarLog.read_csv(tmp_path / "curves.csv").curves["hd95"][0])


def test_the_state_restores_the_log_and_is_no_part_of_it():
    log = filled((1, {"loss": 2.0}), (2, {"loss": 1.0}))
    state = log.state_dict()
    log.append(3, {"loss": 0.5})
    again = ScalarLog()
    again.load_state_dict(state)
    again.append(4, {"loss": 0.25})
    assert (again.iterations, again.curves) == ([1, 2, 4], {"loss": [2.0, 1.0, 0.25]})
    assert state == {"iterations": [1, 2], "curves": {"loss": [2.0, 1.0]}}
    assert len(again) == 3


@pytest.mark.parametrize("scalars", [{}, {"psnr": 1.0}, {"loss": 1.0, "psnr": 1.0}])
def test_other_names_than_before_are_refused(scalars):
    log = filled((1, {"loss": 2.0}))
    with pytest.raises(ValueError, match=r"expected loss, got .* at iteration 2"):
        log.append(2, scalars)
    assert log.iterations == [1]


@pytest.mark.parametrize("iteration", [3, 2])
def test_iterations_only_grow(iteration):
    log = filled((3, {"loss": 2.0}))
    with pytest.raises(ValueError, match="does not come after 3"):
        log.append(iteration, {"loss": 1.0})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "step,loss\n1,2.0\n",
        "iteration,loss\n1\n",
        "iteration,loss\n1,2.0,3.0\n",
        "iteration,loss\n1,high\n",
        "iteration,loss\n1.5,2.0\n",
        "iteration,loss\n2,2.0\n1,2.0\n",
        'iteration,"loss\n1,2.0\n',
    ],
)
def test_a_damaged_table_is_named(tmp_path, text):
    (tmp_path / "curves.csv").write_text(text)
    with pytest.raises(FileError, match=r"curves\.csv: not a table of curves"):
        ScalarLog.read_csv(tmp_path / "curves.csv")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileError, match=r"curves\.csv: no such file"):
        ScalarLog.read_csv(tmp_path / "curves.csv")


def test_curves_are_read_without_torch():
    code = "import sys, vismodels.training.log; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
