"""Rollout: cached equals recomputed, causality, seeds, and the work it saves."""

import pytest
import torch
from tiny import build, clips, wake

from nextvid_mm.flow import draw_flow
from nextvid_mm.inferencers import roll_out
from nextvid_mm.layers import BatchMask


def make(**changes):
    return wake(build(**changes)).eval()


def run(model, clip, tubelets, seeds=(1, 2), **options):
    options.setdefault('num_steps', 3)
    return torch.cat(list(roll_out(model, clip, tubelets, seeds, **options)), dim=2)


@pytest.mark.parametrize('tubelets', [8, 16])
@pytest.mark.parametrize('context', [2, 8])
def test_the_cache_changes_nothing(tubelets, context):
    model, clip = make().double(), clips(frames=context).double()
    fast = run(model, clip, tubelets)
    assert fast.shape == (2, 3, 2 * tubelets, 16, 16)
    # diffusers' schedulers step in float32, which the loop feeds back to the encoder.
    torch.testing.assert_close(fast, run(model, clip, tubelets, use_cache=False), atol=1e-5, rtol=0)


def test_the_first_tubelet_is_that_of_masked_generation_without_a_mask():
    model, clip = make().double(), clips(frames=8).double()
    noise = draw_flow((1, 2), (1, 1), (1, 1, 16, 96), like=clip).noise[:, :, 0].double()
    whole = model.generate(clip, BatchMask(None, None), noise.expand(-1, 3, -1, -1), num_steps=3)
    rolled = run(model, clip[:, :, :6], 1)
    torch.testing.assert_close(rolled, whole[:, :, -2:], atol=1e-5, rtol=0)


def test_generated_frames_are_seen_by_later_ones():
    model, clip = make(), clips()
    one, other = run(model, clip, 3, seeds=(1, 1)), run(model, clip, 3, seeds=(1, 9))
    assert torch.equal(one[0], other[0]), 'a continuation belongs to its clip and seed'
    assert not torch.allclose(one[1], other[1])
    model.head.sample = lambda z, noise, *args, **kwargs: torch.zeros_like(noise)
    still, moving = run(model, clip, 2), run(model, clip, 2, seeds=(5, 6))
    assert torch.equal(still, moving)


def test_the_end_of_the_context_decides_with_a_window():
    model, clip = make(), clips(frames=12)
    other = clip.clone()
    other[:, :, :2] = 0
    assert not torch.equal(run(model, clip, 2), run(model, other, 2))
    # Two encoder layers and the predictor look back window - 1 frames each: 3 * 1 + 1 < 5.
    assert torch.equal(run(model, clip, 2, window=2), run(model, other, 2, window=2))


def test_both_solvers_work_and_differ():
    model, clip = make(), clips()
    assert not torch.equal(run(model, clip, 1, solver='heun'), run(model, clip, 1))
    with pytest.raises(ValueError, match="unknown solver 'rk4'"):
        run(model, clip, 1, solver='rk4')


def test_every_frame_is_encoded_once():
    """8 context and 8 generated tubelets: 15 frames through the encoder instead of 92."""
    model, clip, counts = make(), clips(frames=16), []
    model.backbone.patch_embed.register_forward_hook(lambda _, x, y: counts.append(y.shape[1]))
    run(model, clip, 8, num_steps=1)
    assert counts == [8] + [1] * 7
    counts.clear()
    run(model, clip, 8, num_steps=1, use_cache=False)
    assert counts == list(range(8, 16))
