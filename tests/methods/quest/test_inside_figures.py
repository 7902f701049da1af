import numpy as np
from small_denoisers import build_dit, build_unet

from vismodels.methods.quest.inside_figures import (
    NAMED,
    by_kind,
    draw_courses,
    draw_histograms,
    draw_sensitivity,
)
from vismodels.methods.quest.layer_sets import layer_names
from vismodels.training.log import ScalarLog


def log_of(losses):
    log = ScalarLog()
    for iteration, loss in enumerate(losses, start=1):
        log.append(iteration, {"loss": loss, "global": loss / 2})
    return log


def histogram(start, width, shares):
    return np.stack([start + width * np.arange(len(shares)), np.array(shares)])


def test_every_layer_is_of_one_kind():
    for model in (build_unet(), build_dit()):
        names = layer_names(model)
        groups = by_kind(dict.fromkeys(names, 0.0))
        assert sorted(name for found in groups.values() for name in found) == sorted(names)
        for found in groups.values():
            assert found == [name for name in names if name in found]


def test_kinds_by_hand():
    errors = dict.fromkeys(
        [
            "conv_in",
            "time_embedding.linear_1",
            "down_blocks.0.resnets.0.conv1",
            "down_blocks.0.resnets.0.time_emb_proj",
            "down_blocks.0.resnets.0.conv_shortcut",
            "down_blocks.0.downsamplers.0.conv",
            "mid_block.attentions.0.proj_in",
            "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
            "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
            "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
        ],
        1.0,
    )
    names = list(errors)
    assert by_kind(errors) == {
        "fed by the time": [names[1], names[3]],
        "attention": [names[7], names[8]],
        "feed-forward": [names[9]],
        "convolution": [names[0], names[2], names[4], names[5]],
        "projection": [names[6]],
    }


def test_the_most_sensitive_layers_are_named(tmp_path):
    errors = {f"block.attn1.to_q{n}": float(n) for n in range(NAMED + 5)}
    errors |= {"conv_in": 100.0, "conv_out": 0.0}
    picture = draw_sensitivity("scenes", "w4a4", errors, tmp_path)
    drawn = (tmp_path / picture.file).read_text()
    assert "<!-- conv_in -->" in drawn
    assert f"<!-- block.attn1.to_q{NAMED + 4} -->" in drawn
    assert "<!-- block.attn1.to_q5 -->" not in drawn
    assert "conv_out" not in drawn
    assert "attention 7 %; convolution 50 %" in picture.alt
    assert "conv_in (100 %), block.attn1.to_q14 (14 %)" in picture.alt
    assert "all 17 layers" in picture.caption


def test_histograms_of_two_arms_tell_their_ranges(tmp_path):
    before = {"a.ff.net.2": histogram(-8.0, 4.0, [0.1, 0.8, 0.0, 0.1])}
    after = {"a.ff.net.2": histogram(-2.0, 1.0, [0.1, 0.8, 0.0, 0.1])}
    picture = draw_histograms("scenes", {"w4a4_mse": before, "tuned": after}, tmp_path)
    drawn = (tmp_path / picture.file).read_text()
    for text in ("a.ff.net.2", "w4a4 mse", "tuned", "density"):
        assert f"<!-- {text} -->" in drawn
    assert "a.ff.net.2 from -8 to 8 and -2 to 2" in picture.alt
    assert "w4a4 mse and tuned" in picture.caption


def test_courses_have_a_panel_for_each_stage(tmp_path):
    logs = {f"net, {n}": [log_of([8.0, 4.0, 2.0]), log_of([6.0, 3.0, 1.0])] for n in range(4)}
    picture = draw_courses("scenes", logs, tmp_path)
    drawn = (tmp_path / picture.file).read_text()
    assert all(f"<!-- net, {n} -->" in drawn for n in range(4))
    assert "net, 3 from 7 to 1.5" in picture.alt


def test_a_loss_of_one_iteration_can_be_drawn(tmp_path):
    picture = draw_courses("scenes", {"net": [log_of([2.0])]}, tmp_path)
    assert "net from 2 to 2" in picture.alt
