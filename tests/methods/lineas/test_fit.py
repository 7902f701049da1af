import math

import pytest
import torch
from small_pipelines import NORMS, PIPELINES, SOURCE, TARGET, build, call_of, hooks_of

from vismodels.checkpoint import tensor_digest
from vismodels.methods.lineas import fit as fit_module
from vismodels.methods.lineas.activations import pooled_activations
from vismodels.methods.lineas.config import (
    CallConfig,
    FitConfig,
    OptimizerConfig,
    SparsityConfig,
)
from vismodels.methods.lineas.fit import build_optimizer, fit, learning_rate, noise_seeds
from vismodels.methods.lineas.layers import pipeline_modules, select_layers
from vismodels.methods.lineas.maps import Maps
from vismodels.methods.lineas.steer import steer
from vismodels.methods.lineas.trainable import TrainableMaps
from vismodels.methods.lineas.transport import Target, transport_loss
from vismodels.training.log import ScalarLog

FEW = ("unet.mid_block.*norm.*", "text_encoder.final_layer_norm")


def config(iterations=3, rate=1e-2, **changes):
    optimizer = changes.pop("optimizer", OptimizerConfig(name="adam", learning_rate=rate))
    return FitConfig(**{"layers": FEW, "iterations": iterations, "optimizer": optimizer} | changes)


def digest(maps):
    return tensor_digest(
        {f"{layer}.{k}": v for layer, each in maps.items() for k, v in each.tensors().items()}
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", PIPELINES)
def test_maps_are_learnt_on_any_pipeline(name, dtype, tmp_path):
    pipeline = build(name, dtype)
    modules = pipeline_modules(pipeline)
    modules.train()
    weights, log = tensor_digest(modules), ScalarLog()
    maps = fit(
        pipeline, SOURCE, TARGET, config(2, layers=NORMS[name]), call=call_of(name, 2), log=log
    )
    assert all(each.active().all() for each in maps.values())  # every unit has moved
    assert {each.scale.dtype for each in maps.values()} == {torch.float32}
    assert not any(each.scale.requires_grad for each in maps.values())
    assert log.iterations == [1, 2]
    assert log.curves.keys() == {"loss", "support", "learning_rate"}
    # The pipeline is as it was.
    assert tensor_digest(modules) == weights
    assert all(weight.requires_grad and weight.grad is None for weight in modules.parameters())
    assert all(module.training for module in modules.modules())
    assert not [hook for hook in hooks_of(pipeline) if hook.__module__.startswith("vismodels.")]
    maps.save_pretrained(tmp_path)
    assert digest(Maps.from_pretrained(tmp_path)) == digest(maps)


def test_steered_source_activations_come_nearer_to_the_target(sd):
    settings = config(25, rate=2e-2, batch_size=6, noise="shared", scaling="target_std")

    def rows(side, prompts):
        seeds = noise_seeds(0, "shared", side, len(prompts))
        call = call_of("sd")
        layers = ["unet.mid_block.resnets.0.norm1"]
        values, _ = pooled_activations(
            sd, layers, prompts, ["mean"], seeds=seeds, batch_size=6, call=call
        )
        return values["mean"]

    targets = {key: Target.of(value, "target_std") for key, value in rows("target", TARGET).items()}
    before = transport_loss(rows("source", SOURCE), targets)
    log = ScalarLog()
    maps = fit(sd, SOURCE, TARGET, settings, log=log)
    with steer(sd, maps):
        after = transport_loss(rows("source", SOURCE), targets)
    assert after < 0.7 * before
    assert log.curves["loss"][-1] < 0.6 * log.curves["loss"][0]


def test_equal_seeds_give_equal_maps(sd):
    first, second = (fit(sd, SOURCE, TARGET, config()) for _ in range(2))
    assert digest(first) == digest(second)
    assert digest(first) != digest(fit(sd, SOURCE, TARGET, config(), seed=1))


def test_an_interrupted_fit_ends_with_the_same_bits(sd, tmp_path, monkeypatch):
    settings = config(3, post_iterations=3, sparsity=SparsityConfig(gamma=0.2))
    whole = ScalarLog()
    expected = fit(sd, SOURCE, TARGET, settings, log=whole)
    update = fit_module._backward
    updates = []

    def interrupted(*arguments):
        updates.append(1)
        if len(updates) == 5:
            raise KeyboardInterrupt
        update(*arguments)

    options = {"checkpoint_dir": tmp_path, "checkpoint_every": 2}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(fit_module, "_backward", interrupted)
        fit(sd, SOURCE, TARGET, settings, **options)
    log = ScalarLog()
    assert digest(fit(sd, SOURCE, TARGET, settings, log=log, **options)) == digest(expected)
    assert log.curves == whole.curves


def test_sparsity_leaves_units_at_the_identity_exactly(sd):
    log = ScalarLog()
    dense = fit(sd, SOURCE, TARGET, config(4))
    settings = config(4, sparsity=SparsityConfig(gamma=0.4, group=0.1))
    sparse = fit(sd, SOURCE, TARGET, settings, log=log)
    assert dense.support() == 1
    assert 0 < sparse.support() < 1
    assert log.curves["support"][-1] == sparse.support()
    strong = fit(sd, SOURCE, TARGET, config(2, sparsity=SparsityConfig(gamma=100.0)))
    assert strong.support() == 0
    assert all(torch.equal(each.scale, torch.ones(each.units)) for each in strong.values())


def test_the_refit_moves_only_what_sparsity_left(sd):
    sparsity = SparsityConfig(gamma=0.4, group=0.1)
    sparse = fit(sd, SOURCE, TARGET, config(4, sparsity=sparsity))
    refitted = fit(sd, SOURCE, TARGET, config(4, sparsity=sparsity, post_iterations=3))
    for layer, each in sparse.items():
        moved = refitted[layer]
        assert torch.equal(moved.scale != 1, each.scale != 1)
        assert torch.equal(moved.shift != 0, each.shift != 0)
    assert digest(refitted) != digest(sparse)


def test_the_rate_is_half_a_cosine_and_restarts_for_the_refit():
    settings = config(
        4, optimizer=OptimizerConfig(learning_rate=2.0, dampening=0.1), post_iterations=2
    )
    rates = [learning_rate(settings, iteration) for iteration in range(6)]
    assert rates[0] == rates[4] == 2
    assert rates[2] == pytest.approx(2 * (0.1 + 0.9 / 2))
    assert rates[5] == pytest.approx(rates[2])
    weight = torch.nn.Parameter(torch.zeros(1))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer := torch.optim.SGD([weight], 2.0), T_max=4, eta_min=0.2
    )
    for rate in rates[:4]:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        optimizer.step()
        schedule.step()


def test_the_code_threshold_uses_the_rate_of_the_gradient_step(sd, monkeypatch):
    seen = []
    monkeypatch.setattr(
        fit_module, "proximal_step_", lambda d, s, sparsity, rate: seen.append(rate)
    )
    log = ScalarLog()
    fit(sd, SOURCE, TARGET, config(2), log=log)
    assert seen == log.curves["learning_rate"] == [1e-2, pytest.approx(1e-2 / 2)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_optimizers(name, kind):
    optimizer = build_optimizer(TrainableMaps({"a": 2}, "all"), OptimizerConfig(name=name))
    assert type(optimizer) is kind
    assert len(optimizer.param_groups[0]["params"]) == 2
    decay = optimizer.param_groups[0]["weight_decay"]
    assert decay == (0.01 if name == "adamw" else 0)


def test_one_step_of_gradient_descent_by_hand(sd):
    """On the shift of the last layer the loss is that of the target's means."""
    settings = config(
        1,
        rate=1.0,
        layers=("unet.conv_norm_out",),
        batch_size=6,
        noise="shared",
        reduction="sum",
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.25),
    )
    maps = fit(sd, SOURCE, TARGET, settings)

    def mean(side, prompts):
        values, _ = pooled_activations(
            sd,
            ["unet.conv_norm_out"],
            prompts,
            ["mean"],
            seeds=noise_seeds(0, "shared", side, len(prompts)),
            batch_size=6,
            call=call_of("sd"),
        )
        return values["mean"]["unet.conv_norm_out", 0].mean(0)

    gap = mean("target", TARGET) - mean("source", SOURCE)
    torch.testing.assert_close(maps["unet.conv_norm_out"].shift, 0.25 * 2 * gap)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_layers_may_be_chosen_by_type(name):
    pipeline = build(name)
    chosen = select_layers(pipeline, "unet.*", types=torch.nn.GroupNorm)
    maps = fit(pipeline, SOURCE, TARGET, config(1, layers=chosen), call=call_of(name))
    assert set(maps) == set(chosen)
    norms = {type(pipeline_modules(pipeline).get_submodule(layer)) for layer in maps}
    assert norms == {torch.nn.GroupNorm}


def test_target_layers_may_be_others_than_the_steered_ones(sd):
    settings = config(layers=("text_encoder.final_layer_norm",), target_layers=("unet.conv_out",))
    maps = fit(sd, SOURCE, TARGET, settings)
    assert list(maps) == ["text_encoder.final_layer_norm"]
    assert maps.support() == 1


def test_maps_that_no_gradient_reaches_are_refused_by_name(sd):
    settings = config(
        layers=("unet.conv_in", "unet.conv_out"), target_layers=("unet.conv_norm_out",)
    )
    with pytest.raises(ValueError, match=r"reaches the maps of unet\.conv_out: "):
        fit(sd, SOURCE, TARGET, settings)
    backwards = config(layers=("unet.conv_out",), target_layers=("text_encoder.final_layer_norm",))
    with pytest.raises(ValueError, match=r"reaches the maps of unet\.conv_out"):
        fit(sd, SOURCE, TARGET, backwards)


def test_the_gradient_of_the_last_step_gives_other_maps(sd):
    settings = {"layers": FEW, "noise": "shared", "batch_size": 6}
    full, last = (
        fit(sd, SOURCE, TARGET, config(2, gradient=gradient, **settings), call=call_of("sd", 3))
        for gradient in ("full", "last")
    )
    assert digest(full) != digest(last)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", PIPELINES)
def test_going_back_step_by_step_gives_the_gradients_of_the_whole_loss(
    name, reduction, monkeypatch
):
    """The loss of all steps at once holds the graphs of all of them."""
    settings = config(
        layers=NORMS[name], batch_size=6, gradient="last", reduction=reduction, noise="shared"
    )
    pipeline, call = build(name), call_of(name, 3)
    found = []

    def kept(loss, maps):
        found.append((loss.item(), [each.grad.clone() for each in maps.parameters()]))
        raise KeyboardInterrupt

    def at_once(pipeline, prompts, seeds, targets, config, call):
        layers = tuple(dict.fromkeys(layer for layer, _ in targets))
        recording = fit_module.run_and_record(
            pipeline, layers, prompts, ["mean"], seeds=seeds, gradient="last", call=call
        )
        loss = transport_loss(recording.values["mean"], targets, config.reduction)
        loss.backward()
        return loss

    monkeypatch.setattr(fit_module, "_backward", kept)
    for loss_of in (fit_module._loss, at_once):
        monkeypatch.setattr(fit_module, "_loss", loss_of)
        with pytest.raises(KeyboardInterrupt):
            fit(pipeline, SOURCE, TARGET, settings, call=call)
    (loss, gradients), (expected, whole) = found
    assert loss == pytest.approx(expected, rel=1e-5)
    scale = max(each.abs().max() for each in whole)
    for ours, theirs in zip(gradients, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * scale.item())


@pytest.mark.parametrize("name", PIPELINES)
def test_the_gradient_of_the_last_step_needs_the_memory_of_one_step(name):
    """Counted are the bytes that graphs hold at once."""

    def most_held(steps, gradient):
        held, most = 0, 0

        class Kept:
            def __init__(self, tensor):
                nonlocal held, most
                self.tensor = tensor.detach()  # without the graph, or they would hold each other
                self.size = tensor.numel() * tensor.element_size()
                held += self.size
                most = max(most, held)

            def __del__(self):
                nonlocal held
                held -= self.size

        settings = config(1, layers=NORMS[name][:1], gradient=gradient)
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            fit(pipeline, SOURCE, TARGET, settings, call=call_of(name, steps))
        return most

    pipeline = build(name)
    assert most_held(4, "last") < 1.1 * most_held(1, "last")
    assert most_held(4, "full") > 3 * most_held(1, "full")


def test_a_negative_prompt_is_for_all_batches_of_both_sides(sd):
    maps = [
        fit(sd, SOURCE, TARGET, config(2), call=call_of("sd", 2, guidance_scale=4.0, **negative))
        for negative in ({}, {"negative_prompt": ""}, {"negative_prompt": "a star"})
    ]
    assert digest(maps[0]) == digest(maps[1]) != digest(maps[2])
    with pytest.raises(ValueError, match=r"negative_prompt is one text for all .* got 6 for 5"):
        fit(sd, SOURCE, TARGET, config(2), call=call_of("sd", negative_prompt=["a star"] * 6))


@pytest.mark.parametrize("pooling", ["mean_std", "all", "max"])
def test_other_poolings_are_learnt_from(sd, pooling):
    maps = fit(sd, SOURCE, TARGET, config(1, pooling=pooling, scaling="target_std"))
    assert maps.support() == 1


def test_maps_that_move_the_mean_alone_are_learnt_and_say_so(sd):
    maps = fit(sd, SOURCE, TARGET, config(1, mode="avg"))
    assert (maps.mode, maps.support()) == ("avg", 1)


def test_noise_is_fresh_for_each_side_or_shared_by_both():
    shared = [noise_seeds(3, "shared", side, 4) for side in ("source", "target")]
    fresh = [noise_seeds(3, "fresh", side, 4) for side in ("source", "target")]
    assert shared[0] == shared[1]
    assert not set(fresh[0]) & set(fresh[1])
    assert len(set(fresh[0])) == 4


def test_source_noise_is_drawn_anew_in_each_iteration_unless_shared(sd, monkeypatch):
    drawn = []
    run = fit_module.run_and_record

    def watched(*arguments, seeds, **options):
        drawn.append(list(seeds))
        return run(*arguments, seeds=seeds, **options)

    monkeypatch.setattr(fit_module, "run_and_record", watched)
    fit(sd, SOURCE, TARGET, config(2, batch_size=6))
    assert len({seed for seeds in drawn for seed in seeds}) == 12
    drawn.clear()
    fit(sd, SOURCE, TARGET, config(2, batch_size=6, noise="shared"))
    assert set(drawn[0]) == set(drawn[1]) == set(noise_seeds(0, "shared", "source", 6))


def test_too_few_prompts_are_refused(sd):
    with pytest.raises(ValueError, match="batch of 4 cannot be drawn from 3"):
        fit(sd, SOURCE[:3], TARGET, config())
    with pytest.raises(ValueError, match="expected prompts, got none"):
        fit(sd, SOURCE, [], config())


def test_a_loss_that_is_not_finite_stops_the_fit(sd):
    with pytest.raises(FloatingPointError, match="learning rate"):
        fit(
            sd, SOURCE, TARGET, config(9, optimizer=OptimizerConfig(name="sgd", learning_rate=1e30))
        )
    assert not hooks_of(sd)


@pytest.mark.parametrize("name", ["prompt", "generator", "output_type"])
def test_arguments_that_are_set_here_are_refused_in_a_call(sd, name):
    with pytest.raises(ValueError, match=f"call has {name}, .* leave it out"):
        fit(sd, SOURCE, TARGET, config(1), call=call_of("sd", **{name: "pil"}))


def test_maps_remember_the_call_they_were_learnt_with(sd, tmp_path):
    settings = config(1, call=CallConfig(num_inference_steps=7, guidance_scale=3.0))
    call = {"num_inference_steps": 2, "negative_prompt": "a star"}
    maps = fit(sd, SOURCE, TARGET, settings, call=call)
    assert maps.about["config"]["call"] == {"guidance_scale": 3.0, **call}
    maps.save_pretrained(tmp_path)
    assert Maps.from_pretrained(tmp_path).about == maps.about


def test_maps_remember_where_they_come_from(sd):
    about = fit(sd, SOURCE, TARGET, config(1), seed=7).about
    assert (about["method"], about["seed"], about["prompts"]) == ("lineas", 7, [6, 5])
    assert about["config"]["layers"] == list(FEW)
    assert math.isclose(about["config"]["optimizer"]["learning_rate"], 1e-2)
