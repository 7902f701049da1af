import importlib.util
import io
import string

import numpy as np
import pytest
from fontTools.agl import UV2AGL
from fontTools.ttLib import TTFont

from vismodels.files import FileError
from vismodels.synthetic.faces import find_face, font_of_x_height, list_faces, load_font
from vismodels.synthetic.texts import CHARACTERS

every_face = pytest.mark.parametrize("name", list_faces())


def test_there_are_serif_sans_and_typewriter_faces():
    families = {find_face(name).family for name in list_faces()}
    assert len(families) >= 7
    assert {"DejaVuSerif", "DejaVuSans-Bold", "STIXGeneralItalic", "cmr10", "Aileron"} <= set(
        list_faces()
    )


@every_face
def test_misdrawn_characters_are_those_whose_glyph_has_another_name(name):
    face = find_face(name)
    font = load_font(face, 20)
    source = io.BytesIO(font.font_bytes) if name == "Aileron" else font.path
    glyphs = TTFont(source).getBestCmap()
    printable = set(string.printable) - set(string.whitespace)
    other = {c for c in printable if glyphs.get(ord(c)) != UV2AGL[ord(c)]}
    curly = {"'", "`"}  # of TeX: a glyph of its own that a reader takes for the same
    dollar = {"$"} if name == "cmti10" else set()  # named so, drawn as a pound sign
    assert set(face.misdrawn) - curly == (other | dollar) - curly


@every_face
def test_the_characters_of_texts_are_drawn_right_by_every_face(name):
    assert not set(find_face(name).misdrawn) & set(CHARACTERS)


@every_face
def test_letters_are_different_and_have_ink(name):
    font = load_font(find_face(name), 30)
    masks = [bytes(font.getmask(letter)) for letter in "abcdefghkmnopqrstuvwxyzABCDEFGH23456789"]
    assert len(set(masks)) == len(masks)
    assert all(any(mask) for mask in masks)


@every_face
def test_a_lower_case_x_has_the_height_asked_for(name):
    for x_height in (9.0, 13.5, 20.0):
        _, top, _, bottom = font_of_x_height(find_face(name), x_height).getbbox("x", anchor="ls")
        assert bottom - top == pytest.approx(x_height, abs=1)  # glyphs fill whole pixels


def test_sizes_differ_between_faces_for_one_height_of_x():
    sizes = [font_of_x_height(find_face(name), 12).size for name in ("DejaVuSans", "cmr10")]
    assert sizes[1] > 1.2 * sizes[0]


def test_faces_are_different():
    masks = {np.asarray(load_font(find_face(n), 40).getmask("Rag")).tobytes() for n in list_faces()}
    assert len(masks) == len(list_faces())


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(
        ValueError, match="no face is called 'DejaVuSerf'; did you mean 'DejaVuSerif"
    ):
        find_face("DejaVuSerf")


def test_without_matplotlib_its_faces_name_it_and_pillows_own_works(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileError, match=r"'cmr10' comes with matplotlib.*install vismodels"):
        load_font(find_face("cmr10"), 12)
    assert load_font(find_face("Aileron"), 12).getname() == ("Aileron", "Regular")


def test_a_damaged_installation_names_the_file(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(FileError, match=r"cmr10\.ttf.*reinstall matplotlib"):
        load_font(find_face("cmr10"), 12)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_that_is_not_positive_is_refused(size):
    with pytest.raises(ValueError, match=f"positive size in pixels, got {size}"):
        load_font(find_face("Aileron"), size)
