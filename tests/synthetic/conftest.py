import pytest
from small_scenes import MODEL


@pytest.fixture(scope="session")
def untrained_pipeline():
    """Return a tiny pipeline, which tests leave as it is."""
    from vismodels.synthetic.scene_pipeline import build_pipeline

    return build_pipeline(MODEL, 0)


@pytest.fixture(scope="session")
def untrained_judge():
    import torch

    from vismodels.synthetic.scene_judge import SceneJudge

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SceneJudge().eval()
