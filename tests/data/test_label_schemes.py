import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vismodels.data.label_schemes import SCHEME_NAMES, LabelError, LabelScheme, scheme_by_name

MSD_NAMES = {0: "background", 1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour"}
# healthy, edema, core without enhancement, enhancing tumor
TABLE = {"brats2021": [0, 2, 1, 4], "brats2023": [0, 2, 1, 3], "msd": [0, 1, 2, 3]}


@pytest.mark.parametrize(("name", "labels"), TABLE.items())
def test_labels_mean_the_levels_of_the_published_tables(name, labels):
    levels = scheme_by_name(name).to_levels(np.array([labels]))
    assert (levels.dtype, levels.tolist()) == (np.uint8, [[0, 1, 2, 3]])


@given(
    st.sampled_from(SCHEME_NAMES),
    hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, min_side=0), elements=st.integers(0, 3)),
)
def test_levels_and_labels_come_back_exactly(name, levels):
    scheme = scheme_by_name(name)
    labels = scheme.to_labels(levels)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(scheme.to_levels(labels), levels)
    np.testing.assert_array_equal(scheme.to_labels(scheme.to_levels(labels)), labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64, ">i2"])
def test_files_may_store_labels_in_any_type_of_number(dtype):
    labels = np.array([[0, 4], [2, 1]], dtype)
    assert scheme_by_name("brats2021").to_levels(labels).tolist() == [[0, 3], [1, 2]]


@pytest.mark.parametrize("name", ["brats2023", "msd"])
def test_label_4_is_refused_as_cavity_or_older_file(name):
    with pytest.raises(LabelError, match="cavity") as caught:
        scheme_by_name(name).to_levels(np.array([0, 1, 4, 4]))
    for part in (f"scheme '{name}'", "4 (2 voxels)", "extra={4: 0}", "'brats2021'"):
        assert part in str(caught.value)


def test_label_3_is_refused_where_enhancing_tumor_is_4():
    with pytest.raises(LabelError, match="pass the scheme 'brats2023' or 'msd'"):
        scheme_by_name("brats2021").to_levels(np.array([0, 3, 2]))


def test_labels_3_and_4_together_are_refused_by_every_scheme():
    for name in SCHEME_NAMES:
        with pytest.raises(LabelError, match="has the labels"):
            scheme_by_name(name).to_levels(np.arange(5))


def test_unknown_labels_are_listed_with_their_counts():
    with pytest.raises(LabelError, match=r"not -1 \(1 voxels\), 7 \(3 voxels\); if these are"):
        scheme_by_name("msd").to_levels(np.array([7, 7, 7, 0, -1]))
    with pytest.raises(LabelError, match="and 251 more"):
        scheme_by_name("brats2023").to_levels(np.arange(4, 260))


def test_extra_rule_counts_a_cavity_as_background_and_is_never_written():
    scheme = scheme_by_name("brats2023", {4: 0})
    levels = scheme.to_levels(np.array([0, 1, 2, 3, 4]))
    assert levels.tolist() == [0, 2, 1, 3, 0]
    assert scheme.to_labels(levels).tolist() == [0, 1, 2, 3, 0]
    assert scheme_by_name("brats2023").extra == {}


def test_extra_rule_reads_the_separate_core_label_of_older_sets():
    levels = scheme_by_name("brats2021", {3: 2}).to_levels(np.array([0, 1, 2, 3, 4]))
    assert levels.tolist() == [0, 2, 1, 2, 3]


@pytest.mark.parametrize("extra", [{2: 0}, {0: 1}, {4: 4}, {4: -1}])
def test_extra_rule_that_redefines_a_label_or_names_no_level_is_refused(extra):
    with pytest.raises(ValueError, match="scheme 'msd': expected"):
        scheme_by_name("msd", extra)


@pytest.mark.parametrize("labels", [(0, 100, 200, 300), (-1, 1, 2, 3)])
def test_labels_that_a_file_of_bytes_cannot_hold_are_refused(labels):
    """As uint8, 300 would be written as 44."""
    with pytest.raises(ValueError, match=r"scheme 'x': expected labels 0 to 255, .* got \("):
        LabelScheme("x", labels)
    largest = LabelScheme("x", (0, 100, 200, 255))
    assert largest.to_labels(np.arange(4)).tolist() == [0, 100, 200, 255]


def test_a_scheme_without_0_refuses_0():
    with pytest.raises(LabelError, match="not 0"):
        LabelScheme("ones", (1, 2, 3, 4)).to_levels(np.array([0, 1]))


@pytest.mark.parametrize("labels", [[0, 1.5, 1], [np.nan, 1], [np.inf, 0.5]])
def test_values_between_labels_are_refused(labels):
    with pytest.raises(LabelError, match="resample them with the nearest neighbor"):
        scheme_by_name("msd").to_levels(np.array(labels))


@pytest.mark.parametrize("labels", [[True, False], [1j], ["edema"]])
def test_what_is_no_number_is_refused(labels):
    with pytest.raises(LabelError, match="expected one number for each voxel"):
        scheme_by_name("msd").to_levels(np.array(labels))


@pytest.mark.parametrize("levels", [[0, 4], [-1], [1.0]])
def test_levels_outside_of_the_hierarchy_are_never_written(levels):
    with pytest.raises(ValueError, match=r"expected integer levels in 0\.\.3"):
        scheme_by_name("msd").to_labels(np.array(levels))


def test_unknown_scheme_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"no label scheme 'brats21'; did you mean 'brats2021'\?"):
        scheme_by_name("brats21")
    with pytest.raises(ValueError, match="known: brats2021, brats2023, msd"):
        scheme_by_name("x")


def test_names_that_a_set_states_contradict_a_scheme_that_exchanges_them():
    scheme_by_name("msd").refuse_other_names(MSD_NAMES)
    for name in ("brats2021", "brats2023"):
        with pytest.raises(LabelError, match=r"1 'edema', 2 'non-enhancing tumor', .*pass 'msd'"):
            scheme_by_name(name).refuse_other_names(MSD_NAMES)


@pytest.mark.parametrize(
    "name",
    ["non-enhancing tumor", "non enhancing tumor", "nonenhancing tumor", "Non-Enhancing Tumour",
     "Necrotic and non-enhancing"],
)  # fmt: skip
def test_a_core_without_enhancement_is_none_that_enhances_however_it_is_spelled(name):
    names = {1: "edema", 2: name, 3: "enhancing tumor"}
    scheme_by_name("msd").refuse_other_names(names)
    with pytest.raises(LabelError, match=r"pass 'msd'$"):
        scheme_by_name("brats2023").refuse_other_names(names)


def test_names_of_no_known_tissue_decide_nothing():
    scheme_by_name("brats2021").refuse_other_names({0: "background", 1: "tumor", 2: "other"})


def test_names_that_fit_no_scheme_are_refused_without_advice():
    with pytest.raises(LabelError, match="no scheme has these"):
        scheme_by_name("msd").refuse_other_names({3: "Edema", 1: "Necrosis", 2: "Enhancing"})
