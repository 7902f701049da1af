"""Settings of models of scenes, and of their judge, that train in a second or two."""

from vismodels.synthetic.scene_config import (
    JudgeConfig,
    JudgeTrainingConfig,
    SceneClassModelConfig,
    SceneCodeConfig,
    SceneModelConfig,
    SceneNetworkConfig,
    SceneScoringConfig,
    SceneTrainingConfig,
    SceneTransformerConfig,
)

CODE = SceneCodeConfig(scenes=60)
MODEL = SceneModelConfig(
    code=CODE,
    network=SceneNetworkConfig(channels=(8, 16), norm_groups=4, text_width=16, text_layers=1),
    training=SceneTrainingConfig(scenes=60, iterations=4, batch_size=4, warmup=1, validate_every=2),
    scoring=SceneScoringConfig(validation_scenes=6, test_scenes=8, steps=(1, 2), gate=None),
)
CLASS_MODEL = SceneClassModelConfig(
    code=CODE,
    network=SceneTransformerConfig(heads=2, head_width=8, layers=2, patch_size=2),
    training=MODEL.training,
    scoring=MODEL.scoring,
)
JUDGE = JudgeConfig(
    code=CODE,
    training=JudgeTrainingConfig(
        scenes=60, iterations=4, batch_size=8, warmup=1, checkpoint_every=2
    ),
    test_scenes=12,
    gate=None,
)
