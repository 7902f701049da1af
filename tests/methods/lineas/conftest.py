import pytest
import torch
from small_pipelines import build

from vismodels.methods.lineas.maps import AffineMap, Maps


@pytest.fixture
def sd():
    return build("sd")


@pytest.fixture
def random_maps(generator):
    """Return maps near the identity, from layer -> number of units."""

    def make(units, mode="all", size=0.3):
        def near(value, count):
            return value + size * torch.randn(count, generator=generator)

        return Maps(
            {
                layer: AffineMap(near(1.0, count), near(0.0, count))
                for layer, count in units.items()
            },
            mode,
        )

    return make
