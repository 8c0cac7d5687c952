import pytest
import torch
from tiny import FRAMES, build, clips, wake

from nextvid_mm.inferencers.cost import (
    StreamingCost,
    measure_rollout,
    measure_streaming,
    timed,
)


def test_curves_have_a_point_for_every_frame_and_length():
    backbone = build().backbone.train()
    cost = measure_streaming(backbone, frames=12, window=4, recompute_at=[2, 12], repeats=1)
    assert len(cost.streaming_ms) == 12
    assert cost.recompute_frames == [2, 12]
    assert min(cost.streaming_ms + cost.recompute_ms) > 0
    # 2 layers, keys and values, 4 frames of 16 tokens, 24 channels, 4 bytes.
    assert cost.cache_bytes == 2 * 2 * 4 * 16 * 24 * 4
    assert backbone.training, 'the mode is given back'


def test_work_per_frame_is_constant_with_the_cache_and_grows_without(monkeypatch):
    backbone = build().backbone
    seen = []
    backbone.blocks[0].mlp.register_forward_hook(lambda _, x, y: seen.append(y.shape[1]))
    measure_streaming(backbone, 12, 4, recompute_at=[3, 6, 12], repeats=1, progress=False)
    assert seen[3:] == [1] * 12 + [3, 6, 12], 'after three warm-up steps'


def test_the_ratio_compares_the_ends_of_the_filled_window():
    rising = [100.0] * 10 + [1.0] * 50 + [7.0] * 20 + [2.0] * 50
    cost = StreamingCost(10, rising, [1, 130], [1.0, 40.0], 0)
    assert cost.ratio == 2.0
    assert cost.advantage == 20.0
    short = StreamingCost(2, [9.0, 9, 1, 1, 3, 3], [1], [1.0], 0)
    assert short.ratio == 3.0


def test_a_stream_must_outlast_its_window():
    with pytest.raises(ValueError, match='frames=5 must be at least window . 2 = 6'):
        measure_streaming(build().backbone, frames=5, window=4)


def test_noise_has_the_type_of_the_encoder():
    cost = measure_streaming(
        build().backbone.to(torch.float64), 6, 2, recompute_at=[1], size=8, progress=False
    )
    assert cost.cache_bytes == 2 * 2 * 2 * 4 * 24 * 8


def test_a_call_is_timed_by_any_clock_and_its_result_kept():
    ticks = iter((3.0, 5.5))
    assert timed(lambda: 'done', lambda: next(ticks)) == ('done', 2.5)


def test_a_roll_out_is_timed_both_ways_and_gives_the_same():
    model, counts = wake(build()).eval(), []
    model.backbone.patch_embed.register_forward_hook(lambda _, x, y: counts.append(y.shape[1]))
    cost = measure_rollout(model, clips(1), tubelets=3, num_steps=1)
    assert (cost.context, cost.tubelets, cost.num_steps) == (FRAMES // 2, 3, 1)
    assert counts[1:] == 2 * [4, 1, 1, 4, 5, 6], 'after the warm-up, both ways twice'
    assert min(cost.cached, cost.recomputed, cost.cached_context, cost.recomputed_context) > 0
    assert cost.difference < 1e-5
    assert cost.advantage == cost.recomputed_context / cost.cached_context
    assert f'{cost.recomputed:.2f} s without, 1 solver steps each' in str(cost)
