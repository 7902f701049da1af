from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from vismodels.data.images import write_png
from vismodels.data.pairs import (
    Pair,
    PairSet,
    images_to_tensor,
    make_pair,
    random_patches,
    read_pairs,
    tensor_to_images,
    write_pairs,
)
from vismodels.data.resize import bicubic_resize
from vismodels.files import FileError


def random_image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def zoomed(name, height, width, scale=4, seed=0):
    """Return a pair whose HR is the LR with every pixel repeated: patches can be compared."""
    lr = random_image((height, width, 3), seed)
    return Pair(name, lr.repeat(scale, axis=0).repeat(scale, axis=1), lr)


def take(pairs, seed, batches, batch_size=4, lr_crop=6):
    generator = torch.Generator().manual_seed(seed)
    return list(islice(random_patches(pairs, generator, batch_size, lr_crop), batches))


# --- pairs -------------------------------------------------------------------------------------


def test_made_pair_is_the_crop_and_its_bicubic_lr():
    hr = random_image((42, 39, 3))
    pair = make_pair(hr, 4, "photo")
    assert (pair.name, pair.scale) == ("photo", 4)
    assert np.array_equal(pair.hr, hr[:40, :36])
    assert np.array_equal(pair.lr, bicubic_resize(hr[:40, :36], scale=1 / 4))


@pytest.mark.parametrize(
    ("hr", "lr", "words"),
    [
        ((8, 8, 3), (3, 2, 3), "cat: HR 8x8 is not a whole multiple of LR 3x2; crop first"),
        ((8, 8, 3), (2, 4, 3), "not a whole multiple"),
        ((2, 2, 3), (4, 4, 3), "not a whole multiple"),
        ((8, 8), (2, 2), r"cat: expected \(H, W, 3\) uint8 RGB"),
        ((8, 8, 3), (0, 2, 3), r"got \(0, 2, 3\)"),
    ],
)
def test_arrays_that_are_no_pair_are_refused_by_name(hr, lr, words):
    with pytest.raises(ValueError, match=words):
        Pair("cat", np.zeros(hr, np.uint8), np.zeros(lr, np.uint8))


def test_subset_keeps_the_asked_order_and_suggests_names():
    pairs = PairSet([zoomed("chelsea", 8, 8), zoomed("coffee", 8, 8)])
    assert pairs.subset(["coffee", "chelsea"]).names == ("coffee", "chelsea")
    with pytest.raises(ValueError, match="no image 'cofee' in the set; did you mean 'coffee'"):
        pairs.subset(["cofee"])


def test_sets_refuse_no_pairs_equal_names_and_mixed_scales():
    with pytest.raises(ValueError, match="at least one"):
        PairSet([])
    with pytest.raises(ValueError, match="two pairs have the name 'a'"):
        PairSet([zoomed("a", 8, 8), zoomed("b", 8, 8), zoomed("a", 8, 8)])
    with pytest.raises(ValueError, match=r"one scale, got \[2, 4\]"):
        PairSet([zoomed("a", 8, 8), zoomed("b", 8, 8, scale=2)])


# --- folders -----------------------------------------------------------------------------------


def test_plain_folder_gives_made_pairs_sorted_by_name(tmp_path):
    for seed, name in enumerate(["b", "a"]):
        write_png(tmp_path / f"{name}.png", random_image((16, 18, 3), seed))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image either")
    pairs = read_pairs(tmp_path, 4)
    assert pairs.names == ("a", "b")
    assert np.array_equal(pairs.pairs[1].hr, random_image((16, 18, 3), 0)[:, :16])


def test_stored_pairs_are_taken_as_they_are(tmp_path):
    lr = random_image((4, 5, 3))
    for scale in (2, 4):
        write_png(tmp_path / f"img_001_SRF_{scale}_HR.png", random_image((16, 20, 3)))
        write_png(
            tmp_path / f"img_001_SRF_{scale}_LR.png", lr.repeat(4 // scale, 0).repeat(4 // scale, 1)
        )
    (pair,) = read_pairs(tmp_path, 4)
    assert pair.name == "img_001"
    assert np.array_equal(pair.lr, lr)
    assert read_pairs(tmp_path, 2).scale == 2


def test_written_pairs_are_read_back(tmp_path):
    pairs = PairSet([make_pair(random_image((16, 20, 3), seed), 4, f"p{seed}") for seed in (1, 2)])
    write_pairs(pairs, tmp_path)
    again = read_pairs(tmp_path, 4)
    assert again.names == ("p1", "p2")
    for pair, copy in zip(pairs, again, strict=True):
        assert np.array_equal(pair.hr, copy.hr)
        assert np.array_equal(pair.lr, copy.lr)


def test_only_images_of_the_named_suffixes_are_halved(tmp_path):
    image = random_image((18, 32, 3))
    write_png(tmp_path / "a.png", image)
    write_png(tmp_path / "b.PNG", image)
    Image.fromarray(image).save(tmp_path / "c.bmp")
    sizes = {p.name: p.hr.shape[:2] for p in read_pairs(tmp_path, 4, halve=[".bmp"])}
    assert sizes == {"a": (16, 32), "b": (16, 32), "c": (8, 16)}
    files = [tmp_path / "c.bmp", tmp_path / "a.png"]
    assert read_pairs(files, 4).names == ("a", "c")


def test_folders_without_the_pairs_asked_for_are_explained(tmp_path):
    with pytest.raises(FileError, match="no such folder"):
        read_pairs(tmp_path / "none", 4)
    with pytest.raises(FileError, match="holds no image"):
        read_pairs(tmp_path, 4)
    for name in ("img_001_SRF_4_HR.png", "img_002_SRF_2_LR.png"):
        write_png(tmp_path / name, random_image((16, 20, 3)))
    with pytest.raises(
        FileError, match=r"4_HR\.png: has no partner; expected img_001_SRF_4_LR\.png"
    ):
        read_pairs(tmp_path, 4)
    with pytest.raises(
        FileError, match=r"no stored pair of scale 3: expected files \*_SRF_3_HR\.png"
    ):
        read_pairs(tmp_path, 3)
    write_png(tmp_path / "img_001_SRF_4_LR.png", random_image((8, 10, 3)))
    with pytest.raises(FileError, match=r"is x2 of img_001_SRF_4_LR\.png, though its name says x4"):
        read_pairs(tmp_path, 4)
    write_png(tmp_path / "img_001_SRF_4_LR.png", random_image((7, 10, 3)))
    with pytest.raises(FileError, match="img_001: HR 16x20 is not a whole multiple of LR 7x10"):
        read_pairs(tmp_path, 4)


def test_stored_pairs_are_matched_whatever_their_case(tmp_path):
    write_png(tmp_path / "Cat_srf_4_hr.PNG", random_image((16, 20, 3)))
    write_png(tmp_path / "cat_SRF_4_LR.png", random_image((4, 5, 3)))
    (pair,) = read_pairs(tmp_path, 4)
    assert (pair.name, pair.hr.shape, pair.lr.shape) == ("Cat", (16, 20, 3), (4, 5, 3))
    write_png(tmp_path / "cat_SRF_4_HR.png", random_image((16, 20, 3)))
    with pytest.raises(FileError, match=r"differs from Cat_srf_4_hr\.PNG in case only"):
        read_pairs(tmp_path, 4)


def test_half_a_pair_is_refused_in_the_wanted_scale_only(tmp_path):
    write_pairs(PairSet([make_pair(random_image((16, 20, 3)), 4, "cat")]), tmp_path)
    write_png(tmp_path / "cat_SRF_2_LR.png", random_image((8, 10, 3)))
    assert read_pairs(tmp_path, 4).names == ("cat",)
    with pytest.raises(
        FileError, match=r"cat_SRF_2_LR\.png: has no partner; expected cat_SRF_2_HR"
    ):
        read_pairs(tmp_path, 2)
    write_png(tmp_path / "dog_SRF_4_LR.png", random_image((4, 5, 3)))
    with pytest.raises(FileError, match=r"dog_SRF_4_LR\.png: has no partner"):
        read_pairs(tmp_path, 4)


def test_results_of_methods_beside_stored_pairs_are_passed_over(tmp_path):
    write_pairs(PairSet([make_pair(random_image((16, 20, 3)), 4, "cat")]), tmp_path)
    write_png(tmp_path / "cat_SRF_4_bicubic.png", random_image((16, 20, 3)))
    assert read_pairs(tmp_path, 4).names == ("cat",)


def test_large_images_without_any_small_ones_are_shrunk(tmp_path):
    for scale in (2, 4):
        write_png(tmp_path / f"cat_SRF_{scale}_HR.png", random_image((16, 20, 3)))
    (pair,) = read_pairs(tmp_path, 4)
    assert (pair.name, pair.lr.shape) == ("cat_SRF_4_HR", (4, 5, 3))


@pytest.mark.parametrize("name", ["dog.png"])
def test_a_plain_image_among_stored_pairs_is_refused_by_name(tmp_path, name):
    write_pairs(PairSet([make_pair(random_image((16, 20, 3)), 4, "cat")]), tmp_path)
    write_png(tmp_path / name, random_image((16, 20, 3)))
    with pytest.raises(FileError, match=rf"{name}: is no stored pair, .*: move it to a folder"):
        read_pairs(tmp_path, 4)


def test_an_srf_in_the_name_alone_makes_no_stored_pair(tmp_path):
    write_png(tmp_path / "my_SRF_photo.png", random_image((16, 20, 3)))
    assert read_pairs(tmp_path, 4).names == ("my_SRF_photo",)


def test_too_small_an_image_is_refused_with_its_file(tmp_path):
    write_png(tmp_path / "tiny.png", random_image((3, 3, 3)))
    with pytest.raises(FileError, match=r"tiny\.png: a 3x3 image has no crop"):
        read_pairs(tmp_path, 4)


# --- patches -----------------------------------------------------------------------------------


def test_patches_have_the_stated_shapes_types_and_range():
    ((lr, hr),) = take(PairSet([zoomed("a", 9, 11)]), seed=0, batches=1)
    assert (lr.shape, hr.shape) == ((4, 3, 6, 6), (4, 3, 24, 24))
    assert lr.dtype == hr.dtype == torch.float32
    assert 0 <= lr.min() < lr.max() <= 1


def test_lr_and_hr_patches_show_the_same_place_in_the_same_orientation():
    pairs = PairSet([zoomed("a", 9, 11), zoomed("b", 7, 8, seed=1)])
    for lr, hr in take(pairs, seed=1, batches=20):
        assert torch.equal(hr, lr.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3))


def test_all_eight_orientations_and_all_places_occur():
    pair = zoomed("a", 5, 5)
    found = {
        patch.tobytes()
        for lr, _ in take(PairSet([pair]), seed=2, batches=50, batch_size=8, lr_crop=4)
        for patch in tensor_to_images(lr)
    }
    places = [pair.lr[top : top + 4, left : left + 4] for top in (0, 1) for left in (0, 1)]
    views = [np.rot90(place, turns) for place in places for turns in range(4)]
    expected = {v.tobytes() for view in views for v in (view, view[:, ::-1])}
    assert len(expected) == 32
    assert found == expected


def test_images_are_chosen_in_proportion_to_their_area():
    dark = Pair("dark", np.zeros((32, 32, 3), np.uint8), np.zeros((8, 8, 3), np.uint8))
    light = Pair("light", np.full((32, 96, 3), 255, np.uint8), np.full((8, 24, 3), 255, np.uint8))
    ((lr, _),) = take(PairSet([dark, light]), seed=3, batches=1, batch_size=4000, lr_crop=1)
    share = float(lr.mean())  # 3/4 of the pixels are light; standard error 0.007
    assert share == pytest.approx(0.75, abs=0.03)


def test_the_generator_is_the_only_state():
    pairs = PairSet([zoomed("a", 9, 11), zoomed("b", 7, 8, seed=1)])
    whole = take(pairs, seed=4, batches=6)
    generator = torch.Generator().manual_seed(4)
    list(islice(random_patches(pairs, generator, 4, 6), 3))
    restored = torch.Generator()
    restored.set_state(generator.get_state())
    rest = islice(random_patches(pairs, restored, 4, 6), 3)
    for (lr, hr), (lr_again, hr_again) in zip(whole[3:], rest, strict=True):
        assert torch.equal(lr, lr_again)
        assert torch.equal(hr, hr_again)
    assert not torch.equal(whole[0][0], take(pairs, seed=5, batches=1)[0][0])


def test_a_crop_larger_than_an_image_is_refused_at_the_call_with_name_sizes_and_remedy():
    pairs = PairSet([zoomed("large", 30, 30), zoomed("small", 9, 6)])
    with pytest.raises(
        ValueError, match=r"small: the LR image is 9x6.* 7x7; set lr_crop to at most 6"
    ):
        random_patches(pairs, torch.Generator(), 4, 7)


def test_images_survive_the_way_to_tensors_and_back():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    tensor = images_to_tensor(images)
    assert tensor.shape == (1, 3, 16, 16)
    assert np.array_equal(tensor_to_images(tensor), images)


def test_values_outside_the_range_are_clipped_and_halves_round_up():
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]).reshape(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert tensor_to_images(values)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
