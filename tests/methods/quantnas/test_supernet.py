import pytest
import torch
from torch.nn import functional as F

from vismodels.config import ConfigError
from vismodels.cost.counters import count
from vismodels.methods.quantnas.mixing import MixedWeight, Mixing
from vismodels.methods.quantnas.network import SearchedSR
from vismodels.methods.quantnas.space import (
    PUBLISHED_OPERATIONS,
    BasicSkeleton,
    RFDNSkeleton,
    SpaceConfig,
    genotype_cost,
    parse_candidate,
)
from vismodels.methods.quantnas.supernet import Supernet
from vismodels.nas.genotype import Genotype
from vismodels.quantization.layers import QuantConv2d, bits_of

PUBLISHED = SpaceConfig(skeleton=BasicSkeleton())
LONG = ("skip_connect", "zero", "simple_3x3_grouped_3", "decenc_3x3_2", "DWS_3x3", "growth2_1x1")
SPACES = {
    "basic": SpaceConfig(skeleton=BasicSkeleton(channels=12)),
    "rfdn": SpaceConfig(skeleton=RFDNSkeleton(channels=12, cells=2)),
    "long": SpaceConfig(
        skeleton=BasicSkeleton(channels=12, cells=2, bias=True, bicubic_skip=True, scale=2),
        operations={
            **PUBLISHED_OPERATIONS["basic"],
            "body": ("conv_3x1_1x3", "conv_5x1_1x5", *LONG),
            "skip": ("simple_5x5_grouped_2", "decenc_3x3_2_g3", *LONG),
        },
        bits=(2, 8, 32),
        io_bits=16,
    ),
    "rfdn_without_tail": SpaceConfig(
        skeleton=RFDNSkeleton(channels=24, cells=1, tail_layers=0, bias=True, adq=False, scale=3),
        operations={  # 27 channels have no two groups
            **PUBLISHED_OPERATIONS["rfdn"],
            "upsample": PUBLISHED_OPERATIONS["rfdn"]["tail"],
        },
    ),
}
FORMS = ("merged", "per_operation")
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def supernet(space, form="merged", mode="noise", amplitude=1.0, seed=0, cost="bitops"):
    net = Supernet(space, Mixing(mode, seeded(1), amplitude=amplitude), form, cost)
    net.initialize_(seeded(seed))
    for number, logits in enumerate(net.choices.parameters()):
        logits.data.normal_(generator=seeded(number))
    return net


def image(size=8, batch=2):
    return torch.rand(batch, 3, size, size, generator=seeded(9))


def results(net, x, weights=None):
    """Return the output and the gradients of all parameters; zeros where there is none."""
    output = net(x, weights)
    output.square().mean().backward()
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in net.named_parameters()
    }
    return output.detach(), gradients


def assert_equal_results(first, second, x, tolerance, weights=None):
    (output, gradients), (expected, true) = (results(net, x, weights) for net in (first, second))
    torch.testing.assert_close(output, expected, rtol=0, atol=tolerance)
    assert gradients.keys() == true.keys()
    for name, gradient in true.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=tolerance, msg=name)
    return true


# --- the published configuration ---------------------------------------------------------------


def test_the_published_supernet_has_the_published_size():
    net = Supernet(PUBLISHED, Mixing("noise", seeded()))
    assert sum(p.numel() for p in net.network.parameters()) == 677_176
    assert [len(logits) for logits in net.choices.parameters()] == [8, 8, 8, 8, 6, 8, 10, 10]


def test_before_the_search_everything_is_equally_probable():
    net = Supernet(PUBLISHED, Mixing("noise", seeded()))
    probabilities = net.probabilities()
    assert all((p == p[0]).all() for p in probabilities.values())
    assert net.total_entropy(probabilities).item() == pytest.approx(16.794, abs=5e-4)
    assert net.expected_cost(probabilities).item() == pytest.approx(8_604_942_336, rel=1e-7)
    linear = Supernet(PUBLISHED, Mixing("noise", seeded()), cost="linear")
    assert linear.expected_cost(probabilities).item() == pytest.approx(2_581_482_701, rel=1e-7)


@pytest.mark.parametrize(("form", "calls"), [("merged", 26), ("per_operation", 67)])
@pytest.mark.parametrize("mode", ["noise", "published_noise", "direct"])
def test_the_merged_form_needs_26_convolutions_a_forward_instead_of_67(
    monkeypatch, form, calls, mode
):
    net, made, real = Supernet(PUBLISHED, Mixing(mode, seeded()), form), [], F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *a, **k: (made.append(1), real(*a, **k))[1])
    with torch.no_grad():
        net(image(4, batch=1))
    assert len(made) == calls


def test_merged_equals_per_operation_in_single_precision_for_the_published_space():
    merged, separate = (supernet(PUBLISHED, form, amplitude=0.0) for form in FORMS)
    assert_equal_results(merged, separate, image(6), 1e-5)


# --- merged equals per operation ---------------------------------------------------------------


@every_space
@pytest.mark.parametrize("mode", ["noise", "published_noise"])
def test_merged_equals_per_operation_without_noise(space, mode):
    nets = [supernet(space, form, mode, amplitude=0.0).double() for form in FORMS]
    gradients = assert_equal_results(*nets, image().double(), 1e-9)
    unmoved = [name for name, gradient in gradients.items() if not gradient.any()]
    # The comparison is not one of zeros, but for an attention whose few features are negative.
    assert [name for name in unmoved if ".attention." not in name] == []


@every_space
def test_merged_equals_per_operation_for_one_architecture_in_direct_quantization(space):
    merged, separate = (supernet(space, form, "direct").double() for form in FORMS)
    weights = merged.one_hot(space.random_genotype(3))
    assert_equal_results(merged, separate, image().double(), 1e-9, weights)


def test_both_forms_start_from_equal_weights():
    merged, separate = (
        supernet(SPACES["rfdn"], form, mode="direct").state_dict() for form in FORMS
    )
    assert merged.keys() == separate.keys()
    for name, value in merged.items():
        assert torch.equal(value, separate[name]), name


# --- one architecture --------------------------------------------------------------------------


def derived(net, space, genotype):
    """Return the network of a genotype with the weights that the supernet has for it."""
    network = SearchedSR(space.skeleton.model_dump(mode="json"), dict(genotype.choices))
    network.to(next(net.parameters()).dtype)
    source, target = net.network.state_dict(), {}
    for name in network.network.state_dict():
        layer, _, rest = name.partition(".convolutions.")
        if not rest:  # outside the searched layers
            target[name] = source[name]
            continue
        slot = layer.rpartition(".")[2]
        slot = "tail_0" if slot == "tail" else slot
        operation, bits = parse_candidate(genotype.choices[slot])
        position, _, part = rest.partition(".")
        module = net.network.get_submodule(layer)
        scale = f"mixed_weight.quantizers.{module.bits.index(bits)}.scale"
        inner = {"weight": "mixed_weight.weight", "quantize_weight.scale": scale}.get(part, part)
        target[name] = source[f"{layer}.operations.{operation}.{position}.{inner}"]
    network.network.load_state_dict(target)
    return network


@every_space
@pytest.mark.parametrize("form", FORMS)
def test_a_supernet_with_one_candidate_selected_is_the_derived_network(space, form):
    net = supernet(space, form, mode="direct").double()
    with torch.no_grad():
        net(image(16).double())  # statistics of the normalizations
    net.eval()
    for seed in range(3):
        genotype = space.random_genotype(seed)
        network = derived(net, space, genotype).eval()
        x = image(16).double()
        torch.testing.assert_close(
            net(x, net.one_hot(genotype)), network(x), rtol=1e-9, atol=1e-9, msg=str(genotype)
        )


@every_space
def test_the_expected_cost_of_one_architecture_is_that_of_the_derived_network(space):
    net = supernet(space)
    for seed in range(2):
        genotype = space.random_genotype(seed)
        network = derived(supernet(space, mode="direct"), space, genotype).to("meta")
        counted = count(network, torch.zeros(1, 3, 32, 32, device="meta"), bits_of=bits_of)
        searched = sum(layer.bitops for layer in counted.layers if ".convolutions." in layer.name)
        assert net.expected_cost(net.one_hot(genotype)).item() == searched
        assert net.genotype_bitops(genotype) == searched
        assert genotype_cost(space.skeleton, genotype, (32, 32)) == searched
        if space.skeleton.kind == "basic":
            assert counted.bitops == searched
        else:  # convolutions at 8 bits that no search decides about
            assert counted.bitops > searched
            fixed = [layer for layer in counted.layers if ".convolutions." not in layer.name]
            assert sum(layer.macs for layer in fixed) * 64 == counted.bitops - searched


def test_the_expected_cost_is_linear_in_the_weights_and_differentiable():
    net = supernet(SPACES["basic"])
    first, second = (net.one_hot(SPACES["basic"].random_genotype(seed)) for seed in (0, 1))
    middle = {name: (first[name] + 3 * second[name]) / 4 for name in first}
    expected = (net.expected_cost(first) + 3 * net.expected_cost(second)) / 4
    assert net.expected_cost(middle).item() == pytest.approx(expected.item())
    net.expected_cost(net.probabilities()).backward()
    assert all(logits.grad.any() for logits in net.choices.parameters())


def test_the_genotype_names_the_largest_logits_whatever_their_sign():
    net = supernet(SPACES["basic"])
    for logits in net.choices.parameters():
        logits.data.fill_(-1.0)
        logits.data[3] = -0.5
    space = SPACES["basic"]
    assert dict(net.genotype().choices) == {n: c[3] for n, c in space.candidates().items()}
    space.check(net.genotype())


# --- structure ---------------------------------------------------------------------------------


def test_cells_share_their_decisions_and_have_weights_of_their_own():
    net = supernet(SPACES["basic"])
    assert set(net.choices) == set(SPACES["basic"].candidates())
    first, second = (cell.body["body_0"].state_dict() for cell in list(net.network.cells)[:2])
    assert not any(torch.equal(first[name], second[name]) for name in first)
    net(image()).mean().backward()
    assert net.choice("body_0").logits.grad.any()


def test_weights_depend_on_the_generator_alone():
    torch.manual_seed(0)
    first = supernet(SPACES["rfdn"], mode="direct", seed=4).state_dict()
    torch.manual_seed(1)
    again = supernet(SPACES["rfdn"], mode="direct", seed=4).state_dict()
    other = supernet(SPACES["rfdn"], mode="direct", seed=5).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["network.fuse.weight"], other["network.fuse.weight"])


def test_steps_of_direct_quantization_start_from_the_drawn_weights():
    net = supernet(SPACES["basic"], mode="direct")
    for module in net.modules():
        if isinstance(module, MixedWeight):
            mean = module.weight.abs().mean(dim=(1, 2, 3))
            for quantizer, bits in zip(module.quantizers, module.bits, strict=True):
                expected = 2 * mean / (2 ** (bits - 1) - 1) ** 0.5
                torch.testing.assert_close(quantizer.scale.flatten(), expected)


def test_noise_differs_from_forward_to_forward_and_repeats_from_the_state_of_the_generator():
    net, x = supernet(SPACES["basic"]).eval(), image()
    noise = next(m.mixing.generator for m in net.modules() if isinstance(m, MixedWeight))
    state = noise.get_state()
    first, second = net(x), net(x)
    assert not torch.equal(first, second)
    noise.set_state(state)
    assert torch.equal(net(x), first)


def test_a_sampled_architecture_gives_finite_gradients():
    net = supernet(SPACES["basic"], mode="direct")
    weights = net.sample("hard_gumbel", 0.5, seeded(2))
    assert all(sorted(w.tolist())[-2:] == [0.0, 1.0] for w in weights.values())
    net(image(), weights).square().mean().backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(logits.grad.any() for logits in net.choices.parameters())


def test_the_fixed_convolutions_of_rfdn_have_eight_bits():
    fixed = [m for m in supernet(SPACES["rfdn"]).modules() if isinstance(m, QuantConv2d)]
    assert len(fixed) == 2 * (1 + 7) + 2
    assert {bits_of("", layer) for layer in fixed} == {(8, 8)}


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 4, 8, 8), (3, 8, 8)])
def test_images_that_are_not_rgb_are_refused(shape):
    with pytest.raises(ValueError, match=r"RGB images \(B, 3, h, w\), got shape"):
        supernet(SPACES["basic"])(torch.zeros(shape))


def test_a_genotype_of_another_space_is_refused_with_the_nearest_name():
    net = supernet(SPACES["basic"])
    choices = dict(SPACES["basic"].random_genotype(0).choices)
    with pytest.raises(ConfigError, match="no decision 'heat_0'; did you mean 'head_0'"):
        net.one_hot(Genotype("basic", {**choices, "heat_0": "simple_3x3@8"}))
    with pytest.raises(ConfigError, match="head_0 has no candidate 'simple_3x3@16'; did you mean"):
        net.one_hot(Genotype("basic", {**choices, "head_0": "simple_3x3@16"}))
