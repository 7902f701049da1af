import torch
from small_denoisers import build_dit, build_unet, calls_of

from vismodels.methods.quest.shortcuts import find_splits, has_shortcuts


def test_splits_lie_where_features_and_shortcut_were_joined(monkeypatch):
    model = build_unet()
    joined, plain = [], torch.cat

    def spy(tensors, dim=0):
        joined.append(tuple(each.shape[1] for each in tensors))
        return plain(tensors, dim=dim)

    monkeypatch.setattr(torch, "cat", spy)
    splits = find_splits(model, **calls_of(model).arguments())
    layers = dict(model.named_modules())
    expected = [first for first, _ in joined[-4:]]  # two up blocks of two residual blocks each
    assert list(splits.values()) == expected
    assert [layers[name].in_channels for name in splits] == [sum(each) for each in joined[-4:]]
    assert list(splits) == [
        f"up_blocks.{block}.resnets.{place}.conv_shortcut" for block in (0, 1) for place in (0, 1)
    ]


def test_no_hook_is_left_behind():
    model = build_unet()
    find_splits(model, **calls_of(model).arguments())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_network_without_up_blocks_has_no_shortcuts():
    assert has_shortcuts(build_unet())
    model = build_dit()
    assert not has_shortcuts(model)
    assert find_splits(model, **calls_of(model).arguments()) == {}
