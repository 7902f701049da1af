import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2gray

from vismodels.cards.find import find
from vismodels.data.documents import (
    grey_levels,
    match_pairs,
    prepare_documents,
    read_document_pages,
    read_page,
    read_scans,
    text_mask,
)
from vismodels.data.images import read_image
from vismodels.data.manifest import acquire, write_acquired
from vismodels.files import FileError

HEIGHT, WIDTH = 12, 20


def scan(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def truth(seed=0):
    """A ground truth of two levels, a tenth of it text."""
    dark = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.1
    return np.where(dark, 0, 255).astype(np.uint8)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "Daten mit ü"


def put(root, name, image, mode=None):
    """Write an array, or a Pillow image, as a file of the set `Letters`, which has no card."""
    path = root / "dibco" / "Letters" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(path)
    return path


def put_page(root, page="a", source=None, target=None):
    put(root, f"{page}_source.png", scan() if source is None else source)
    put(root, f"{page}_target.png", truth() if target is None else target)


def prepare(root, tmp_path, name="Letters"):
    """Acquire and prepare a set; return the folder of pages and the record."""
    write_acquired(acquire(name, root), tmp_path / "acquired")
    folder = tmp_path / "prepared"
    return folder, prepare_documents(name, root, tmp_path / "acquired", folder)


def page_of(root, tmp_path):
    folder, _ = prepare(root, tmp_path)
    (page,) = read_document_pages([folder], "test")
    return page


# --- pages and their record --------------------------------------------------------------------


def test_a_page_is_its_scan_and_black_text_on_white(root, tmp_path):
    put_page(root)
    page = page_of(root, tmp_path)
    assert page.name == "a"
    assert page.words == ()
    assert np.array_equal(page.degraded, scan())
    assert np.array_equal(page.clean, np.repeat(truth()[:, :, None], 3, axis=2))


def test_the_record_counts_pages_pixels_text_and_many_levels(root, tmp_path):
    few = np.full((HEIGHT, WIDTH), 255, np.uint8)
    few[0, :12] = 0  # 5 % of 240 pixels
    many = few.copy()
    many[0, 12:24] = 100  # the 8 pixels left in the row
    many[1, 0] = 200
    put_page(root, "a", target=few)
    put_page(root, "b", target=many)
    _, score = prepare(root, tmp_path)
    assert (score.stage, score.variant) == ("data_documents", "Letters")
    assert score.dataset == {"card": "Letters", "items": 2}
    assert score.budget == {"whole": 2}
    assert score.value("items").value == 2
    assert score.value("page_megapixels").value == 480e-6
    assert score.value("many_leveled").value == 1
    assert score.value("text_share").items == pytest.approx({"a": 5, "b": 100 * 20 / 240})
    assert score.value("text_share").value == pytest.approx((5 + 100 * 20 / 240) / 2)


def test_pages_of_several_sets_are_read_together_and_twice_a_name_is_refused(root, tmp_path):
    put_page(root, "b")
    put_page(root, "a")
    folder, _ = prepare(root, tmp_path)
    assert [page.name for page in read_document_pages([folder], "train")] == ["a", "b"]
    with pytest.raises(ValueError, match="two pages have the name 'a'"):
        read_document_pages([folder, folder], "train")


def test_a_page_without_text_is_kept(root, tmp_path):
    put_page(root, target=np.full((HEIGHT, WIDTH), 255, np.uint8))
    assert (page_of(root, tmp_path).clean == 255).all()


def test_a_split_that_was_not_prepared_is_named(tmp_path):
    with pytest.raises(FileError, match="letters/train: holds no pages"):
        read_document_pages([tmp_path / "letters"], "train")


def test_targets_of_a_card_for_deblurring_stay_pictures(root, tmp_path):
    folder = root / "deblurring" / "BMVC2015"
    folder.mkdir(parents=True)
    for number in range(7, 10):
        Image.fromarray(scan(number)).save(folder / f"000000{number}_source.png")
        Image.fromarray(scan(number + 100)).save(folder / f"000000{number}_target.png")
    prepared, score = prepare(root, tmp_path, "bmvc2015_text")
    (page,) = read_document_pages([prepared], "validation")
    assert page.name == "0000008"
    assert np.array_equal(page.clean, scan(108))
    assert score.budget == {"train": 1, "validation": 1, "test": 1}


def test_preparing_again_gives_equal_bytes(root, tmp_path):
    put_page(root)
    first, _ = prepare(root, tmp_path)
    again, _ = prepare(root, tmp_path / "again")
    names = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert len(names) == 3
    for name in names:
        assert (first / name).read_bytes() == (again / name).read_bytes()


# --- formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("png", "1"),
        ("png", "L"),
        ("png", "P"),
        ("png", "RGB"),
        ("png", "RGBA"),
        ("png", "LA"),
        ("bmp", "1"),
        ("tiff", "1"),
        ("TIF", "L"),
        ("webp", "RGB"),
    ],
)
def test_a_ground_truth_is_the_same_in_every_format(root, tmp_path, name, mode):
    put(root, "a_source.png", scan())
    target = Image.fromarray(truth()).convert(mode)
    path = root / "dibco" / "Letters" / f"a_target.{name}"
    target.save(path, **({"lossless": True} if name == "webp" else {}))
    assert np.array_equal(page_of(root, tmp_path).clean[:, :, 0], truth())


def test_a_ground_truth_of_16_bits_keeps_its_text(root, tmp_path):
    put(root, "a_source.png", scan())
    put(root, "a_target.png", truth().astype(np.uint16) * 257)
    assert np.array_equal(page_of(root, tmp_path).clean[:, :, 0], truth())


def test_a_grey_scan_is_repeated_and_one_of_16_bits_loses_its_low_byte(root, tmp_path):
    grey = scan()[:, :, 0]
    for image in (grey, grey.astype(np.uint16) * 256 + 255):
        put_page(root, source=image)
        degraded = page_of(root, tmp_path).degraded
        assert np.array_equal(degraded, np.repeat(grey[:, :, None], 3, axis=2))


def test_levels_of_a_ground_truth_below_128_are_text(root, tmp_path):
    levels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    levels[0, :4] = (0, 127, 128, 254)
    put_page(root, target=levels)
    assert page_of(root, tmp_path).clean[0, :5, 0].tolist() == [0, 0, 255, 255, 255]


def test_transparent_pixels_show_the_paper_and_not_their_hidden_color(root):
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)  # black everywhere
    pixels[0, 0] = (10, 20, 30, 255)
    path = put(root, "a_target.png", pixels)
    page = read_page(path)
    assert page[0, 0].tolist() == [10, 20, 30]
    assert (page.reshape(-1, 3)[1:] == 255).all()


def test_a_transparent_palette_entry_shows_the_paper(root):
    picture = Image.fromarray(truth()).convert("P")
    path = root / "dibco" / "Letters" / "a_target.png"
    path.parent.mkdir(parents=True)
    black = int(np.asarray(picture)[truth() == 0][0])
    picture.save(path, transparency=black)
    assert (read_image(path) == 0).any()
    assert (read_page(path) == 255).all()


def test_an_opaque_page_is_read_as_it_is_stored(root):
    pixels = np.dstack([scan(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    assert np.array_equal(read_page(put(root, "a_source.png", pixels)), scan())


def test_grey_levels_are_those_of_bt_601_and_exact_for_grey():
    ours = grey_levels(scan()).astype(int)
    weights = np.array([0.299, 0.587, 0.114])
    assert np.abs(ours - scan() @ weights).max() <= 1  # rounding
    assert np.abs(ours - 255 * rgb2gray(scan())).max() > 1  # BT.709 is something else
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(grey_levels(np.repeat(ramp[:, :, None], 3, axis=2)), ramp)


def test_text_is_what_is_darker_than_128():
    image = np.array([[[127] * 3, [128] * 3]], dtype=np.uint8)
    assert text_mask(image).tolist() == [[True, False]]


# --- pairs -------------------------------------------------------------------------------------


def test_pairs_are_matched_by_name_in_order_whatever_their_suffix(tmp_path):
    names = ["b_source.bmp", "b_target.tiff", "a_1_Source.JPG", "a_1_target.png"]
    pairs = match_pairs({name: tmp_path / name for name in names})
    assert list(pairs) == ["a_1", "b"]
    assert pairs["b"] == (tmp_path / "b_source.bmp", tmp_path / "b_target.tiff")
    assert pairs["a_1"] == (tmp_path / "a_1_Source.JPG", tmp_path / "a_1_target.png")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a_source.png"], r"a_source\.png: there is no a_target beside it"),
        (["a_source.png", "b_target.png"], r"a_source\.png: there is no a_target"),
        (["ü_target.png"], r"ü_target\.png: there is no ü_source beside it"),
        (["a_source.png", "a_target.png", "gt.png"], r"gt\.png: expected `<page>_source"),
        (["_source.png", "_target.png"], r"_source\.png: expected `<page>_source"),
        (
            ["a_source.bmp", "a_source.png", "a_target.png"],
            r"a_source\.png: .*a_source\.bmp is the source of the page 'a' too",
        ),
    ],
)
def test_files_that_make_no_pairs_are_named(tmp_path, names, message):
    with pytest.raises(FileError, match=message):
        match_pairs({name: tmp_path / name for name in names})


# --- what is refused ---------------------------------------------------------------------------


def test_a_target_of_another_size_is_named(root, tmp_path):
    put_page(root, target=truth()[:, 1:])
    with pytest.raises(FileError, match=r"a_target\.png: expected 12x20 pixels .* got 12x19"):
        prepare(root, tmp_path)


def test_an_inverted_ground_truth_is_an_error_and_never_turned_silently(root, tmp_path):
    put_page(root, target=255 - truth())
    with pytest.raises(FileError, match=r"a_target\.png: \d\d % of .* look whether it is inverted"):
        prepare(root, tmp_path)


def test_an_unreadable_page_is_named(root, tmp_path):
    put_page(root)
    (root / "dibco" / "Letters" / "a_target.png").write_bytes(b"no image")
    with pytest.raises(FileError, match=r"a_target\.png: cannot be read as an image"):
        prepare(root, tmp_path)


def test_pages_that_changed_since_they_were_acquired_are_refused(root, tmp_path):
    put_page(root)
    write_acquired(acquire("Letters", root), tmp_path / "acquired")
    put_page(root, source=scan(1))
    with pytest.raises(FileError, match="1 files are not what was acquired"):
        prepare_documents("Letters", root, tmp_path / "acquired", tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


# --- scans and contest pages -------------------------------------------------------------------


def test_the_scans_of_scikit_image_are_read_as_rgb(tmp_path):
    write_acquired(acquire("wheel_scans", tmp_path), tmp_path / "acquired")
    scans = read_scans(["wheel_scans"], tmp_path, [tmp_path / "acquired"])
    assert {name: image.shape for name, image in scans.items()} == {
        "page": (191, 384, 3),
        "text": (172, 448, 3),
    }
    assert np.array_equal(scans["page"], read_image(find("wheel_scans").files["page.png"]))


def test_scans_that_changed_since_they_were_acquired_are_refused(root, tmp_path):
    put(root, "a.png", scan())
    write_acquired(acquire("Letters", root), tmp_path / "acquired")
    assert np.array_equal(read_scans(["Letters"], root, [tmp_path / "acquired"])["a"], scan())
    put(root, "a.png", scan(1))
    with pytest.raises(FileError, match="not what was acquired"):
        read_scans(["Letters"], root, [tmp_path / "acquired"])


@pytest.mark.parametrize(
    ("name", "pages"),
    [("DIBCO2009", 10), ("DIBCO2014", 10)],
)
def test_contest_pages_are_verified_and_two_valued(data_root, tmp_path, name, pages):
    folder, score = prepare(data_root, tmp_path, name)
    assert len(read_document_pages([folder], "validation")) == pages
    assert score.value("many_leveled").value == 0
    assert all(0 < share < 30 for share in score.value("text_share").items.values())


def test_pages_are_read_without_torch():
    code = (
        "import sys; import vismodels.data.documents; found = 'torch' in sys.modules; "
        "assert not found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
