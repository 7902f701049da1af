"""The README of a folder with a quantized network: how to load it."""

import re

from vismodels.methods.quest.config import QuantizationSettings

IMPORT = "import vismodels.integrations.diffusers"
# What is between these comments is ours, and written anew with the network.
BEGIN, END = "<!-- quantized by vismodels -->", "<!-- end of quantized by vismodels -->"

_HEAD = """---
library_name: diffusers
tags:
- quantized
- quest
- vismodels
---
"""


def model_card(
    class_name: str, settings: QuantizationSettings, calibrated: bool, card: str = ""
) -> str:
    """Return the text of a model card, Markdown with a head of metadata.

    Args:
        class_name: of the network, in diffusers.
        settings: how it was quantized.
        calibrated: whether its activations are quantized too.
        card: that there is already. Its own text stays; our section is added at its end, or takes
            the place of the one that it has. A card that says itself what to import stays as it is.
    """
    section = f"{BEGIN}\n\n{_section(class_name, settings, calibrated)}\n{END}\n"
    if not card.strip():
        return f"{_HEAD}\n{section}"
    own = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}\n?", re.DOTALL)
    if own.search(card):
        return own.sub(lambda _: section, card, count=1)
    return card if IMPORT in card else f"{card.rstrip()}\n\n{section}"


def _section(class_name: str, settings: QuantizationSettings, calibrated: bool) -> str:
    activations = (
        f"{settings.activations.bits}-bit activations"
        if calibrated
        else "floating-point activations"
    )
    groups = f" in {settings.time_groups} time groups" if settings.time_groups > 1 else ""
    return f"""# A quantized `{class_name}`

Weights are codes of {settings.weights.bits} bits, packed, with a scale for each output channel;
{activations}{groups}. The method is QuEST (Wang et al. 2025, arXiv 2402.03666), by the package
`vismodels`, which diffusers has to know before it can read this folder:

```python
{IMPORT}  # registers the quantization method
from diffusers import {class_name}

model = {class_name}.from_pretrained("this folder")
```

Without that line diffusers reports an unknown quantization type. For a pipeline with this network
in it, the same line comes before `DiffusionPipeline.from_pretrained`.
"""
