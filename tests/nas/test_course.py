from vismodels.nas.course import draw_entropy
from vismodels.training.log import ScalarLog


def log(*values):
    made = ScalarLog()
    for iteration, value in enumerate(values, start=1):
        made.append(iteration, {"entropy": value})
    return made


def test_the_entropy_of_every_seed_is_told_with_its_first_and_last_value(tmp_path):
    picture = draw_entropy({"noise": [log(10.0, 2.0), log(10.0, 3.0)]}, tmp_path)
    assert "noise from 10.00 to 2.00, 3.00" in picture.alt
    assert (tmp_path / picture.file).stat().st_size > 1000
