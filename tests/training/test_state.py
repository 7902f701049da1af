import pytest
import torch
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim import lr_scheduler

from vismodels.checkpoint import load_resume, save_resume, tensor_digest
from vismodels.training.log import ScalarLog
from vismodels.training.state import TrainState

TORCH_SCHEDULERS = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2),
    "multi step": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 4]),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 10),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda i: 0.9**i),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20),
    "warm-up": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.LinearLR(optimizer, total_iters=3),
            lr_scheduler.CosineAnnealingLR(optimizer, 9),
        ],
        [3],
    ),
    "warm restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 3),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=1),
}
OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, amsgrad=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.1, max_iter=2),
}


def through_a_file(state, path):
    save_resume(path / "resume.pt", state.state_dict())
    return load_resume(path / "resume.pt")


@pytest.mark.parametrize("name", TORCH_SCHEDULERS)
def test_the_learning_rates_of_every_torch_scheduler_go_on(name, tmp_path):
    def build():
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
        scheduler = TORCH_SCHEDULERS[name](optimizer)
        return TrainState(optimizer=optimizer, scheduler=scheduler)

    def advance(state):
        optimizer, scheduler = state.parts.values()
        optimizer.step()
        scheduler.step(*([1.0] if name == "plateau" else []))
        return optimizer.param_groups[0]["lr"]

    first = build()
    for _ in range(5):
        advance(first)
    second = build()
    second.load_state_dict(through_a_file(first, tmp_path))
    assert [advance(second) for _ in range(6)] == [advance(first) for _ in range(6)]


def test_the_learning_rates_of_timm_schedulers_go_on(tmp_path):
    def build():
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)
        scheduler = CosineLRScheduler(optimizer, 20, warmup_t=4, t_in_epochs=False)
        return TrainState(optimizer=optimizer, scheduler=scheduler)

    def rates(state, updates):
        optimizer, scheduler = state.parts.values()
        return [
            (optimizer.param_groups[0]["lr"], scheduler.step_update(update)) for update in updates
        ]

    first, second = build(), build()
    rates(first, range(1, 6))
    second.load_state_dict(through_a_file(first, tmp_path))
    assert rates(second, range(6, 12)) == rates(first, range(6, 12))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on_bit_for_bit(name, tmp_path):
    def build():
        model = nn.Linear(3, 1)
        nn.init.ones_(model.weight)
        nn.init.zeros_(model.bias)
        return TrainState(model=model, optimizer=OPTIMIZERS[name](model.parameters()))

    def advance(state, count):
        model, optimizer = state.parts.values()

        def closure():
            optimizer.zero_grad()
            loss = (model(torch.tensor([[1.0, 2.0, 3.0]])) - 1).pow(2).sum()
            loss.backward()
            return loss

        for _ in range(count):
            optimizer.step(closure)
        return tensor_digest(model)

    first = build()
    advance(first, 3)
    second = build()
    second.load_state_dict(through_a_file(first, tmp_path))
    assert advance(second, 3) == advance(first, 3)


@pytest.mark.parametrize("options", [{}, {"use_warmup": True}, {"exclude_buffers": True}])
def test_the_moving_average_of_timm_goes_on_bit_for_bit(options, tmp_path):
    def build():
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        model.load_state_dict({k: torch.ones_like(v) for k, v in model.state_dict().items()})
        return TrainState(model=model, ema=ModelEmaV3(model, decay=0.9, **options))

    def advance(state, first, last):
        model, ema = state.parts.values()
        for i in range(first, last):
            for tensor in model.state_dict().values():
                tensor.mul_(i)
            ema.update(model, step=i)
        return tensor_digest(ema)

    first = build()
    advance(first, 1, 4)
    second = build()
    second.load_state_dict(through_a_file(first, tmp_path))
    assert advance(second, 4, 8) == advance(first, 4, 8)


def test_generators_and_the_global_random_state_are_restored(tmp_path):
    own = torch.Generator().manual_seed(3)
    state = TrainState(noise=own)
    torch.rand(3)
    torch.rand(3, generator=own)
    saved = through_a_file(state, tmp_path)
    expected = torch.rand(5), torch.rand(5, generator=own), torch.randn(3)
    state.load_state_dict(saved)
    found = torch.rand(5), torch.rand(5, generator=own), torch.randn(3)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_iteration_is_restored():
    state = TrainState()
    state.iteration = 7
    saved = state.state_dict()
    again = TrainState()
    again.load_state_dict(saved)
    assert again.iteration == 7


def test_parts_without_state_are_refused():
    with pytest.raises(TypeError, match="part 'seed' is a int"):
        TrainState(model=nn.Linear(1, 1), seed=3)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: TrainState(net=nn.Linear(2, 1), log=ScalarLog()), r"got log \(ScalarLog\), net"),
        (lambda: TrainState(model=nn.Linear(2, 1)), r"got model \(Linear\)$"),
        (lambda: TrainState(model=nn.Conv2d(2, 1, 1), log=ScalarLog()), r"model \(Conv2d\)"),
        (lambda: TrainState(model=nn.Linear(3, 1), log=ScalarLog()), "'model' was built otherwise"),
    ],
)
def test_a_state_of_other_parts_is_refused(other, message):
    state = TrainState(model=nn.Linear(2, 1), log=ScalarLog())
    with pytest.raises(ValueError, match=message):
        state.load_state_dict(other().state_dict())


def test_an_optimizer_of_other_groups_is_refused():
    def build(count):
        parameters = [nn.Parameter(torch.ones(2)) for _ in range(count)]
        return TrainState(optimizer=torch.optim.Adam(parameters))

    with pytest.raises(ValueError, match="'optimizer' was built otherwise"):
        build(2).load_state_dict(build(1).state_dict())


def test_a_state_from_a_machine_with_other_gpus_is_refused():
    state = TrainState()
    count = torch.cuda.device_count() + 1
    saved = state.state_dict()
    saved["random"]["cuda"] = [torch.get_rng_state()] * count
    with pytest.raises(ValueError, match=f"{count} CUDA devices"):
        state.load_state_dict(saved)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_generators_are_restored(tmp_path):
    own = torch.Generator("cuda").manual_seed(3)
    state = TrainState(noise=own)
    saved = through_a_file(state, tmp_path)
    expected = torch.rand(5, device="cuda"), torch.rand(5, device="cuda", generator=own)
    state.load_state_dict(saved)
    found = torch.rand(5, device="cuda"), torch.rand(5, device="cuda", generator=own)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
