import shutil

import numpy as np
import pytest

from vismodels.cards.find import ChecksumError, DataMissingError
from vismodels.cards.schema import list_cards, load_card
from vismodels.config import ConfigError, parse_config
from vismodels.data.images import write_png
from vismodels.data.manifest import (
    ACQUIRED,
    PhotographsConfig,
    acquire,
    card_files,
    is_generated,
    is_present,
    locate,
    read_acquired,
    refuse_changed,
    refuse_leaks,
    write_acquired,
)
from vismodels.files import FileError, file_digest

PACKAGED = "wheel_photographs"


def photograph(path, seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    write_png(path, levels)


@pytest.fixture
def root(tmp_path):
    """A data root, with blanks and umlauts in its name, that holds a set without a card."""
    place = tmp_path / "Daten mit ü: #1"
    for number, name in enumerate(("a.png", "b ü.png")):
        photograph(place / "sr" / "Urban100" / name, number)
    return place


# --- where sets are ----------------------------------------------------------------------------


def test_a_set_inside_packages_is_located_without_a_data_root(tmp_path):
    found = locate(PACKAGED, tmp_path / "absent")
    assert found.card.name == PACKAGED
    assert all(path.is_file() for path in found.files.values())


def test_a_folder_without_a_card_is_located_by_its_name(root):
    found = locate("Urban100", root)
    assert list(found.files) == ["a.png", "b ü.png"]
    assert found.card.name == "sr/Urban100"


def test_an_absent_set_says_where_it_is_expected_and_how_to_get_it(tmp_path):
    places = (("set5", "sr/Set5"), ("Urban100", "sr/Urban100"), ("Urban100", "dibco/Urban100"))
    for name, place in places:
        with pytest.raises(DataMissingError) as caught:
            locate(name, tmp_path)
        assert str(tmp_path / place) in str(caught.value)
        assert "how to get it" in str(caught.value)
        assert "licence" in str(caught.value)


def test_a_folder_of_pages_without_a_card_is_located_by_its_name(root):
    photograph(root / "dibco" / "Letters ü" / "a_source.png")
    found = locate("Letters ü", root)
    assert list(found.files) == ["a_source.png"]
    assert found.card.name == "dibco/Letters ü"
    assert is_present("Letters ü", root)


def test_a_folder_of_pages_without_images_is_missing_at_its_own_place_only(root):
    (root / "dibco" / "Empty").mkdir(parents=True)
    with pytest.raises(DataMissingError, match="dibco/Empty: missing data") as caught:
        locate("Empty", root)
    assert "sr/Empty" not in str(caught.value)


def test_a_name_of_two_folders_without_a_card_is_refused(root):
    photograph(root / "dibco" / "Urban100" / "a_source.png")
    with pytest.raises(ConfigError, match=r"'Urban100' .* is in sr/Urban100 and dibco/Urban100"):
        locate("Urban100", root)


@pytest.mark.parametrize("name", ["..", "../secret", "../../etc"])
def test_a_name_that_leads_out_of_the_data_root_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"without '\.\.'"):
        locate(name, tmp_path)


def test_a_set_is_generated_if_its_card_says_so():
    assert is_generated("glioma_semisynthetic")
    assert not is_generated("brats2021")
    assert not is_generated("Urban100")  # without a card


def test_a_set_is_present_if_its_place_exists(root):
    assert is_present(PACKAGED, root)
    assert is_present("Urban100", root)
    assert not is_present("set5", root)
    assert not is_present("BSD100", root)
    assert not is_present("set5", root / "absent")


def test_a_set_with_a_file_missing_is_present_and_refused_when_acquired(root):
    photograph(root / "sr" / "Set5" / "img_001_SRF_4_HR.png")
    assert is_present("set5", root)
    with pytest.raises(DataMissingError, match="set5: missing data"):
        acquire("set5", root)


def test_a_file_where_a_folder_is_expected_is_present_and_refused_when_acquired(root):
    (root / "sr" / "Set5").write_text("not a folder")
    assert is_present("set5", root)
    with pytest.raises(DataMissingError, match="sr/Set5"):
        acquire("set5", root)


def test_only_sets_with_a_card_have_a_card_file(project):
    for name in list_cards():
        (path,) = card_files(name)
        assert (project / path).is_file()
    assert card_files("Urban100") == []


# --- what is acquired --------------------------------------------------------------------------


def test_packaged_photographs_are_all_verified_and_have_their_split(tmp_path):
    acquired = acquire(PACKAGED, tmp_path)
    assert acquired.card["name"] == PACKAGED
    assert all(item["verified"] for item in acquired.items.values())
    splits = {item["split"] for item in acquired.items.values()}
    assert splits >= {"train", "validation", "test"}
    assert acquired.items["chelsea.png"]["split"] == "test"
    score = acquired.score
    assert (score.stage, score.variant) == ("data_acquire", PACKAGED)
    assert score.value("items").value == score.value("verified").value == len(acquired.items)


def test_items_of_a_folder_without_a_card_are_not_verified_and_in_no_split(root):
    acquired = acquire("Urban100", root)
    place = root / "sr" / "Urban100"
    assert acquired.items == {
        name: {"sha256": file_digest(place / name), "verified": False, "split": None}
        for name in ("a.png", "b ü.png")
    }
    assert acquired.score.value("items").value == 2
    assert acquired.score.value("verified").value == 0


def test_a_file_that_the_card_does_not_mean_is_refused_by_both_digests(root):
    file = load_card("set5").files[0]
    for other in load_card("set5").files:
        photograph(root / "sr" / "Set5" / other.path)
    found = file_digest(root / "sr" / "Set5" / file.path)
    with pytest.raises(ChecksumError) as caught:
        acquire("set5", root)
    assert f"{file.path}: expected sha256 {file.sha256}, found {found}" in str(caught.value)


def test_what_was_acquired_is_read_back(root, tmp_path):
    acquired = acquire("Urban100", root)
    write_acquired(acquired, tmp_path)
    assert read_acquired(tmp_path) == (acquired.card, acquired.items)


@pytest.mark.parametrize("content", ["[]", "{}", '{"card": {}}', "3"])
def test_a_damaged_list_is_named(tmp_path, content):
    (tmp_path / ACQUIRED).write_text(content)
    with pytest.raises(FileError, match=r"acquired\.json: not what acquiring wrote; remove"):
        read_acquired(tmp_path)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda place: photograph(place / "a.png", 7), "a.png"),
        (lambda place: photograph(place / "c.png"), "c.png"),
        (lambda place: (place / "b ü.png").unlink(), "b ü.png"),
        (lambda place: shutil.move(place / "a.png", place / "z.png"), "a.png"),
    ],
)
def test_data_that_came_went_or_changed_is_refused(root, change, name):
    items = acquire("Urban100", root).items
    refuse_changed(locate("Urban100", root), items)  # as it was: fine
    change(root / "sr" / "Urban100")
    with pytest.raises(FileError, match=f"are not what was acquired .e.g. {name}.*put the data"):
        refuse_changed(locate("Urban100", root), items)


def test_the_section_of_photographs_refuses_sets_outside_the_data_root():
    with pytest.raises(ConfigError, match="should match pattern"):
        parse_config(PhotographsConfig, {"scale": 4, "shrink_jpeg": ["../a"]}, "photographs")
    with pytest.raises(ConfigError, match="Input should be 2, 3 or 4"):
        parse_config(PhotographsConfig, {"scale": 8, "shrink_jpeg": []}, "photographs")


def test_a_set_without_splits_serves_one_purpose_only():
    refuse_leaks(train=["mine"], validation=["wheel_photographs"], test=["wheel_photographs"])
    with pytest.raises(ConfigError, match="'mine' is named for train and test"):
        refuse_leaks(train=["mine"], validation=[], test=["other", "mine"])


def test_a_card_whose_one_split_is_whole_serves_one_purpose_only():
    assert set(load_card("DIBCO2014").splits) == {"whole"}
    refuse_leaks(train=["DIBCO2009"], validation=["DIBCO2014"], test=["DIBCO2016"])
    with pytest.raises(ConfigError, match="'DIBCO2014' is named for train and validation"):
        refuse_leaks(train=["DIBCO2009", "DIBCO2014"], validation=["DIBCO2014"], test=[])
