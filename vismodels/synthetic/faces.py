"""The typefaces that come with installed packages: matplotlib's and the one inside Pillow.

No font of the operating system is used: pages must look the same on every machine. matplotlib is
located, not imported.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

from vismodels.config import suggestion
from vismodels.files import FileError

_MEASURED_SIZE = 1000  # pixels an em: large enough to measure proportions of a face
# Fonts of TeX keep their own order of glyphs: '<' shows an inverted exclamation mark, and so on.
# Their apostrophe is a curly one, which is right in a text.
_TEX_ORDER = '"<>\\^_`{|}~'


@dataclass(frozen=True)
class Face:
    """A typeface: one weight and slope of a family.

    Args:
        name: stem of its file, without the folder (`DejaVuSerif-Bold`).
        family: what looks alike; splits by family are stricter than splits by face.
        misdrawn: printable ASCII characters for which the file holds another glyph.
    """

    name: str
    family: str
    misdrawn: str = ""


_PILLOW = Face("Aileron", "Aileron")
_FACES = {
    face.name: face
    for face in (
        *(
            Face(f"{stem}{style}", family)
            for stem, family, styles in (
                ("DejaVuSans", "DejaVu Sans", ("", "-Bold", "-Oblique", "-BoldOblique")),
                ("DejaVuSansMono", "DejaVu Sans Mono", ("", "-Bold", "-Oblique", "-BoldOblique")),
                ("DejaVuSerif", "DejaVu Serif", ("", "-Bold", "-Italic", "-BoldItalic")),
                ("STIXGeneral", "STIX", ("", "Bol", "Italic", "BolIta")),
            )
            for style in styles
        ),
        Face("cmr10", "Computer Modern Serif", _TEX_ORDER),
        Face("cmb10", "Computer Modern Serif", _TEX_ORDER),
        Face("cmti10", "Computer Modern Serif", "$" + _TEX_ORDER),
        Face("cmss10", "Computer Modern Sans", _TEX_ORDER),
        Face("cmtt10", "Computer Modern Typewriter"),
        _PILLOW,
    )
}


def list_faces() -> list[str]:
    """Return the sorted names of the known faces."""
    return sorted(_FACES)


def find_face(name: str) -> Face:
    """Return the face called `name`; its file is looked for by `load_font`.

    Raises:
        ValueError: if no face is called so, with the nearest name.
    """
    if name not in _FACES:
        raise ValueError(f"no face is called {name!r}{suggestion(name, _FACES)}")
    return _FACES[name]


def load_font(face: Face, size: float) -> FreeTypeFont:
    """Return the font of `face` at `size` pixels an em.

    Glyphs are set by Pillow's basic layout: pair kerning, no ligatures, the same with and without
    the optional library for complex scripts.

    Raises:
        FileError: if matplotlib, which brings the file, is not installed or lacks it.
        ValueError: if `size` is not positive.
    """
    if size <= 0:
        raise ValueError(f"expected a positive size in pixels, got {size}")
    if face == _PILLOW:
        font = ImageFont.load_default(size)
        if not isinstance(font, FreeTypeFont):
            raise FileError("this Pillow was built without FreeType; install Pillow's own wheel")
        return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
    path = _matplotlib_fonts(face) / f"{face.name}.ttf"
    try:
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise FileError(
            f"{path}: the face {face.name!r} cannot be read ({error}); reinstall matplotlib, or "
            "leave this face out"
        ) from error


def font_of_x_height(face: Face, x_height: float) -> FreeTypeFont:
    """Return the font of `face` at the size whose lower-case x is `x_height` pixels high.

    Faces of one size differ much in this height, which decides how much blur a text bears.
    """
    return load_font(face, x_height / _x_height_of_em(face))


@cache
def _x_height_of_em(face: Face) -> float:
    _, top, _, bottom = load_font(face, _MEASURED_SIZE).getbbox("x", anchor="ls")
    return float(bottom - top) / _MEASURED_SIZE


def _matplotlib_fonts(face: Face) -> Path:
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise FileError(
            f"the face {face.name!r} comes with matplotlib, which is not installed: install "
            f"vismodels[workflows], or use {_PILLOW.name!r}, which is part of Pillow"
        )
    return Path(spec.submodule_search_locations[0], "mpl-data", "fonts", "ttf")
