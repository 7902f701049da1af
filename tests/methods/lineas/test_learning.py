import pytest
from small_concepts import CALL, EDIT, LINEAS, MEAN, about_star, guidance

from vismodels.checkpoint import tensor_digest
from vismodels.methods.lineas.baselines import fit_closed_form
from vismodels.methods.lineas.fit import fit
from vismodels.methods.lineas.learning import learn
from vismodels.methods.lineas.prompting import NegativePrompt
from vismodels.training.log import ScalarLog


class Untouchable:
    """Prompts that must not be read."""

    def __iter__(self):
        raise AssertionError("these prompts are not to learn from")

    def __getitem__(self, key):
        raise AssertionError("these prompts are not to learn from")


def digest(maps):
    return tensor_digest(
        {f"{layer}.{k}": v for layer, each in maps.items() for k, v in each.tensors().items()}
    )


def sealed():
    """Return prompts of which only source and target can be read."""
    about = about_star()
    for part in ("validation", "test"):
        object.__setattr__(about, part, Untouchable())
    return about


@pytest.mark.parametrize(("method", "fitted"), [(LINEAS, fit), (MEAN, fit_closed_form)])
def test_maps_are_learnt_from_source_and_target_alone(sd, method, fitted):
    about = sealed()
    maps = learn(sd, about, method, call=CALL, seed=3)
    again = fitted(sd, about.source, about.target, method, seed=3, call=CALL.arguments())
    assert digest(maps) == digest(again)
    assert maps.about == again.about
    assert digest(maps) != digest(learn(sd, about, method, call=CALL, seed=4))


def test_the_first_samples_of_each_side_count(sd):
    some = learn(sd, about_star(), MEAN, samples=3, call=CALL, seed=0)
    about = about_star()
    fewer = about_star(source=about.source[:3], target=about.target[:3])
    assert digest(some) == digest(learn(sd, fewer, MEAN, call=CALL, seed=0))
    assert some.about["prompts"] == [3, 3]


def test_more_samples_than_prompts_are_refused(sd):
    with pytest.raises(ValueError, match=r"5 samples .* 4 source and 4 target .*raise prompts"):
        learn(sd, about_star(), MEAN, samples=5, call=CALL, seed=0)


def test_the_course_of_lineas_is_logged_and_its_checkpoint_kept(sd, tmp_path):
    log, about = ScalarLog(), about_star()
    learn(sd, about, LINEAS, call=CALL, seed=0, log=log, checkpoint_dir=tmp_path)
    assert log.iterations == [1, 2, 3]
    assert list(tmp_path.iterdir())


def test_prompt_methods_learn_nothing():
    assert learn(None, sealed(), guidance(4.0), call=CALL, seed=0) == NegativePrompt("star", 4.0)
    edit = learn(None, sealed(), EDIT, call=CALL, seed=0)
    assert edit(["a cube"], 1.0) == {"prompt": ["star a cube"]}
