"""What every registered architecture promises; a new one is tested by being registered."""

import json
from pathlib import Path

import pytest
import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vismodels.checkpoint import load_weights, save_weights
from vismodels.cost.counters import count
from vismodels.registry import Architecture
from vismodels.zoo import create_model, list_models, model_info

every_architecture = pytest.mark.parametrize("name", list_models())


def random_input(info: Architecture, batch: int = 2, seed: int = 0) -> Tensor:
    """Return inputs of unequal sizes, odd wherever the architecture allows it."""
    step = info.multiple_of
    first = -(-info.minimum_size // step) | 1  # odd
    sizes = [step * (first + 4 + 2 * axis) for axis in range(len(info.input_shape) - 1)]
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, info.input_shape[0], *sizes, generator=generator)


@pytest.fixture
def model(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model(name).eval()


@pytest.fixture
def x(name: str) -> Tensor:
    return random_input(model_info(name))


@every_architecture
def test_the_output_is_scale_times_the_input(name, model, x):
    scale = model_info(name).scale
    if scale is not None:
        assert model(x).shape[2:] == torch.Size(scale * size for size in x.shape[2:])
    assert model(x).shape[0] == x.shape[0]


@every_architecture
def test_the_example_shape_is_accepted(name, model):
    assert model(torch.zeros(1, *model_info(name).input_shape)).isfinite().all()


@every_architecture
def test_the_smallest_input_is_accepted(name, model):
    info = model_info(name)
    smallest = -(-info.minimum_size // info.multiple_of) * info.multiple_of
    shape = (info.input_shape[0], *[smallest] * (len(info.input_shape) - 1))
    assert model(torch.zeros(1, *shape)).isfinite().all()


@every_architecture
def test_two_evaluations_are_equal(name, model, x):
    assert torch.equal(model(x), model(x))


@every_architecture
def test_items_of_a_batch_do_not_influence_one_another(name, model, x):
    alone = torch.cat([model(item[None]) for item in x])
    torch.testing.assert_close(model(x), alone, rtol=1e-4, atol=5e-5)  # other summation order


@every_architecture
def test_every_parameter_receives_a_finite_gradient(name, model, x):
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # a gate that starts closed lets no gradient pass
                parameter.fill_(0.5)
    model.train()(x).square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@every_architecture
def test_a_saved_model_comes_back_bit_for_bit(name, model, x, tmp_path):
    save_weights(model, tmp_path)
    again = load_weights(type(model), tmp_path)
    assert again.state_dict().keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    # Tensors in a file are not aligned as new ones are: sums in another order.
    torch.testing.assert_close(again(x), model(x), rtol=1e-5, atol=1e-6)


@every_architecture
def test_saving_twice_writes_the_same_bytes(name, model, tmp_path):
    for folder in ("first", "second"):
        save_weights(model, tmp_path / folder)
    written = [path.name for path in sorted((tmp_path / "first").iterdir())]
    weights = "model.safetensors"
    if isinstance(model, ModelMixin):
        weights = f"diffusion_pytorch_{weights}"
    assert {"config.json", weights} <= set(written)
    for file in written:
        first, second = (tmp_path / folder / file for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes(), file


@every_architecture
def test_the_saved_config_rebuilds_the_model(name, model, tmp_path):
    model.save_pretrained(tmp_path)
    config = json.loads(Path(tmp_path, "config.json").read_text())
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    again = create_model(name, **arguments)
    again.load_state_dict(model.state_dict(), strict=True)
    assert type(again) is type(model)


@every_architecture
def test_double_precision_works_and_agrees(name, model, x):
    single = model(x)
    double = model.double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single, double.float(), rtol=1e-3, atol=1e-4)


@every_architecture
@pytest.mark.parametrize("extra", [-1, 1])
def test_a_wrong_number_of_channels_is_a_value_error(name, model, x, extra):
    channels = model_info(name).input_shape[0] + extra
    wrong = torch.zeros(1, channels, *x.shape[2:])
    with pytest.raises(ValueError, match=str(channels)):
        model(wrong)


@every_architecture
def test_the_counter_agrees_with_torch(name, model, x):
    cost = count(model, x)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert cost.macs == counter.get_total_flops() // 2 > 0


@every_architecture
def test_the_architecture_names_its_source_and_task(name):
    info = model_info(name)
    assert info.source
    assert info.task
    assert info.name == name
