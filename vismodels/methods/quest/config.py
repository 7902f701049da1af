"""What is quantized, to how many bits, with which ranges; and which layers QuEST finetunes.

Wang et al. (2025), "QuEST: Low-bit Diffusion Model Quantization via Efficient Selective
Finetuning", arXiv 2402.03666. Names of layers are those of diffusers.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from vismodels.config import Config

# minmax: the extremes. mse: the shrunk extremes with the least error. percentile: the quantiles
# with the least error; see `vismodels.quantization.ranges`.
WeightRanges = Literal["minmax", "mse"]
ActivationRanges = Literal["minmax", "mse", "percentile"]
# tensor: one scale. channel: one for each channel of an input, whose scales go into the weight, so
# that integers can still be summed over channels; see `layers`.
Granularity = Literal["tensor", "channel"]

Bits = Annotated[int, Field(ge=2, le=16)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _is_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_is_pattern)]  # has to fit a whole name
Patterns = tuple[Pattern, ...]

# The first and the last layer of a UNet and of a DiT.
EDGES: Patterns = ("conv_in", "conv_out", r"pos_embed\.proj", r"proj_out(_2)?")


class WeightQuantConfig(Config):
    """How weights are quantized: asymmetric, a scale for each output channel, in every layer."""

    bits: Annotated[int, Field(ge=2, le=8)] = 4
    ranges: WeightRanges = "mse"


class ActivationQuantConfig(Config):
    """How an activation is quantized."""

    bits: Bits = 4
    ranges: ActivationRanges = "mse"
    granularity: Granularity = "tensor"
    symmetric: bool = False
    # What stays of the running extremes at each batch of calibration; null: extremes of all. The
    # authors' code: 0.95, but not for 4 bits.
    momentum: Share | None = None

    @model_validator(mode="after")
    def _running_extremes_are_extremes(self) -> "ActivationQuantConfig":
        if self.momentum is not None and self.ranges != "minmax":
            raise ValueError(
                f"momentum is of running extremes, that is of ranges: minmax, got {self.ranges}"
            )
        return self


class QuantizationSettings(Config):
    """What of a denoiser is quantized; every 2-D convolution and linear layer, and attention."""

    weights: WeightQuantConfig = WeightQuantConfig()
    activations: ActivationQuantConfig = ActivationQuantConfig()  # inputs of layers, and q, k, v
    softmax_bits: Bits | None = 8  # 16 in Stable Diffusion; null: attention products stay float
    edge_bits: Bits = 8  # of the inputs of the first and the last layer, by their extremes
    edge_layers: Patterns = EDGES
    skip: Patterns = ()  # layers that stay float
    time_groups: PositiveInt = 1  # sets of activation scales; 1 in the paper, 20 in its code
    split_shortcuts: bool = True  # Q-Diffusion: both parts of a concatenation on their own

    @model_validator(mode="after")
    def _weights_hold_one_set_of_scales(self) -> "QuantizationSettings":
        if self.time_groups > 1 and self.activations.granularity == "channel":
            raise ValueError(
                "scales of channels go into the weight, of which there is one: granularity "
                f"channel needs time_groups: 1, got {self.time_groups}"
            )
        return self

    @property
    def edge_activations(self) -> ActivationQuantConfig:
        """How inputs of the first and last layers are quantized."""
        return self._extremes(self.edge_bits)

    @property
    def attention(self) -> ActivationQuantConfig:
        """How queries, keys and values are quantized: with one scale each.

        The authors' code has a scale for each of their channels, along which queries and keys are
        summed: there is no weight into which it could go.
        """
        return self.activations.model_copy(update={"granularity": "tensor"})

    @property
    def probabilities(self) -> ActivationQuantConfig:
        """How the output of a softmax is quantized; without a negative value, zero is code 0."""
        assert self.softmax_bits is not None
        return self._extremes(self.softmax_bits).model_copy(update={"symmetric": False})

    def _extremes(self, bits: int) -> ActivationQuantConfig:
        changes = {"bits": bits, "ranges": "minmax", "granularity": "tensor"}
        return self.activations.model_copy(update=changes)


def _preset(weight_bits: int, activation_bits: int) -> QuantizationSettings:
    ranges: Literal["minmax", "mse"] = "minmax" if activation_bits == 8 else "mse"
    return QuantizationSettings(
        weights=WeightQuantConfig(bits=weight_bits, ranges="minmax" if weight_bits == 8 else "mse"),
        activations=ActivationQuantConfig(bits=activation_bits, ranges=ranges),
    )


PRESETS = {"w8a8": _preset(8, 8), "w4a8": _preset(4, 8), "w4a4": _preset(4, 4)}


class LayerSets(Config):
    """Layers that are finetuned, Sec. 4.2 and 4.3: those fed by the time, and sensitive ones."""

    temporal: Patterns
    sensitive: Patterns
    untouched: Patterns = ()  # whose scales are not among those of all others


# Of UNets; of DiT, each block its own; of PixArt, one for all blocks.
_TIME_PROJECTIONS = (
    r".*\.time_emb_proj",
    r".*\.norm\d?\.linear",
    "proj_out_1",
    r"(.*\.)?adaln_single\.linear",
)
_TIME_EMBEDDINGS = (r"time_embedding\.linear_\d", r".*\.timestep_embedder\.linear_\d")
_FEED_FORWARD = (r".*\.ff\.net\..*",)
_PLAIN_ATTENTION = (r".*\.attentions\.\d+\.to_[qkv]",)  # of unconditional UNets, without a block
# paper: the time embedding too, and attention. code: as published for Stable Diffusion and for
# unconditional networks; the shared time embedding is never tuned, nor are its scales. wide:
# everything in transformer blocks. small: what their attention and feed-forward layers add to the
# residual stream; 12 % of the parameters of the scene model, 19 % with the projections of the time.
LAYER_SETS = {
    "paper": LayerSets(
        temporal=(*_TIME_PROJECTIONS, *_TIME_EMBEDDINGS),
        sensitive=(
            r".*\.attn1\.to_[qkv]",
            r".*\.attn2\.to_q",
            *_FEED_FORWARD,
            *_PLAIN_ATTENTION,
        ),
    ),
    "code": LayerSets(
        temporal=_TIME_PROJECTIONS,
        sensitive=(*_FEED_FORWARD, *_PLAIN_ATTENTION),
        untouched=_TIME_EMBEDDINGS,
    ),
    "wide": LayerSets(
        temporal=(*_TIME_PROJECTIONS, *_TIME_EMBEDDINGS),
        sensitive=(r".*\.attn\d\.to_.*", r".*\.attentions\.\d+\.to_.*", *_FEED_FORWARD),
    ),
    "small": LayerSets(
        temporal=_TIME_PROJECTIONS,
        sensitive=(r".*\.ff\.net\.2", r".*\.to_out\.0", r".*\.attentions\.\d+\.proj_out"),
    ),
}
LayerSetName = Literal["paper", "code", "wide", "small"]


class ReconstructionConfig(Config):
    """Adaptive rounding of weights, block by block; BRECQ, as in Q-Diffusion.

    Defaults are those of QuEST's code.
    """

    iterations: PositiveInt = 20_000  # of each block
    batch_size: PositiveInt = 16  # 32 (LDM) and 8 (Stable Diffusion) in Q-Diffusion
    learning_rate: PositiveFloat = 1e-3
    penalty: NonNegativeFloat = 0.01  # of rounding variables between 0 and 1
    warmup: Share = 0.2  # of the iterations, without the penalty
    quantized_inputs: bool = True  # of the blocks before; False: those of the float network


class ClosedFormConfig(Config):
    """Weights fitted to quantized inputs, layer after layer, without gradients. Ours."""

    compensate: bool = True  # weight and bias learn what the outputs lack, by least squares
    # Penalty of a change of the weight, in units of the inputs' mean square. 0.01 fits calibration
    # calls better and images of twenty steps worse; docs/decisions/0019.
    ridge: PositiveFloat = 1.0
    gptq: bool = True  # False: nearest rounding
    damping: PositiveFloat = 0.01  # of GPTQ, as published
    rows: PositiveInt = 8192  # at most, of a layer's inputs


# local: of the outputs of the tuned layers. sum, mean: of their squared errors; relative: mean of
# these in units of the float network's mean square, so that no layer drowns the others; the global
# term is relative too then.
LocalLoss = Literal["none", "sum", "mean", "relative"]
# What the global error is of: the network's output (v, epsilon, whichever), or epsilon whatever the
# output is; `objective.epsilon_weights`.
Prediction = Literal["output", "epsilon"]
# mixed: timesteps at random in each batch. sequential: one after another, the last one last.
# cycled: one for each batch, in turn, again and again.
Timesteps = Literal["mixed", "sequential", "cycled"]


class TuningStage(Config):
    """One stage of finetuning: what is trained, on which loss, how fast."""

    name: str
    weights: Literal["temporal", "sensitive", "both", "all", "none"]  # with their biases
    scales: Literal["own", "others", "all"]  # of temporal layers; of all others
    weight_rate: PositiveFloat
    scale_rate: PositiveFloat
    relative_scales: bool  # the rate is that of a factor's logarithm
    schedule: Literal["constant", "cosine"]
    local: LocalLoss
    global_weight: NonNegativeFloat
    global_per_layer: bool = False  # the global term once for each local one
    timesteps: Timesteps = "mixed"
    prediction: Prediction = "output"


def _paper_stages(**changes: Any) -> tuple[TuningStage, TuningStage]:
    common = {
        "weight_rate": 1e-5,
        "scale_rate": 1e-4,
        "relative_scales": False,
        "schedule": "constant",
        "local": "sum",
        "global_weight": 2.0,
        **changes,
    }
    return (
        TuningStage(name="tla", weights="temporal", scales="own", **common),
        TuningStage(name="cma", weights="sensitive", scales="others", **common),
    )


def _code_stages() -> tuple[TuningStage, TuningStage]:
    tla, cma = _paper_stages(timesteps="sequential", local="mean", global_weight=1.0)
    first = {"scale_rate": 1e-5, "global_per_layer": True}
    second = {"local": "none", "timesteps": "cycled"}  # 20 epochs over all timesteps
    return tla.model_copy(update=first), cma.model_copy(update=second)


def _global_stage(
    name: str, weights: Literal["temporal", "both", "all", "none"]
) -> tuple[TuningStage]:
    stage = TuningStage(
        name=name,
        weights=weights,
        scales="all",
        weight_rate=3e-4,
        scale_rate=1e-2,
        relative_scales=True,
        schedule="cosine",
        local="none",
        global_weight=1.0,
    )
    return (stage,)


Variant = Literal["paper", "tla", "code", "global", "selective", "temporal", "full", "scales_only"]
# paper: Sec. 4, equal parts of the iterations. tla: its first stage. code: as published for latent
# diffusion, where the second stage has no local term. global: the paper's without local terms, its
# Table 7. The others are ours: one stage, the error of the output alone.
VARIANTS: dict[Variant, tuple[TuningStage, ...]] = {
    "paper": _paper_stages(),
    "tla": _paper_stages()[:1],
    "code": _code_stages(),
    "global": _paper_stages(local="none"),
    "selective": _global_stage("selective", "both"),
    "temporal": _global_stage("temporal", "temporal"),
    "full": _global_stage("full", "all"),
    "scales_only": _global_stage("scales_only", "none"),
}


class FinetuningConfig(Config):
    """Finetuning of a quantized network toward the float one."""

    variant: Variant = "paper"
    layer_set: LayerSetName = "paper"  # which layers are temporal, and which sensitive
    iterations: PositiveInt = 2_200  # of all stages together; Table 8
    batch_size: PositiveInt = 32
    # Null: the variant's.
    weight_rate: PositiveFloat | None = None
    scale_rate: PositiveFloat | None = None
    relative_scales: bool | None = None
    local: LocalLoss | None = None
    timesteps: Timesteps | None = None
    prediction: Prediction | None = None

    @model_validator(mode="after")
    def _every_stage_has_an_iteration(self) -> "FinetuningConfig":
        if self.iterations < len(self.stages):
            raise ValueError(
                f"{self.variant} has {len(self.stages)} stages, got {self.iterations} iterations"
            )
        return self

    @property
    def layers(self) -> LayerSets:
        """The patterns of temporal and sensitive layers."""
        return LAYER_SETS[self.layer_set]

    @property
    def stages(self) -> tuple[TuningStage, ...]:
        """The stages of the variant, with what is set here in place of its own."""
        names = ("weight_rate", "scale_rate", "relative_scales", "local", "timesteps", "prediction")
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return tuple(stage.model_copy(update=own) for stage in VARIANTS[self.variant])

    @property
    def stage_iterations(self) -> tuple[int, ...]:
        """Iterations of each stage; the last one takes what cannot be divided."""
        count = len(VARIANTS[self.variant])
        each = self.iterations // count
        return (*[each] * (count - 1), self.iterations - each * (count - 1))


class Recipe(Config):
    """All that is done to a denoiser, in this order."""

    quantization: QuantizationSettings
    reconstruction: ReconstructionConfig | None = None
    closed_form: ClosedFormConfig | None = None
    finetuning: FinetuningConfig | None = None

    @model_validator(mode="after")
    def _weights_are_rounded_once(self) -> "Recipe":
        if self.reconstruction is not None and self.closed_form is not None:
            raise ValueError(
                "reconstruction and closed_form both choose how weights are rounded; leave one out"
            )
        return self


def _plain(settings: QuantizationSettings) -> QuantizationSettings:
    weights = settings.weights.model_copy(update={"ranges": "minmax"})
    activations = settings.activations.model_copy(update={"ranges": "minmax"})
    return settings.model_copy(update={"weights": weights, "activations": activations})


RecipeName = Literal[
    "rtn", "mse", "reconstructed", "closed_form", "tla", "tla_cma", "selective", "full"
]


def recipe(
    name: RecipeName,
    quantization: QuantizationSettings = PRESETS["w4a4"],
    *,
    reconstruction: ReconstructionConfig = ReconstructionConfig(),  # noqa: B008 (frozen)
    finetuning: FinetuningConfig = FinetuningConfig(),  # noqa: B008 (frozen)
) -> Recipe:
    """Return one of the usual recipes.

    Args:
        name: rtn: extremes, nearest rounding. mse: ranges as in `quantization`. reconstructed: and
            adaptive rounding. closed_form: least squares and GPTQ in place of it. tla, tla_cma:
            reconstructed, then one or both stages of the paper. selective, full: from
            `closed_form`, the error of the output alone, on selected layers or on all.
        quantization: what is quantized, to how many bits.
        reconstruction: its budget.
        finetuning: budget and layers; its variant is the name's.
    """
    if name == "rtn":
        return Recipe(quantization=_plain(quantization))
    if name == "mse":
        return Recipe(quantization=quantization)
    if name == "closed_form":
        return Recipe(quantization=quantization, closed_form=ClosedFormConfig())
    if name == "reconstructed":
        return Recipe(quantization=quantization, reconstruction=reconstruction)
    variant = "paper" if name == "tla_cma" else name
    tuned = FinetuningConfig.model_validate({**finetuning.model_dump(), "variant": variant})
    if name in ("selective", "full"):
        return Recipe(quantization=quantization, closed_form=ClosedFormConfig(), finetuning=tuned)
    return Recipe(quantization=quantization, reconstruction=reconstruction, finetuning=tuned)
