import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from vismodels.files import FileError, write_manifest
from vismodels.methods.lineas.maps import AffineMap, Maps


def affine(scale, shift, **bounds):
    bounds = {name: torch.tensor(value) for name, value in bounds.items()}
    return AffineMap(torch.tensor(scale), torch.tensor(shift), **bounds)


@pytest.fixture
def maps():
    return Maps(
        {"unet.a": affine([2.0, 1.0], [0.5, 0.0]), "unet.b:1": affine([1.0], [0.0])},
        about={"method": "by hand"},
    )


Z = torch.tensor([[1.0, -3.0], [0.0, 5.0]])


def test_a_map_scales_and_shifts_each_unit(maps):
    assert maps["unet.a"].moved(Z).tolist() == [[2.5, -3.0], [0.5, 5.0]]


def test_values_outside_the_bounds_stay():
    bounded = affine([2.0, 2.0], [0.0, 0.0], low=[0.0, -4.0], high=[2.0, 5.0])
    assert bounded.moved(Z).tolist() == [[2.0, -6.0], [0.0, 5.0]]  # strictly between, as published


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_mixes_value_and_image(maps, strength):
    mixed = (1 - strength) * Z + strength * maps["unet.a"].moved(Z)
    assert_close(maps.at(strength)["unet.a"].moved(Z), mixed)


@pytest.mark.parametrize("strength", [-0.5, 1.5, float("nan")])
def test_a_strength_outside_its_range_is_refused(maps, strength):
    with pytest.raises(ValueError, match=r"0 to 1.*inverse"):
        maps.at(strength)


def test_the_inverse_undoes_the_map_of_either_sign():
    maps = Maps({"unet.a": affine([-2.0, 0.5], [0.5, 1.0])})
    assert_close(maps.inverse()["unet.a"].moved(maps["unet.a"].moved(Z)), Z)


def test_the_inverse_of_a_bounded_map_acts_where_its_range_went(generator):
    each = affine([2.0, -2.0, 1e-5], [1.0, 1.0, 3.0], low=[0.0, 0.0, 0.0], high=[2.0, 2.0, 2.0])
    inverse = Maps({"unet.a": each}).inverse(near_zero="identity")["unet.a"]
    assert inverse.low.tolist() == [1, -3, 0]
    assert inverse.high.tolist() == [5, 1, 2]
    inside = 2 * torch.rand(50, 3, generator=generator)
    assert_close(inverse.moved(each.moved(inside))[:, :2], inside[:, :2])
    outside = torch.tensor([[-0.5, 4.0, 1.0], [6.0, -3.5, 3.0]])
    assert torch.equal(inverse.moved(outside), outside)


def test_the_inverse_of_a_scale_near_zero_is_refused_by_name():
    maps = Maps({"unet.a": affine([1e-5, 2.0, -1e-5], [1.0, 1.0, 1.0])})
    with pytest.raises(ValueError, match=r"units of unet.a \(2\).*near_zero='identity'"):
        maps.inverse()
    inverse = maps.inverse(near_zero="identity")["unet.a"]
    assert inverse.scale.tolist() == [1, 0.5, 1]
    assert inverse.shift.tolist() == [0, -0.5, 0]


def test_composition_applies_the_first_map_first():
    first = Maps({"unet.a": affine([2.0, 2.0], [1.0, 1.0]), "unet.b": affine([3.0], [0.0])})
    second = Maps({"unet.a": affine([3.0, 3.0], [5.0, 5.0]), "unet.c": affine([4.0], [0.0])})
    both = first.then(second)
    assert set(both) == {"unet.a", "unet.b", "unet.c"}
    assert (both["unet.a"].scale[0], both["unet.a"].shift[0]) == (6, 3 * 1 + 5)
    assert second.then(first)["unet.a"].shift[0] == 2 * 5 + 1
    assert_close(both["unet.a"].moved(Z), second["unet.a"].moved(first["unet.a"].moved(Z)))


def test_maps_that_do_not_compose_are_refused(maps):
    with pytest.raises(ValueError, match="'all' and 'avg'"):
        maps.then(Maps(maps, "avg"))
    with pytest.raises(ValueError, match=r"unet\.a has 2 units .* and 1"):
        maps.then(Maps({"unet.a": affine([1.0], [0.0])}))


def test_bounded_maps_are_not_composed(maps):
    bounded = Maps({"unet.a": affine([2.0, 2.0], [0.0, 0.0], low=[0.0, 0.0], high=[2.0, 2.0])})
    for first, second in ((maps, bounded), (bounded, maps)):
        with pytest.raises(ValueError, match=r"range of values .* composed, unet\.a is one"):
            first.then(second)


def test_support_counts_units_off_the_identity(maps):
    assert maps.support() == 1 / 3
    assert maps.layer_support() == {"unet.a": 0.5, "unet.b:1": 0}
    assert maps.support(threshold=1.0) == 0  # |2 - 1| is not above 1


def test_saved_maps_come_back_in_their_order(maps, tmp_path):
    maps = Maps({"z": affine([1.5], [2.0], low=[0.0], high=[1.0]), **maps}, "avg", maps.about)
    maps.save_pretrained(tmp_path)
    write_manifest(tmp_path)
    loaded = Maps.from_pretrained(tmp_path)
    assert (list(loaded), loaded.mode, loaded.about) == (list(maps), "avg", {"method": "by hand"})
    for layer, each in maps.items():
        assert loaded[layer].tensors().keys() == each.tensors().keys()
        for field, tensor in each.tensors().items():
            assert torch.equal(getattr(loaded[layer], field), tensor)


def test_equal_maps_give_equal_bytes_and_a_file_that_others_read(maps, tmp_path):
    for folder in ("one", "two"):
        maps.save_pretrained(tmp_path / folder)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    tensors = load_file(tmp_path / "one" / "model.safetensors")
    assert tensors["unet.a.scale"].tolist() == [2, 1]


def break_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def break_tensors(folder, **changes):
    path = folder / "model.safetensors"
    save_file(load_file(path) | changes, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "fit and save"),
        (lambda f: break_config(f, _class_name="Other"), "not of steering maps"),
        (lambda f: break_config(f, layers=[["unet.a", 3]]), "3 finite numbers"),
        (lambda f: break_config(f, mode="some"), "unknown mode 'some'"),
        (lambda f: break_config(f, layers=[["unet.a", 2]]), r"unknown: unet\.b:1\.scale"),
        (lambda f: break_tensors(f, **{"unet.a.shift": torch.full((2,), torch.nan)}), "finite"),
    ],
)
def test_a_damaged_folder_is_refused(maps, tmp_path, damage, message):
    maps.save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(FileError, match=message):
        Maps.from_pretrained(tmp_path)


def test_a_missing_folder_says_that_a_local_one_is_needed(tmp_path):
    with pytest.raises(FileError, match="local folders"):
        Maps.from_pretrained(tmp_path / "none")


def test_an_unknown_layer_suggests_the_nearest(maps):
    with pytest.raises(KeyError, match=r"did you mean 'unet\.b:1'"):
        maps["unet.b"]


@pytest.mark.parametrize(
    "build",
    [
        lambda: AffineMap(torch.ones(2), torch.zeros(3)),
        lambda: AffineMap(torch.ones(2, 2), torch.zeros(2, 2)),
        lambda: AffineMap(torch.ones(2), torch.zeros(2), low=torch.zeros(2)),
        lambda: Maps({}),
    ],
)
def test_incomplete_maps_are_refused(build):
    with pytest.raises(ValueError, match=r"one number of each kind|both bounds|at least one"):
        build()


def test_a_subset_keeps_mode_and_origin(maps):
    kept = Maps(maps, "avg", maps.about).subset(lambda layer: layer == "unet.a")
    assert (list(kept), kept.mode, kept.about) == (["unet.a"], "avg", maps.about)
