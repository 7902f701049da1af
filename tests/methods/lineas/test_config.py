import pytest
import yaml
from pydantic import ValidationError

from vismodels.config import ConfigError, merged, parse_config
from vismodels.methods.lineas.config import (
    ActConfig,
    ArmConfig,
    CallConfig,
    FitConfig,
    LineasConfig,
    OutsidePipeline,
    PromptCounts,
    PromptEditMethod,
)


def test_defaults_are_the_papers_for_text_to_image():
    config = FitConfig()
    assert config.layers == ("unet.*norm.*",)
    assert (config.iterations, config.batch_size) == (1000, 4)
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("adamw", 1e-4)
    assert (config.pooling, config.scaling, config.reduction) == ("mean", "none", "mean")
    assert (config.mode, config.noise, config.sparsity.gamma) == ("all", "fresh", 0)
    assert (config.call.num_inference_steps, config.call.guidance_scale) == (1, 0)
    assert (config.post_iterations, config.sparsity.l1, config.sparsity.group) == (0, 1, 1)


def test_linear_act_is_sequential_by_default():
    assert (ActConfig().estimator, ActConfig().order) == ("linear", "sequential")


def test_a_batch_below_four_is_refused_unless_forced():
    with pytest.raises(ValidationError, match="at least 4"):
        FitConfig(batch_size=3)
    assert FitConfig(batch_size=3, force_small_batch=True).batch_size == 3


def test_closed_forms_need_one_number_for_each_unit():
    with pytest.raises(ValidationError, match="mean_std"):
        ActConfig(pooling="mean_std")


def test_a_pattern_that_is_none_is_refused_when_it_is_read():
    with pytest.raises(ConfigError, match=r"lineas\.layers.*regular expression"):
        parse_config(FitConfig, {"layers": ["unet.(norm"]}, "lineas")


def test_a_call_names_only_what_is_given():
    assert CallConfig().arguments() == {"num_inference_steps": 1, "guidance_scale": 0}
    one_step = CallConfig(timesteps=(399,), max_sequence_length=256).arguments()
    assert one_step["timesteps"] == [399]  # diffusers wants a list
    assert set(one_step) - set(CallConfig().arguments()) == {"timesteps", "max_sequence_length"}


# --- arms and problems -------------------------------------------------------------------------

MAPS = {"kind": "lineas"}
CLOSED = {"kind": "act"}
NEGATIVE = {"kind": "negative_prompt", "guidance_scale": 2.0}


def problem(arms=None, evaluation=None, **changes):
    """Return the section of a problem, as read from YAML."""
    return {
        "pipeline": {"kind": "scenes"},
        "concepts": ["star", "night"],
        "arms": arms or {"lineas": {"grid": {"a": MAPS}}, "negative": {"grid": {"a": NEGATIVE}}},
        "evaluation": {"strengths": [1.0], **(evaluation or {})},
        **changes,
    }


def section(seeds=(0,), **problems):
    return {"seeds": list(seeds), "problems": problems or {"scenes": problem()}}


def parse(section):
    return parse_config(LineasConfig, section, "lineas")


def test_counts_of_prompts_to_learn_from_are_the_papers():
    assert (PromptCounts().source, PromptCounts().target) == (32, 32)


def test_a_grid_holds_settings_of_one_kind():
    assert len(ArmConfig(grid={"a": CLOSED, "b": {**CLOSED, "pooling": "max"}}).grid) == 2
    with pytest.raises(ValidationError, match="settings of one kind, got act, lineas"):
        ArmConfig(grid={"a": CLOSED, "b": MAPS})


def test_only_methods_that_are_learnt_have_maps():
    assert [ArmConfig(grid={"a": method}).has_maps for method in (MAPS, CLOSED, NEGATIVE)] == [
        True,
        True,
        False,
    ]


def test_null_leaves_out_settings_arms_and_problems():
    arms = {"lineas": {"grid": {"a": MAPS, "b": None}}, "negative": None}
    config = parse(section(scenes=problem(arms), other=None))
    assert list(config.problems) == ["scenes"]
    assert list(config.problems["scenes"].arms) == ["lineas"]
    assert list(config.problems["scenes"].arms["lineas"].grid) == ["a"]


@pytest.mark.parametrize("template", ["{prompt} without", "no {words}"])
def test_an_edit_of_prompts_has_a_place_for_prompt_and_words(template):
    with pytest.raises(ValidationError, match="template has no"):
        PromptEditMethod(kind="prompt_edit", template=template)


@pytest.mark.parametrize(
    "template",
    ["{prompt} no {word}", "{prompt} no {words", "{prompt} {words} {}", "{prompt:d} {words}"],
)
def test_an_edit_of_prompts_has_no_other_place(template):
    with pytest.raises(ValidationError, match="other places than"):
        PromptEditMethod(kind="prompt_edit", template=template)


def test_braces_of_a_template_are_doubled_and_hold_no_place():
    with pytest.raises(ValidationError, match=r"template has no \{words\}"):
        PromptEditMethod(kind="prompt_edit", template="{prompt} no {{words}}")
    assert PromptEditMethod(kind="prompt_edit", template="{{{prompt}}} no {words}")


@pytest.mark.parametrize("key", ["folded", "inverted", "composed", "shown"])
def test_arms_that_are_named_exist(key):
    with pytest.raises(ConfigError, match=rf"{key}: no arm 'linaes'; did you mean 'lineas'"):
        parse(section(scenes=problem(evaluation={key: ["linaes"]})))


@pytest.mark.parametrize("key", ["folded", "inverted", "composed"])
def test_only_maps_are_folded_inverted_and_composed(key):
    with pytest.raises(ConfigError, match=rf"evaluation\.{key}: 'negative' has no maps"):
        parse(section(scenes=problem(evaluation={key: ["negative"]})))
    assert parse(section(scenes=problem(evaluation={"shown": ["negative"]})))


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("folded", {"mask": "pooled"}, "maps with mask: pooled cannot be folded"),
        ("folded", {"mode": "avg"}, "maps with mode: avg cannot be folded"),
        ("folded", {"mode": "last"}, "maps with mode: last cannot be folded"),
        ("composed", {"mask": "positions"}, "maps with mask: positions cannot be composed"),
        ("composed", {"mode": "avg"}, None),
        ("inverted", {"mode": "image_avg", "mask": "pooled"}, None),
    ],
)
def test_maps_that_could_not_be_folded_or_composed_are_refused(key, change, message):
    arms = {"act": {"grid": {"a": CLOSED, "b": {**CLOSED, **change}}}}
    problems = section(scenes=problem(arms, {key: ["act"]}))
    if message is None:
        assert parse(problems)
    else:
        with pytest.raises(ConfigError, match=rf"evaluation\.{key}: {message}.*act\.grid\.b"):
            parse(problems)


@pytest.mark.parametrize("method", [MAPS, CLOSED])
def test_an_arm_has_no_call_of_its_own(method):
    """It would be ignored: images are scored with the problem's."""
    arms = {"maps": {"grid": {"a": {**method, "call": {"num_inference_steps": 2}}}}}
    with pytest.raises(ConfigError, match=r"arms\.maps.*grid\.a\.call: .* set it there"):
        parse(section(scenes=problem(arms)))


@pytest.mark.parametrize(
    ("samples", "batch_size", "message"),
    [
        (8, 8, None),
        (None, 8, None),
        (9, 8, r"arms\.maps\.samples: 9 of each side are wanted, .* 10 source and 8 target"),
        (4, 8, r"maps\.grid\.a\.batch_size: a batch of 8 cannot be drawn from 4 source prompts"),
        (None, 11, "a batch of 11 cannot be drawn from 10 source prompts"),
    ],
)
def test_there_are_as_many_prompts_as_samples_and_batches_ask_for(samples, batch_size, message):
    arms = {"maps": {"samples": samples, "grid": {"a": {**MAPS, "batch_size": batch_size}}}}
    problems = section(scenes=problem(arms, prompts={"source": 10, "target": 8}))
    if message is None:
        assert parse(problems)
    else:
        with pytest.raises(ConfigError, match=message):
            parse(problems)


def test_the_calls_of_closed_forms_may_hold_fewer_prompts_than_a_batch():
    arms = {"act": {"samples": 4, "grid": {"a": {**CLOSED, "batch_size": 32}}}}
    assert parse(section(scenes=problem(arms)))


@pytest.mark.parametrize("part", ["validation", "test"])
def test_images_are_judged_by_those_of_other_prompts(part):
    with pytest.raises(ConfigError, match=rf"prompts\.{part}"):
        parse(section(scenes=problem(prompts={part: 1})))


def test_composed_concepts_are_those_of_the_problem():
    with pytest.raises(ConfigError, match="no concept 'nihgt'; did you mean 'night'"):
        parse(section(scenes=problem(evaluation={"compositions": [["star", "nihgt"]]})))


def test_an_arm_has_no_more_runs_than_there_are_seeds():
    arms = {"lineas": {"runs": 3, "grid": {"a": MAPS}}}
    assert parse(section(range(3), scenes=problem(arms)))
    with pytest.raises(ConfigError, match=r"scenes\.arms\.lineas runs on 3 seeds, but there are 2"):
        parse(section(range(2), scenes=problem(arms)))


@pytest.mark.parametrize("strength", [0.0, 1.1])
def test_strengths_are_above_0_and_at_most_1(strength):
    with pytest.raises(ConfigError, match=r"evaluation\.strengths"):
        parse(section(scenes=problem(evaluation={"strengths": [strength]})))


@pytest.mark.parametrize("arms", [{}, {"lineas": None}, {"lineas": {"grid": {}}}])
def test_a_problem_needs_an_arm_and_an_arm_needs_settings(arms):
    with pytest.raises(ConfigError):
        parse(section(scenes={**problem(), "arms": arms}))


OUTSIDE = {"kind": "diffusers", "source": "owner/name"}


def test_an_outside_pipeline_is_in_bfloat16_with_its_own_parts_by_default():
    config = OutsidePipeline(**OUTSIDE)
    assert (config.denoiser, config.scheduler, config.dtype) == (None, "own", "bfloat16")


def test_concepts_of_outside_pipelines_are_those_there_are_prompts_for():
    assert parse(section(sdxl=problem(pipeline=OUTSIDE, concepts=["low_poly", "car"])))
    with pytest.raises(ConfigError, match="no prompts about 'fish_eye'; did you mean 'fisheye'"):
        parse(section(sdxl=problem(pipeline=OUTSIDE, concepts=["fish_eye"])))


def test_compositions_need_the_labels_of_scenes():
    with pytest.raises(ConfigError, match="only of scenes the labels of both are known"):
        parse(
            section(
                sdxl=problem(
                    pipeline=OUTSIDE,
                    concepts=["car", "book"],
                    evaluation={"compositions": [["car", "book"]]},
                )
            )
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "scene"}, "pipeline"),
        ({**OUTSIDE, "schedular": "lcm"}, "did you mean 'scheduler'"),
        ({**OUTSIDE, "scheduler": "ddim"}, r"pipeline.*scheduler"),
    ],
)
def test_unknown_names_in_a_pipeline_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        parse(section(scenes=problem(pipeline=change)))


# --- the project's own -------------------------------------------------------------------------


@pytest.fixture
def configured(project):
    """Return a function that reads the section of a run."""

    def read(run):
        sections = (
            yaml.safe_load((project / f"workflows/config/{name}.yaml").read_text())["lineas"]
            for name in ("default", run)
        )
        return parse(merged(*sections))

    return read


@pytest.mark.parametrize("run", ["default", "test", "benchmark"])
def test_runs_on_this_machine_steer_the_scene_model(configured, run):
    assert list(configured(run).problems) == ["scenes"]


def test_the_papers_run_chooses_nothing_and_has_its_fifteen_concepts(configured):
    problems = configured("paper").problems
    assert list(problems) == ["sdxl_dmd2", "sdxl_lightning", "flux_schnell"]
    for each in problems.values():
        assert len(set(each.concepts)) == 15
        assert all(len(arm.grid) == 1 for arm in each.arms.values())


def test_the_table_of_sparsity_names_the_gammas_of_the_benchmark(configured, project):
    arms = configured("benchmark").problems["scenes"].arms
    page = yaml.safe_load((project / "workflows/tables/lineas.yaml").read_text())
    (table,) = [each for each in page["tables"] if each["name"] == "sparsity"]
    labels = {row["select"]["variant"]: row["label"] for row in table["rows"]}
    for name in ("sparse_1", "sparse_2", "sparse_3"):
        gamma = arms[name].grid["fixed"].sparsity.gamma
        assert labels[f"{name}_at_100"] == f"gamma {gamma:g}"
