"""Class activation maps of 2D and 3D classifiers: which cells of a feature map speak for a class.

CAM needs a network that ends in a global average pool and one linear layer; Grad-CAM, Grad-CAM++
and LayerCAM work at any layer with spatial axes. Maps are raw, on the layer's own grid: `maps.py`
scales them and brings them to the input's. Every function takes a batch, runs the model in
evaluation mode and gives every module its own mode back, leaves the gradients of the parameters
alone, and works where the caller has switched gradients off. K classes; (*cells) is (h, w) or
(d, h, w).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vismodels.nn.hooks import capture, select_modules
from vismodels.nn.modes import evaluation_mode

_IDENTITY_TOLERANCE = 0.01  # of the largest logit: wide enough for half precision
_LISTED = 12

Weigh = Callable[[Tensor, Tensor], Tensor]


def class_activation_map(features: Tensor, weight: Tensor) -> Tensor:
    """Return the maps of all classes, CAM_c = sum_k W[c, k] F[k, ...].

    Zhou et al., "Learning deep features for discriminative localization", CVPR 2016
    (arXiv 1512.04150), Eq. (2). Its mean over the cells plus the bias is the logit of the class.

    Args:
        features: (B, C, *cells), the input of the global average pool.
        weight: (K, C), of the linear layer behind the pool.

    Returns:
        (B, K, *cells).
    """
    return torch.einsum("bc...,kc->bk...", features, weight)


def cam(
    model: nn.Module, x: Tensor, layer: str, classifier: str, target: int | Tensor | None = None
) -> Tensor:
    """Return the class activation map of each item: mean(map) + bias is the logit of the class.

    Zhou et al., CVPR 2016 (arXiv 1512.04150), for networks that end in a global average pool and
    one linear layer. The identity is checked on every call, so that a wrong layer is an error
    instead of a plausible picture.

    Args:
        model: puts out logits (B, K).
        x: (B, C, H, W) or (B, C, D, H, W).
        layer: name of the module whose output is averaged by the pool.
        classifier: name of the linear layer, or 1x1 convolution, that puts out the logits.
        target: class of all items, (B,) classes, or None for the largest logit of each.

    Returns:
        (B, *cells), positive where a cell speaks for the class, negative where against it.

    Raises:
        KeyError: for an unknown module, or one that did not run.
        TypeError: if the classifier is not linear, or the model does not put out logits.
        ValueError: if the output of the layer has no spatial axes, or the identity does not hold.
    """
    weight, bias = _linear(model, classifier)
    with torch.no_grad(), evaluation_mode(model):
        with capture(model, layer) as outputs:
            logits = _logits(model(x))
        features = _spatial(outputs[layer], x, layer, lambda: _layers(model, x))
        classes = _classes(logits, target)
        if features.shape[1] != weight.shape[1]:
            raise ValueError(
                f"{layer!r} puts out {features.shape[1]} channels and {classifier!r} takes "
                f"{weight.shape[1]}; name the layer before the global average pool"
            )
        maps = class_activation_map(features, weight)
        error = (maps.flatten(2).mean(2) + bias - logits).abs().max()
        if not error <= _IDENTITY_TOLERANCE * logits.abs().max():
            raise ValueError(
                f"mean(CAM) + bias misses the logits by up to {error:.3g}, so {layer!r} is not "
                f"what is averaged before {classifier!r}; name that layer, or use grad_cam or "
                "layer_cam, which work at any layer"
            )
    return maps[torch.arange(len(maps), device=maps.device), classes]


def grad_cam(model: nn.Module, x: Tensor, layer: str, target: int | Tensor | None = None) -> Tensor:
    """Return the Grad-CAM of each item: channels weighted by their mean gradient, then ReLU.

    Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization" (arXiv 1610.02391), Eq. (1) and (2). At the layer before a global average pool
    it is the positive part of CAM divided by the number of cells.

    Args:
        model: puts out logits (B, K).
        x: (B, C, H, W) or (B, C, D, H, W).
        layer: name of a module with an output (B, C, *cells); where the model changes that output
            in place afterwards, the changed one counts.
        target: class of all items, (B,) classes, or None for the largest logit of each.

    Returns:
        (B, *cells), not negative.

    Raises:
        KeyError: for an unknown module, or one that did not run.
        TypeError: if the model does not put out logits.
        ValueError: if the output of the layer has no spatial axes or no gradient reaches it.
    """
    return _weighted(model, x, layer, target, lambda features, gradient: _mean(gradient))


def grad_cam_plus_plus(
    model: nn.Module, x: Tensor, layer: str, target: int | Tensor | None = None
) -> Tensor:
    """Return the Grad-CAM++ of each item: gradients weighted so that every instance counts.

    Chattopadhyay et al., "Grad-CAM++: generalized gradient-based visual explanations for deep
    convolutional networks" (arXiv 1710.11063), for the class score exp(logit): the weight of a
    channel is the sum over cells of alpha relu(g), alpha = g^2 / (2 g^2 + g^3 sum(F)). The common
    factor exp(logit) > 0 is left out: it overflows, and scaling removes it anyway.

    Args:
        model: puts out logits (B, K).
        x: (B, C, H, W) or (B, C, D, H, W).
        layer: as in `grad_cam`.
        target: class of all items, (B,) classes, or None for the largest logit of each.

    Returns:
        (B, *cells), not negative.

    Raises:
        KeyError: for an unknown module, or one that did not run.
        TypeError: if the model does not put out logits.
        ValueError: if the output of the layer has no spatial axes or no gradient reaches it.
    """

    def weigh(features: Tensor, gradient: Tensor) -> Tensor:
        cells = features[0, 0].numel()
        # Divided by g^2, so that small gradients do not underflow in their third power.
        divisor = 2 + gradient * _mean(features) * cells
        alpha = torch.where(divisor != 0, 1 / divisor, 0)
        return _mean(alpha * gradient.relu()) * cells

    return _weighted(model, x, layer, target, weigh)


def layer_cam(
    model: nn.Module, x: Tensor, layer: str, target: int | Tensor | None = None
) -> Tensor:
    """Return the LayerCAM of each item: every cell weighted by its own positive gradient.

    Jiang et al., "LayerCAM: exploring hierarchical class activation maps for localization", IEEE
    TIP 30 (2021): made for early layers, whose gradients differ from cell to cell.

    Args:
        model: puts out logits (B, K).
        x: (B, C, H, W) or (B, C, D, H, W).
        layer: as in `grad_cam`.
        target: class of all items, (B,) classes, or None for the largest logit of each.

    Returns:
        (B, *cells), not negative.

    Raises:
        KeyError: for an unknown module, or one that did not run.
        TypeError: if the model does not put out logits.
        ValueError: if the output of the layer has no spatial axes or no gradient reaches it.
    """
    return _weighted(model, x, layer, target, lambda features, gradient: gradient.relu())


def _weighted(
    model: nn.Module, x: Tensor, layer: str, target: int | Tensor | None, weigh: Weigh
) -> Tensor:
    """Return relu(sum over channels of weight * features), weight from features and gradient."""
    with _gradients(), evaluation_mode(model):
        x = _tracked(x)
        with capture(model, layer) as outputs:
            logits = _logits(model(x))
        features = _spatial(outputs[layer], x, layer, lambda: _layers(model, x, target))
        (gradient,) = _gradients_of(_score(logits, target), [features])
        if gradient is None:
            raise ValueError(
                f"no gradient of the class score reaches {layer!r}: the score does not depend on "
                f"its output, or the model detaches it; layers that one reaches: "
                f"{_layers(model, x, target)}"
            )
    with torch.no_grad():
        features = features.detach()
        return (weigh(features, gradient) * features).sum(1).relu()


@contextmanager
def _gradients() -> Iterator[None]:
    """Switch gradients on, whatever the caller switched off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _tracked(x: Tensor) -> Tensor:
    """Return a copy of `x` from which gradients flow through frozen layers and in-place ones."""
    return x.clone().detach().requires_grad_().clone()


def _score(logits: Tensor, target: int | Tensor | None) -> Tensor:
    """Return the sum over items of their class's logit: items do not mix, so gradients do not."""
    return logits.gather(1, _classes(logits, target)[:, None]).sum()


def _gradients_of(score: Tensor, outputs: list[Tensor]) -> list[Tensor | None]:
    """Return the gradient for each output, None where the score does not depend on it."""
    tracked = [output for output in outputs if output.requires_grad and score.requires_grad]
    found = iter(torch.autograd.grad(score, tracked, allow_unused=True) if tracked else ())
    return [next(found) if any(output is t for t in tracked) else None for output in outputs]


def _mean(values: Tensor) -> Tensor:
    """Return the mean over the cells, (B, C, 1, ...)."""
    return values.mean(dim=tuple(range(2, values.ndim)), keepdim=True)


def _logits(output: Any) -> Tensor:
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    came = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise TypeError(f"expected a model that puts out logits (B, K), got {came}; wrap it in one")


def _classes(logits: Tensor, target: int | Tensor | None) -> Tensor:
    """Return the (B,) classes to explain."""
    if target is None:
        return logits.argmax(1)
    classes = torch.as_tensor(target, device=logits.device)
    items, known = logits.shape
    if classes.ndim > 1 or classes.is_floating_point() or classes.numel() not in (1, items):
        raise ValueError(
            f"expected one class, or one for each of {items} items, as integers, got "
            f"{tuple(classes.shape)} {classes.dtype}"
        )
    if classes.min() < 0 or classes.max() >= known:
        raise ValueError(f"expected classes from 0 to {known - 1}, got {classes.tolist()}")
    return classes.expand(items)


def _linear(model: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Return the weight (K, C) and bias (K,) of a linear layer or a 1x1 convolution."""
    module = select_modules(model, name)[name]
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2 or weight[0, 0].numel() != 1:
        raise TypeError(
            f"expected a linear layer or 1x1 convolution, {name!r} is a {type(module).__name__}; "
            "name the layer that puts out the logits"
        )
    weight = weight.detach().flatten(1)
    return weight, weight.new_zeros(len(weight)) if bias is None else bias.detach()


def _has_cells(output: Any, x: Tensor) -> bool:
    """Whether an output is a feature map of the items of `x`, of more than one cell."""
    return (
        isinstance(output, Tensor)
        and output.ndim == x.ndim
        and len(output) == len(x)
        and output[0, 0].numel() > 1
    )


def _spatial(output: Any, x: Tensor, layer: str, others: Callable[[], str]) -> Tensor:
    if _has_cells(output, x):
        return output  # type: ignore[no-any-return]
    came = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise ValueError(
        f"the output of {layer!r} has no spatial axes to map: {came} for an input "
        f"{tuple(x.shape)}; layers that have some: {others()}"
    )


def _layers(model: nn.Module, x: Tensor, target: int | Tensor | None = None) -> str:
    """Return the names of the last layers of which a map can be made, for an error message.

    Where gradients are on, those that the gradient of the class score reaches.
    """
    with capture(model, lambda name, module: name != "") as outputs:
        logits = model(x)
    found = {name: output for name, output in outputs.items() if _has_cells(output, x)}
    if torch.is_grad_enabled():
        gradients = _gradients_of(_score(logits, target), list(found.values()))
        found = {
            name: output
            for (name, output), gradient in zip(found.items(), gradients, strict=True)
            if gradient is not None
        }
    names = [repr(name) for name in found]
    return ", ".join(["..."] * (len(names) > _LISTED) + names[-_LISTED:]) or "none"
