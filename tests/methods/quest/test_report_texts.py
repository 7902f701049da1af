"""What the report tells of QuEST's runs against the settings of these runs."""

import pytest

from vismodels.config import parse_config
from vismodels.methods.quest.workflow_config import QuestWorkflowConfig
from vismodels.report.method_files import read_method_files
from vismodels.verify import load_config

PAPER = 2_200  # iterations of both stages
TABLES = {  # table of images -> problem, and the configuration that runs it
    "quality": ("scenes", "default"),
    "twenty_steps": ("scenes_20", "benchmark"),
    "transformer": ("transformer", "benchmark"),
}


@pytest.fixture(scope="module")
def problems():
    """Configuration -> problems of QuEST."""
    return {
        run: parse_config(QuestWorkflowConfig, load_config(run)["quest"], "quest").problems
        for run in ("default", "benchmark")
    }


@pytest.fixture(scope="module")
def files(project):
    page, _, claims = read_method_files("quest", project / "workflows")
    return {table.name: table for table in page.tables}, {each.id: each for each in claims.claims}


def recipe_of(problem, arm):
    """Return the only recipe of an arm."""
    (recipe,) = problem.arms[arm].grid.values()
    return recipe


def label_of(table, variant):
    (label,) = [row.label for row in table.rows if row.select.variant == variant]
    return label


@pytest.mark.parametrize("name", TABLES)
def test_captions_say_how_few_of_the_papers_iterations_are_run_and_from_where(
    name, problems, files
):
    problem, run = TABLES[name]
    recipe = recipe_of(problems[run][problem], "w4a4_tla_cma")
    assert recipe.closed_form is not None
    count = recipe.finetuning.iterations
    assert f"{count} of the paper's {PAPER:,} iterations, from the closed form" in " ".join(
        files[0][name].caption.split()
    )
    assert f"{count} iterations" in label_of(files[0][name], "w4a4_tla_cma")


@pytest.mark.parametrize("name", ["quality", "one_step", "size"])
@pytest.mark.parametrize("arm", ["w4a4_tla", "w4a4_tla_cma", "w4a4_paper"])
def test_labels_say_the_iterations_of_both_configurations(arm, name, problems, files):
    counts = {
        recipe_of(found["scenes"], arm).finetuning.iterations
        for found in problems.values()
        if arm in found["scenes"].arms
    }
    (count,) = counts
    assert f"(paper's form, {count:,} iterations)" in label_of(files[0][name], arm)


def test_one_arm_of_the_benchmark_runs_all_iterations_from_the_rounding_of_the_default(problems):
    arm = problems["benchmark"]["scenes"].arms["w4a4_paper"]
    rounded = recipe_of(problems["default"]["scenes"], "w4a4_reconstructed")
    recipe = recipe_of(problems["benchmark"]["scenes"], "w4a4_paper")
    assert arm.runs == 1
    assert (recipe.finetuning.variant, recipe.finetuning.iterations) == ("paper", PAPER)
    assert recipe.model_copy(update={"finetuning": None}) == rounded


def test_the_claim_of_the_paper_says_it_too(problems, files):
    count = recipe_of(problems["default"]["scenes"], "w4a4_tla_cma").finetuning.iterations
    text = " ".join(files[1]["quest-beats-its-start"].text.split())
    assert f"{count} of the paper's {PAPER:,} iterations from the closed form" in text


def test_no_claim_says_that_a_model_must_break(files):
    assert not any("break" in f"{claim.id} {claim.text}" for claim in files[1].values())


def test_what_claims_of_images_are_judged_on_stands_in_a_table(files):
    tables, claims = files
    for claim in claims.values():
        shown = [
            {column.metric for column in table.columns}
            for table in tables.values()
            if any(row.select.condition.items() >= claim.condition.items() for row in table.rows)
        ]
        assert claim.metric in set().union(*shown), claim.id


def test_the_same_noise_runs_through_every_row_of_the_default(problems):
    problem = problems["default"]["scenes"]
    assert set(problem.shown.arms) == set(problem.arms)
