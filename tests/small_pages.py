"""Small pages and sizes for the tests of NAF-DPM."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vismodels.data.pages import PagePair, Word
from vismodels.methods.nafdpm.config import NetworkConfig

TINY = NetworkConfig(width=4, blocks=(1,))


def text_page(name="page", seed=0, size=(64, 160), words=("one", "two", "three", "four")):
    """Return a page with a few words in Pillow's own face, and their boxes."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (size[1], size[0]), 255)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(16)
    found, x, y, line = [], 6, 6, 0
    for text in rng.permutation(words):
        left, top, right, bottom = pen.textbbox((x, y), text, font=font)
        if right > size[1] - 4:
            x, y, line = 6, y + 26, line + 1
            left, top, right, bottom = pen.textbbox((x, y), text, font=font)
        pen.text((x, y), text, fill=0, font=font)
        found.append(Word(str(text), int(left), int(top), int(right), int(bottom), line))
        x = int(right) + 10
    clean = np.repeat(np.asarray(image)[..., None], 3, axis=2)
    worn = clean * 0.6 + 40 + rng.normal(0, 8, clean.shape)
    return PagePair(name, worn.clip(0, 255).astype(np.uint8), clean, tuple(found))


def two_valued(page):
    return PagePair(page.name, page.degraded, np.where(page.clean < 128, 0, 255).astype(np.uint8))
