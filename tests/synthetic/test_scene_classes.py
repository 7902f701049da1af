import subprocess
import sys
from collections import Counter

import pytest

from vismodels.synthetic.scene_captions import list_attributes
from vismodels.synthetic.scene_classes import CLASSES, class_labels, class_of


def test_classes_are_all_shapes_in_all_colors():
    assert len(CLASSES) == len(set(CLASSES)) == 24
    counts = Counter(class_of(content) for content in list_attributes())
    assert sorted(counts) == list(range(24))
    assert set(counts.values()) == {1056 // 24}


def test_the_labels_of_a_class_are_those_of_its_scenes():
    for content in list_attributes():
        labels = class_labels(class_of(content))
        assert labels == {name: content.labels[name] for name in ("shape", "color")}


def test_there_is_no_other_class():
    for number in (-1, 24):
        with pytest.raises(ValueError, match=f"from 0 to 23, got {number}"):
            class_labels(number)


def test_it_is_torch_free():
    code = "import sys, vismodels.synthetic.scene_classes; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
