"""FlexAttention, as far as a CPU can run it: the forward pass."""

import pytest
import torch
from dense import causal_mask, dense_attention, frames_of

from nextvid_mm.layers import FrameAttention, Rope3D, TokenGrid, set_attention_backend
from nextvid_mm.layers.flex import MANY_BLOCKS, flex_prefix_attention, use_flex


@pytest.mark.parametrize(('frames', 'nq', 'nk'), [(1, 3, 3), (4, 5, 5), (3, 6, 2), (40, 5, 5)])
@torch.no_grad()
def test_it_equals_a_dense_mask(frames, nq, nk):
    q = torch.randn(2, 2, frames * nq, 16)
    k, v = torch.randn(2, 2, 2, frames * nk, 16)
    mask = frames_of(frames, nq)[:, None] >= frames_of(frames, nk)
    out = flex_prefix_attention(q, k, v, frames)
    torch.testing.assert_close(out, dense_attention(q, k, v, mask), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_layer_uses_it_when_told_to():
    layer, rope = FrameAttention(32, 2, causal=True), Rope3D(16)(TokenGrid(3, 2, 2))
    x = torch.randn(1, 3, 4, 32)
    by_default = layer(x, rope)
    set_attention_backend(layer, 'flex')
    assert layer.backend == 'flex'
    torch.testing.assert_close(layer(x, rope), by_default, atol=1e-5, rtol=1e-5)
    assert causal_mask(3, 4).sum() == 4 * 4 * 6


def test_the_choice_follows_device_and_length():
    class OnGpu:
        is_cuda = True

        def __init__(self, head_dim):
            self.shape = (1, 1, 1, head_dim)

    assert not use_flex('auto', torch.zeros(1, 1, 64, 64), 64), 'on a CPU'
    assert use_flex('auto', OnGpu(64), MANY_BLOCKS)
    assert not use_flex('auto', OnGpu(64), MANY_BLOCKS - 1)
    assert not use_flex('auto', OnGpu(8), MANY_BLOCKS)
    assert use_flex('flex', OnGpu(64), 2)
    assert not use_flex('sdpa', OnGpu(64), 64)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="attention='xformers' is not one of auto, sdpa, flex"):
        set_attention_backend(torch.nn.Identity(), 'xformers')
