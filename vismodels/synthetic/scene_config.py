"""Configuration of the generated scenes, of the small text-to-image model and of its judge.

Torch-free. Defaults are the measured recipes: every attribute is read right in at least 99 of 100
images of one or four steps; of the model of classes, the shape in at least 80 of 100.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from vismodels.arms import Seeds
from vismodels.config import Config

Corner = Literal["left", "right"]
Share = Annotated[float, Field(ge=0, le=1)]


class SceneConfig(Config):
    """Where things lie in a scene, and how often stars and styles occur.

    A model of one step paints the mean of all scenes of a caption: with a star in either corner,
    two half-transparent ones. Hence the one corner and the small jitter.
    """

    jitter: Annotated[float, Field(ge=0, le=2)] = 1.0  # of the object's center, pixels, each way
    corners: Annotated[tuple[Corner, ...], Field(min_length=1)] = ("right",)  # of the star
    star_share: Share = 0.4
    style_shares: tuple[Share, Share, Share] = (0.4, 0.3, 0.3)  # plain, striped, night

    @model_validator(mode="after")
    def _shares_are_whole(self) -> "SceneConfig":
        if abs(sum(self.style_shares) - 1) > 1e-9:
            raise ValueError(f"style_shares sum to {sum(self.style_shares)}, expected 1")
        return self


class SceneCodeConfig(Config):
    """The closed-form code of image patches; see `scene_latents.PatchVAE`."""

    scenes: PositiveInt = 2000  # that the components are computed from
    components: PositiveInt = 12
    patch_size: Literal[2, 4, 8] = 4
    # A component is divided by its standard deviation to this power: 0 PCA, 1 whitening.
    whitening: Share = 0.5


class SceneNetworkConfig(Config):
    """Sizes of the denoiser and of the text encoder."""

    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (48, 64)
    heads: PositiveInt = 4
    norm_groups: PositiveInt = 16
    text_width: PositiveInt = 64
    text_layers: PositiveInt = 2
    text_heads: PositiveInt = 4
    text_length: Annotated[int, Field(ge=17)] = 24  # tokens; the longest caption has 17

    @model_validator(mode="after")
    def _parts_fit(self) -> "SceneNetworkConfig":
        for name, divisor in (("norm_groups", self.norm_groups), ("heads", self.heads)):
            odd = [width for width in self.channels if width % divisor]
            if odd:
                raise ValueError(f"channels {odd} are no multiples of {name} ({divisor})")
        if self.text_width % self.text_heads:
            raise ValueError(
                f"text_width ({self.text_width}) is no multiple of text_heads ({self.text_heads})"
            )
        return self


class SceneTrainingConfig(Config):
    """How denoiser and text encoder are trained, together."""

    scenes: PositiveInt = 6000
    iterations: PositiveInt = 1500
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 2.0e-3
    warmup: NonNegativeInt = 150
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 1.0e-2
    max_gradient_norm: PositiveFloat = 1.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    empty_captions: Share = 0.1  # what guidance and negative prompts need
    last_timesteps: Share = 0.25  # share of the batch at pure noise, where one step starts
    validate_every: PositiveInt = 250

    @model_validator(mode="after")
    def _warmup_ends(self) -> "SceneTrainingConfig":
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be below iterations ({self.iterations})")
        return self


class SceneScoringConfig(Config):
    """What is generated to be read by the judge."""

    validation_scenes: PositiveInt = 100
    test_scenes: PositiveInt = 400
    steps: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 4)
    # Lowest accuracy of an attribute, in percent, below which later results mean little.
    gate: Annotated[float, Field(ge=0, le=100)] | None = 93.0


class SceneModelConfig(Config):
    """The stage `scene_model`: scenes, code, networks, training, scoring."""

    scenes: SceneConfig = SceneConfig()
    code: SceneCodeConfig = SceneCodeConfig()
    network: SceneNetworkConfig = SceneNetworkConfig()
    training: SceneTrainingConfig = SceneTrainingConfig()
    scoring: SceneScoringConfig = SceneScoringConfig()


class SceneTransformerConfig(Config):
    """Sizes of the diffusion transformer that paints classes."""

    heads: PositiveInt = 4
    head_width: PositiveInt = 24
    layers: PositiveInt = 4
    patch_size: Literal[1, 2] = 1  # edge of a token, pixels of the code


class SceneClassSettings(Config):
    """The model of classes, apart from scenes and code."""

    network: SceneTransformerConfig = SceneTransformerConfig()
    training: SceneTrainingConfig = SceneTrainingConfig(
        iterations=4000, learning_rate=1.0e-3, last_timesteps=0.0, validate_every=500
    )
    scoring: SceneScoringConfig = SceneScoringConfig(steps=(4, 20), gate=80.0)


class SceneClassModelConfig(SceneClassSettings):
    """The stage `scene_class_model`."""

    scenes: SceneConfig = SceneConfig()
    code: SceneCodeConfig = SceneCodeConfig()


class JudgeTrainingConfig(Config):
    """How the judge learns to read scenes, clean ones and those that went through the code."""

    scenes: PositiveInt = 4000
    iterations: PositiveInt = 500
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: PositiveFloat = 5.0e-3
    warmup: NonNegativeInt = 100
    weight_decay: Annotated[float, Field(ge=0)] = 1.0e-2
    reconstructed: Share = 0.5  # share of the batch that went through the code
    noise: Annotated[float, Field(ge=0)] = 0.05  # standard deviation, of the range [0, 1]
    checkpoint_every: PositiveInt = 250

    @model_validator(mode="after")
    def _warmup_ends(self) -> "JudgeTrainingConfig":
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be below iterations ({self.iterations})")
        return self


class JudgeSettings(Config):
    """The judge, apart from what it judges."""

    backbone: str = "test_resnet"  # of timm
    training: JudgeTrainingConfig = JudgeTrainingConfig()
    test_scenes: PositiveInt = 600
    gate: Annotated[float, Field(ge=0, le=100)] | None = 90.0  # as for the model


class JudgeConfig(JudgeSettings):
    """The stage `scene_judge`."""

    scenes: SceneConfig = SceneConfig()
    code: SceneCodeConfig = SceneCodeConfig()


class ScenesConfig(SceneModelConfig):
    """All about scenes: the model of captions, that of classes, and the judge of their images."""

    # Of the model of captions. Steering and quantization use that of the first seed of generated
    # data; the others say how much a training depends on its seed.
    model_seeds: Seeds = (0,)
    classes: SceneClassSettings = SceneClassSettings()
    judge: JudgeSettings = JudgeSettings()
