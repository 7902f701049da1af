import pytest
import torch

from vismodels.methods.lineas.map_figures import draw_layers, draw_loss, draw_model_courses
from vismodels.methods.lineas.maps import AffineMap, Maps
from vismodels.metrics.scenes import ACCURACIES, LOWEST_ACCURACY
from vismodels.training.log import ScalarLog


def maps(**deviations):
    """Return maps of two units, of which the first deviates in scale."""
    return Maps(
        {
            layer: AffineMap(torch.tensor([1.0 + size, 1.0]), torch.zeros(2))
            for layer, size in deviations.items()
        }
    )


def log(**curves):
    made = ScalarLog()
    for number, values in enumerate(zip(*curves.values(), strict=True), start=1):
        made.append(number, dict(zip(curves, values, strict=True)))
    return made


def text_of(path):
    return path.read_text(encoding="utf-8")


def test_layers_are_named_from_top_to_bottom_and_the_most_changed_is_told(tmp_path):
    learnt = {"star": maps(early=0.5, late=-0.7), "night": maps(early=0.1, late=0.0)}
    picture = draw_layers("scenes", "lineas", learnt, tmp_path)
    assert picture.file == "layers_scenes_lineas.svg"
    assert "star: support 50 %, most is changed at late" in picture.alt
    assert "night: support 25 %, most is changed at early" in picture.alt
    drawn = text_of(tmp_path / picture.file)
    assert drawn.index("<!-- early -->") < drawn.index("<!-- late -->")


def test_of_many_layers_only_some_are_named(tmp_path):
    many = {f"layer{number:03d}": 0.1 for number in range(150)}
    picture = draw_layers("scenes", "lineas", {"star": maps(**many)}, tmp_path)
    drawn = text_of(tmp_path / picture.file)
    assert [f"<!-- layer{number:03d} -->" in drawn for number in range(6)] == [
        True, False, False, True, False, False,
    ]  # fmt: skip


def test_the_course_of_the_loss_is_told_as_means_over_seeds(tmp_path):
    logs = {"star": [log(loss=[4.0, 1.0]), log(loss=[2.0, 0.5])], "night": [log(loss=[1.0, 0.25])]}
    picture = draw_loss("scenes", "lineas", logs, tmp_path)
    assert (tmp_path / picture.file).stat().st_size > 1000
    assert "star from 3 to 0.75; night from 1 to 0.25" in picture.alt


def test_the_course_of_the_scene_model_names_every_attribute(tmp_path):
    names = [metric.name for metric in (*ACCURACIES.values(), LOWEST_ACCURACY)]
    course = log(**{name: [50.0, 90.0 + number] for number, name in enumerate(names)})
    picture = draw_model_courses([log(loss=[1.0, 0.5])], [course], tmp_path)
    told = ", ".join(f"{name} {90 + number:.1f} %" for number, name in enumerate(ACCURACIES))
    assert told in picture.alt
    assert "<!-- lowest -->" in text_of(tmp_path / "scene_model.svg")


def test_a_course_without_an_attribute_is_refused(tmp_path):
    with pytest.raises(KeyError, match="lowest_accuracy"):
        draw_model_courses([log(loss=[1.0])], [log(size_accuracy=[1.0])], tmp_path)
