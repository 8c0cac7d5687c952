"""What the reader's tests do not see of the decoder: where it goes and what it leaves out."""

import signal
from contextlib import suppress

import pytest

from benchmarks.numbered_files import Kind, write
from nextvid_mm.datasets.video.decoder import Decoder, ReadTimeoutError, interrupt, interruptible


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    options = {'preset': 'veryfast', 'bf': '3'}
    kind = Kind('a.mp4', 'libx264', options, dict(gop=30, frames=300))
    return write(kind, tmp_path_factory.mktemp('decoder'))


@pytest.fixture
def decoder(path):
    return Decoder(str(path), 'a.mp4', None, 1, None)


def test_it_knows_rate_start_and_end_without_reading(decoder):
    assert (decoder.rate, decoder.first.time) == (30, 0)
    assert decoder.end() == pytest.approx(10)
    assert decoder.lasts(decoder.first.frame) == pytest.approx(1 / 30)


def test_it_starts_at_the_key_frame_before(decoder):
    assert decoder.jump(5.5).time == 5.0
    assert decoder.jump(5.0).time == 5.0, 'a key frame itself'
    assert decoder.step().time == pytest.approx(5 + 1 / 30)
    assert decoder.jump(0.0).time == 0.0


def test_a_jump_is_worth_it_only_past_a_key_frame(decoder):
    decoder.jump(2.0)
    assert not decoder.worth_a_jump(2.9, 2.0)
    assert decoder.worth_a_jump(3.5, 2.0)


def test_it_leaves_out_frames_that_are_near_no_wanted_time(decoder):
    decoder.targets = [5.0, 5.5, 9.0]
    decoder.jump(5.0)
    shown = []
    while (frame := decoder.step()) is not None and frame.time < 6:
        shown.append(round(frame.time * 30))
    assert {164, 165, 166} <= set(shown), 'around a wanted time'
    assert len(shown) < 25, 'of 29'


def test_a_careful_one_leaves_out_nothing(decoder):
    decoder.targets, decoder.careful = [5.0, 9.0], True
    decoder.jump(5.0)
    assert [round(decoder.step().time * 30) for _ in range(60)] == list(range(151, 211))


def test_a_signal_gives_up_what_is_read_and_nothing_else():
    interrupt(signal.SIGUSR2, None)
    with pytest.raises(ReadTimeoutError), interruptible():
        interrupt(signal.SIGUSR2, None)
    with interruptible(), suppress(ReadTimeoutError):
        interrupt(signal.SIGUSR2, None)
        pytest.fail('not interrupted')
    interrupt(signal.SIGUSR2, None)
