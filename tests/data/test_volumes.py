from itertools import islice

import pytest
import torch

from vismodels.data.volumes import VolumeSet, divide_by_patient, volume_batches


def volumes(count=30, classes=3, scans=2):
    images = torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1, 1).repeat(1, 1, 2, 3, 4)
    patients = [number // scans for number in range(count)]
    return VolumeSet(
        images,
        torch.tensor([patient % classes for patient in patients]),
        tuple(f"scan{number}" for number in range(count)),
        tuple(f"patient{patient}" for patient in patients),
        tuple(f"class{label}" for label in range(classes)),
    )


def test_a_subset_keeps_what_belongs_together():
    part = volumes().subset([7, 2])
    assert part.names == ("scan7", "scan2")
    assert part.patients == ("patient3", "patient1")
    assert part.labels.tolist() == [0, 1]
    assert part.images[:, 0, 0, 0, 0].tolist() == [7.0, 2.0]
    assert part.shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": torch.zeros(30, 2, 3, 4)}, r"expected volumes \(N, C, D, H, W\)"),
        ({"images": torch.zeros(30, 1, 2, 3, 4, dtype=torch.float64)}, "got .* torch.float64"),
        ({"names": ("a",)}, "1 names, 30 volumes"),
        ({"classes": ("a", "b")}, "labels reach from 0 to 2, but there are 2 classes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        VolumeSet(**vars(volumes()) | change)


def test_rare_classes_weigh_more():
    part = volumes(6, scans=1).subset([0, 3, 1])
    assert part.class_weights().tolist() == pytest.approx([3 / (3 * 2), 1.0, 0.0])


@pytest.mark.parametrize("seed", range(3))
def test_parts_share_no_patient_and_have_all_classes(seed):
    whole = volumes(90)
    parts = divide_by_patient(whole, (2, 2, 1), seed)
    assert sorted(name for part in parts for name in part.names) == sorted(whole.names)
    patients = [set(part.patients) for part in parts]
    assert not patients[0] & patients[1]
    assert not (patients[0] | patients[1]) & patients[2]
    assert [len(part) for part in parts] == [36, 36, 18]
    assert all(set(part.labels.tolist()) == {0, 1, 2} for part in parts)


def test_the_seed_decides_the_division():
    first, again, other = (divide_by_patient(volumes(90), (2, 1), s)[0].names for s in (0, 0, 1))
    assert first == again != other


def test_too_few_patients_of_a_class_are_named():
    with pytest.raises(ValueError, match=r"5 patients of the class 'class0' .*\[3, 3\]"):
        divide_by_patient(volumes(30), (3, 3), 0)


def test_a_batch_holds_different_volumes_with_their_labels(generator):
    whole = volumes()
    for images, labels in islice(volume_batches(whole, generator, batch_size=8), 5):
        drawn = images[:, 0, 0, 0, 0].long().tolist()
        assert len(set(drawn)) == 8
        assert labels.tolist() == whole.labels[drawn].tolist()
        assert images.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("axis", range(3))
def test_volumes_are_mirrored_along_the_axis_that_is_named(axis, generator):
    shape = (2, 3, 4)
    ramp = torch.arange(24, dtype=torch.float32).reshape(1, 1, *shape).repeat(4, 1, 1, 1, 1)
    whole = VolumeSet(ramp, torch.zeros(4, dtype=torch.long), tuple("abcd"), tuple("abcd"), ("x",))
    flip = tuple(float(a == axis) for a in range(3))
    images, _ = next(volume_batches(whole, generator, batch_size=4, flip=flip))
    assert torch.equal(images[0], ramp[0].flip(axis + 1))


def test_every_volume_is_mirrored_on_its_own(generator):
    images, _ = next(
        volume_batches(
            VolumeSet(
                torch.arange(2.0).reshape(1, 1, 2, 1, 1).repeat(40, 1, 1, 1, 1),
                torch.zeros(40, dtype=torch.long),
                tuple(map(str, range(40))),
                tuple(map(str, range(40))),
                ("x",),
            ),
            generator,
            batch_size=40,
            flip=(0.5, 0.0, 0.0),
        )
    )
    assert 8 < int(images[:, 0, 0, 0, 0].sum()) < 32


def test_volumes_are_moved_each_on_its_own_and_their_edge_is_repeated(generator):
    ramp = torch.arange(5.0).reshape(1, 1, 5, 1, 1).expand(30, 1, 5, 4, 3)
    names = tuple(map(str, range(30)))
    whole = VolumeSet(ramp, torch.zeros(30, dtype=torch.long), names, names, ("x",))
    images, _ = next(volume_batches(whole, generator, batch_size=30, shift=2))
    assert images.shape == ramp.shape
    moved = {tuple(image[0, :, 0, 0].tolist()) for image in images}
    assert moved == {
        (0.0, 0.0, 0.0, 1.0, 2.0), (0.0, 0.0, 1.0, 2.0, 3.0), (0.0, 1.0, 2.0, 3.0, 4.0),
        (1.0, 2.0, 3.0, 4.0, 4.0), (2.0, 3.0, 4.0, 4.0, 4.0),
    }  # fmt: skip


def test_a_constant_of_its_own_is_added_to_every_volume(generator):
    whole = VolumeSet(
        torch.zeros(40, 1, 2, 2, 2),
        torch.zeros(40, dtype=torch.long),
        tuple(map(str, range(40))),
        tuple(map(str, range(40))),
        ("x",),
    )
    images, _ = next(volume_batches(whole, generator, batch_size=40, level=0.5))
    levels = images[:, 0, 0, 0, 0]
    assert (images == levels[:, None, None, None, None]).all()
    assert 0.3 < float(levels.std()) < 0.7
    assert images.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("size", [0, 31])
def test_a_batch_that_cannot_be_drawn_is_refused(size, generator):
    with pytest.raises(ValueError, match=f"a batch of {size} cannot be drawn from 30"):
        next(volume_batches(volumes(), generator, batch_size=size))
