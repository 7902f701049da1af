import numpy as np
import pytest

from vismodels.data.lungs import crop_to_lungs, find_lungs, lung_box
from vismodels.data.scans import Scan
from vismodels.synthetic.chest_ct import PhantomConfig, make_scans


def chest(shape=(6, 20, 24)):
    """Return Hounsfield units of a body with two lungs, a trachea's bubble and air around it."""
    hu = np.full(shape, -1000, np.int16)
    hu[:, 2:18, 2:22] = 40
    hu[1:5, 5:13, 4:10] = -850
    hu[1:5, 5:13, 14:20] = -850
    hu[5, 15, 12] = -1000
    return hu


def test_lungs_are_the_air_within_the_body():
    lungs = find_lungs(chest())
    assert lungs.sum() == 2 * 4 * 8 * 6
    assert lungs[2, 6, 5]
    assert lungs[2, 6, 15]
    assert not lungs[2, 0, 0]  # the air around the body


def test_small_bubbles_are_no_lungs():
    assert not find_lungs(chest())[5].any()


def test_a_scan_without_air_within_is_refused_with_its_values():
    with pytest.raises(ValueError, match=r"no air within the body .* from 0 to 40"):
        find_lungs(np.pad(np.full((2, 4, 4), 40, np.int16), 1))
    with pytest.raises(ValueError, match=r"expected a scan \(D, H, W\)"):
        find_lungs(np.zeros((4, 4)))


def test_the_part_is_centered_on_the_lungs_and_masks_move_along():
    hu = chest()
    lesion = np.zeros(hu.shape, bool)
    lesion[3, 7, 6] = True
    whole = Scan("a", "p", "NCP", hu, (5.0, 2.0, 2.0), 6, find_lungs(hu), lesion)
    part = crop_to_lungs(whole, (4, 8, 16))
    assert np.array_equal(part.voxels, hu[1:5, 5:13, 4:20])
    assert np.argwhere(part.lesion).tolist() == [[2, 2, 2]]
    assert part.lung.sum() == whole.lung.sum()
    assert (part.name, part.spacing, part.slices) == ("a", (5.0, 2.0, 2.0), 6)


def test_beyond_the_scan_there_is_air_and_no_lung():
    hu = chest()
    part = crop_to_lungs(Scan("a", "p", "NCP", hu, (5.0, 2.0, 2.0), 6, find_lungs(hu)), (8, 8, 16))
    assert (part.voxels[0] == -1024).all()
    assert not part.lung[0].any()
    assert part.lesion is None


def test_all_of_the_phantoms_lungs_and_lesions_stay_within_the_part():
    config = PhantomConfig(patients={"train": 2, "validation": 1, "test": 1})
    for whole in make_scans(config, "train", 0):
        part = crop_to_lungs(whole, (20, 36, 40))
        assert part.lesion.sum() == whole.lesion.sum()
        assert part.lung.sum() >= 0.995 * whole.lung.sum()


def test_the_lungs_are_found_in_the_voxels_not_in_the_masks():
    hu = chest()
    empty = np.zeros(hu.shape, bool)
    without = crop_to_lungs(Scan("a", "p", "NCP", hu, (5.0, 2.0, 2.0), 6), (4, 8, 16))
    wrong = crop_to_lungs(Scan("a", "p", "NCP", hu, (5.0, 2.0, 2.0), 6, empty), (4, 8, 16))
    assert np.array_equal(without.voxels, wrong.voxels)


def test_the_box_has_a_margin_as_far_as_the_scan_goes():
    hu = chest()
    assert hu[lung_box(hu, (5.0, 2.0, 2.0), 0.0)].shape == (4, 8, 16)
    assert hu[lung_box(hu, (5.0, 2.0, 2.0), 4.0)].shape == (6, 12, 20)
    assert hu[lung_box(hu, (5.0, 2.0, 2.0), 1000.0)].shape == hu.shape
