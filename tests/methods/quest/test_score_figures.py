import pytest

from vismodels.methods.quest.score_figures import (
    draw_distances,
    draw_errors,
    draw_sizes,
    errors_of,
    values_of,
)
from vismodels.metrics.generation import FRECHET_DISTANCE, FRECHET_FLOOR
from vismodels.metrics.quantized import FILE_MB, OUTPUT_ERROR
from vismodels.results import Score, Value


def scored(variant, distance, seed=0, steps=4, floor=None):
    values = [Value(FRECHET_DISTANCE, distance)]
    values += [] if floor is None else [Value(FRECHET_FLOOR, floor)]
    return Score("quest_score", variant, values, seed, condition={"steps": steps})


def error(variant, timestep, percent, seed=0):
    condition = {"timestep": timestep}
    return Score(
        "quest_quantize", variant, [Value(OUTPUT_ERROR, percent)], seed, {}, (), {}, condition
    )


def size(variant, megabytes, seed=0):
    condition = {"what": "size", "settings": "only"}
    return Score("quest_quantize", variant, [Value(FILE_MB, megabytes)], seed, condition=condition)


RECORDS = [
    scored("float", -1e-12),
    scored("other_noise", 1.2, floor=1.2),
    scored("w8a8", -1e-12),  # rounding
    scored("w4a4", 20.0),
    scored("w4a4", 40.0, seed=1),
    scored("other_noise", 1.4, seed=1, floor=1.4),
    scored("other_noise", 2.0, steps=1, floor=2.0),
    scored("w8a8", 0.5, steps=1),
    scored("w4a4", 5.0, steps=1),
]
SIZES = {
    "w8a8": [size("w8a8", 0.9), error("w8a8", 100, 0.01), error("w8a8", 900, 0.02)],
    "w4a4": [
        size("w4a4", 0.5),
        size("w4a4", 0.7, seed=1),
        *(error("w4a4", t, p) for t, p in ((900, 4.0), (100, 8.0))),
        *(error("w4a4", t, p, seed=1) for t, p in ((900, 6.0), (100, 10.0))),
    ],
}


def test_records_of_all_seeds_are_found():
    assert values_of(RECORDS, "w4a4", FRECHET_DISTANCE, steps=4) == [20.0, 40.0]
    assert values_of(RECORDS, "w4a4", FRECHET_DISTANCE, steps=1) == [5.0]
    assert values_of(SIZES["w4a4"], "w4a4", FILE_MB, what="size") == [0.5, 0.7]
    assert values_of(RECORDS, "w2a2", FRECHET_DISTANCE, steps=4) == []


def test_errors_rise_with_the_timestep_and_stand_apart_by_seed():
    found = errors_of(SIZES["w4a4"], "w4a4")
    assert found == [([100.0, 900.0], [8.0, 4.0]), ([100.0, 900.0], [10.0, 6.0])]
    assert errors_of(SIZES["w4a4"], "w8a8") == []


def test_distances_are_told_by_step_with_their_floor(tmp_path):
    picture = draw_distances("scenes", ["w8a8", "w4a4"], RECORDS, (4, 1), tmp_path)
    assert (tmp_path / picture.file).stat().st_size > 5000
    assert "4 steps: floor 1.3, w8a8 -1e-12, w4a4 30; 1 step: floor 2, w8a8 0.5" in picture.alt


def test_distances_of_rounding_are_drawn_at_the_end_of_the_scale(tmp_path):
    arms = ["w8a8"]
    draw_distances("scenes", arms, RECORDS, (4,), tmp_path)
    first = (tmp_path / "distances_scenes.svg").read_bytes()
    changed = [scored("w8a8", 1e-9), scored("other_noise", 1.3, floor=1.3)]
    draw_distances("scenes", arms, changed, (4,), tmp_path)
    assert (tmp_path / "distances_scenes.svg").read_bytes() == first
    changed = [scored("w8a8", 1e-2), scored("other_noise", 1.3, floor=1.3)]
    draw_distances("scenes", arms, changed, (4,), tmp_path)
    assert (tmp_path / "distances_scenes.svg").read_bytes() != first


def test_sizes_are_means_over_seeds(tmp_path):
    picture = draw_sizes("scenes", SIZES, RECORDS, 4, tmp_path)
    assert (tmp_path / picture.file).stat().st_size > 5000
    assert "w8a8 0.900 MB and -1e-12; w4a4 0.600 MB and 30; floor 1.3" in picture.alt
    assert "at 4 steps" in picture.caption


def test_errors_are_told_from_the_first_step_to_the_last(tmp_path):
    picture = draw_errors("scenes", SIZES, tmp_path)
    assert (tmp_path / picture.file).stat().st_size > 5000
    assert "w8a8 0.02 % at 900, 0.01 % at 100; w4a4 5 % at 900, 9 % at 100" in picture.alt


@pytest.mark.parametrize("count", [1, 20])
def test_any_number_of_arms_can_be_drawn(tmp_path, count):
    sizes = {f"arm{n}": [size(f"arm{n}", n + 1.0), error(f"arm{n}", 9, 1.0)] for n in range(count)}
    records = [scored(arm, 3.0) for arm in sizes] + [scored("other_noise", 1.0, floor=1.0)]
    draw_distances("many", list(sizes), records, (4,), tmp_path)
    draw_sizes("many", sizes, records, 4, tmp_path)
    draw_errors("many", sizes, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
