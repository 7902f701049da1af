"""Settings of a scene model, and of its judge, that train in a second or two."""

from vismodels.synthetic.scene_config import (
    JudgeConfig,
    JudgeTrainingConfig,
    SceneCodeConfig,
    SceneModelConfig,
    SceneNetworkConfig,
    SceneScoringConfig,
    SceneTrainingConfig,
)

CODE = SceneCodeConfig(scenes=60)
MODEL = SceneModelConfig(
    code=CODE,
    network=SceneNetworkConfig(channels=(8, 16), norm_groups=4, text_width=16, text_layers=1),
    training=SceneTrainingConfig(scenes=60, iterations=4, batch_size=4, warmup=1, validate_every=2),
    scoring=SceneScoringConfig(validation_scenes=6, test_scenes=8, steps=(1, 2), gate=None),
)
JUDGE = JudgeConfig(
    code=CODE,
    training=JudgeTrainingConfig(
        scenes=60, iterations=4, batch_size=8, warmup=1, checkpoint_every=2
    ),
    test_scenes=12,
    gate=None,
)
