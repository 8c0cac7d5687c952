"""A stream against the full pass, and against a band of attention once frames are evicted."""

import pytest
import torch
from dense import dense_attention, frames_of
from tiny import CONFIG, build, clips, wake

from nextvid_mm.inferencers.streaming import StreamingEncoder
from nextvid_mm.layers import attention, frame_cache


def encoder():
    return wake(build()).backbone.double().eval()


def push_all(stream, clip, sizes):
    return torch.cat([stream.push(part) for part in clip.split(sizes, dim=2)], dim=1)


@pytest.mark.parametrize('sizes', [[1] * 12, [2] * 6, [12], [5, 1, 3, 3]])
def test_a_stream_equals_the_full_pass_while_nothing_is_evicted(sizes):
    model, clip = encoder(), clips(frames=12).double()
    got = push_all(StreamingEncoder(model, window=6), clip, sizes)
    torch.testing.assert_close(got, model.encode(clip), atol=1e-12, rtol=1e-10)


def test_eviction_is_attention_to_the_last_frames_in_every_layer(monkeypatch):
    model, clip, window = encoder(), clips(frames=20).double(), 3
    got = push_all(StreamingEncoder(model, window), clip, [2] * 10)
    age = frames_of(10, 16)[:, None] - frames_of(10, 16)[None, :]
    band = (age >= 0) & (age < window)
    monkeypatch.setattr(
        attention, 'prefix_attention', lambda q, k, v, blocks, **_: dense_attention(q, k, v, band)
    )
    torch.testing.assert_close(got, model.encode(clip), atol=1e-10, rtol=1e-8)


def test_evicted_frames_leave_traces_within_the_receptive_field_only():
    model, window = encoder(), 3
    stream = StreamingEncoder(model, window)
    assert stream.receptive_field == 2 * (window - 1) + 1 == 5
    clip = clips(1, 20).double()
    newest = push_all(stream, clip, [2] * 10)[:, -1]

    def effect(frame):
        other = clip.clone()
        other[:, :, 2 * frame : 2 * frame + 2] = 0
        moved = push_all(StreamingEncoder(model, window), other, [2] * 10)[:, -1]
        return float((newest - moved).abs().max())

    assert effect(4) == 0
    assert effect(5) > 1e-6, 'evicted, yet remembered by way of the first layer'
    alone = model.encode(clip[:, :, -2 * window :])[:, -1]
    assert not torch.allclose(newest, alone), 'so it is not the last frames encoded alone'


def test_positions_are_relative():
    """The same frames late in a stream give the same features as at its beginning."""
    model, clip = encoder(), clips(frames=10).double()
    late = StreamingEncoder(model, window=2)
    push_all(late, torch.zeros(2, 3, 2000, 16, 16).double(), [500] * 4)
    tail = push_all(late, clip, [2] * 5)[:, -1]
    fresh = push_all(StreamingEncoder(model, window=2), clip, [2] * 5)[:, -1]
    torch.testing.assert_close(tail, fresh, atol=1e-5, rtol=1e-5)


def test_streams_of_a_batch_can_start_afresh_one_by_one():
    model, clip = encoder(), clips(2, 12).double()
    stream = StreamingEncoder(model, window=4)
    stream.push(clip[:, :, :4])
    stream.reset([1])
    rest = stream.push(clip[:, :, 4:8])
    torch.testing.assert_close(rest[0], model.encode(clip)[0, 2:4])
    torch.testing.assert_close(rest[1], model.encode(clip[:, :, 4:8])[1], atol=1e-6, rtol=1e-6)
    stream.push(clip[:, :, 8:9])
    with pytest.raises(ValueError, match='1 of 2 video frames of a tubelet are in'):
        stream.reset([0])
    stream.reset()
    assert stream.seen == 0
    fresh = StreamingEncoder(model, window=4)
    torch.testing.assert_close(stream.push(clip), fresh.push(clip))


def test_a_type_given_is_that_of_the_cache_and_nearly_that_of_the_result():
    model, clip = encoder().float(), clips()
    stream = StreamingEncoder(model, window=8, device='cpu', dtype=torch.bfloat16)
    got = stream.push(clip)
    assert stream.cache._keys[0].dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), model.encode(clip), atol=0.1, rtol=0.1)


def test_a_checkpoint_is_enough(tmp_path):
    model, clip = wake(build()).eval(), clips()
    meta = dict(cfg=f'model = {CONFIG!r}\n')
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'a.pth')
    stream = StreamingEncoder.from_checkpoint(tmp_path / 'a.pth', 'encoder', window=4)
    torch.testing.assert_close(stream.push(clip), model.backbone.encode(clip))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'b.pth')
    with pytest.raises(ValueError, match=r'b\.pth does not say what its encoder is'):
        StreamingEncoder.from_checkpoint(tmp_path / 'b.pth')


def test_bad_frames_are_refused():
    stream = StreamingEncoder(encoder(), window=4)
    with pytest.raises(ValueError, match=r'push takes frames \(B, 3, T_video.*\(2, 1, 8'):
        stream.push(torch.zeros(2, 1, 8, 16, 16))
    stream.push(clips(2, 1))
    with pytest.raises(ValueError, match=r'2 streams of \(16, 16\) px have begun, found 1'):
        stream.push(clips(1, 1))
    stream.push(clips(2, 1))
    with pytest.raises(ValueError, match=r'call reset\(\)'):
        stream.push(clips(1, 2))


def test_the_buffer_uses_the_same_attention_as_the_encoder():
    assert frame_cache.prefix_attention is attention.prefix_attention
