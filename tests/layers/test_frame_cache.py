"""The ring buffer against dense attention with a band mask (float64)."""

import pytest
import torch
from dense import dense_attention, frames_of

from nextvid_mm.layers import FrameCache


def band_mask(num_frames, n, window):
    frame = frames_of(num_frames, n)
    age = frame[:, None] - frame[None, :]
    return (age >= 0) & (age < window)


def qkv(frames, n, batch=2):
    return torch.randn(3, batch, 2, frames * n, 6, dtype=torch.float64)


def stream(cache, q, k, v, n, steps):
    """Outputs of pushing ``steps`` frames at a time through the only layer of a cache."""
    outputs, start = [], 0
    for step in steps:
        part = slice(start * n, (start + step) * n)
        outputs.append(cache.causal(0)(q[:, :, part], k[:, :, part], v[:, :, part], step))
        cache.advance(step)
        start += step
    return torch.cat(outputs, dim=2)


@pytest.mark.parametrize('window', [1, 3, 9, 20])
@pytest.mark.parametrize('steps', [[1] * 9, [4, 1, 1, 3], [9], [2, 7]])
def test_a_stream_attends_to_the_last_frames_whatever_the_step(window, steps):
    q, k, v = qkv(9, 3)
    got = stream(FrameCache(1, window), q, k, v, 3, steps)
    torch.testing.assert_close(got, dense_attention(q, k, v, band_mask(9, 3, window)))


def test_memory_is_allocated_once():
    q, k, v = qkv(9, 3)
    cache = FrameCache(1, 4)
    stream(cache, q, k, v, 3, [1])
    before, address = cache.nbytes, cache._keys[0].data_ptr()
    stream(cache, q, k, v, 3, [3, 6])
    assert before == cache.nbytes == 2 * 2 * 2 * 4 * 3 * 6 * 8
    assert cache._keys[0].data_ptr() == address


@pytest.mark.parametrize('after', [2, 5])
def test_one_stream_starts_afresh_while_the_other_goes_on(after):
    q, k, v = qkv(9, 3)
    cache = FrameCache(1, 4)
    before = stream(cache, *(x[:, :, : after * 3] for x in (q, k, v)), 3, [1] * after)
    cache.reset([1])
    rest = stream(cache, *(x[:, :, after * 3 :] for x in (q, k, v)), 3, [1] * (9 - after))
    whole = dense_attention(q, k, v, band_mask(9, 3, 4))
    torch.testing.assert_close(torch.cat([before, rest], dim=2)[0], whole[0])
    fresh = dense_attention(*(x[1:, :, after * 3 :] for x in (q, k, v)), band_mask(9 - after, 3, 4))
    torch.testing.assert_close(rest[1:], fresh)


def test_a_full_reset_forgets_everything_and_takes_another_batch():
    cache = FrameCache(1, 4)
    stream(cache, *qkv(5, 3), 3, [1] * 5)
    cache.reset()
    q, k, v = qkv(2, 5, batch=3)
    got = stream(cache, q, k, v, 5, [1, 1])
    torch.testing.assert_close(got, dense_attention(q, k, v, band_mask(2, 5, 4)))


@pytest.mark.parametrize('steps', [[1, 1, 1, 1], [4], [3, 1]])
def test_queries_read_all_cached_context(steps):
    _, k, v = qkv(4, 3)
    q = torch.randn(2, 2, 5, 6, dtype=torch.float64)
    cache, start = FrameCache(1, 3), 0
    for step in steps:
        part = slice(start * 3, (start + step) * 3)
        got = cache.context(0, step)(q, k[:, :, part], v[:, :, part], 1)
        cache.advance(step)
        start += step
    everything = torch.ones(5, 9, dtype=torch.bool)
    torch.testing.assert_close(got, dense_attention(q, k[:, :, 3:], v[:, :, 3:], everything))


def test_bad_use_is_refused():
    with pytest.raises(ValueError, match='window=0 must be a whole number of at least 1'):
        FrameCache(1, 0)
    cache = FrameCache(1, 4)
    stream(cache, *qkv(2, 3), 3, [2])
    with pytest.raises(ValueError, match='holds 2 streams of 3 tokens per frame.*got 2 of 5'):
        stream(cache, *qkv(1, 5), 5, [1])
    with pytest.raises(ValueError, match=r'there is no stream 2: the cache holds streams 0\.\.1'):
        cache.reset([2])
    with pytest.raises(ValueError, match='queries of 2 tubelets cannot share'):
        cache.context(0, 1)(*qkv(2, 3), 2)


def test_a_state_can_be_restored_again_after_the_ring_has_wrapped():
    q, k, v = qkv(9, 3)
    cache = FrameCache(1, 4)
    stream(cache, *(x[:, :, :15] for x in (q, k, v)), 3, [1] * 5)
    state = cache.state()
    outputs = []
    for _ in range(2):
        cache.restore(state)
        outputs.append(stream(cache, *(x[:, :, 15:] for x in (q, k, v)), 3, [1] * 4))
    assert torch.equal(*outputs)
