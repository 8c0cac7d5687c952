"""Streams that break off, come back, or come too fast."""

import itertools
import threading
import traceback
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import av
import numpy as np
import pytest

from nextvid_mm.inferencers.sources import at_most, newest, read_camera, read_url, reconnecting


def test_a_camera_is_thinned_out(monkeypatch):
    """A picture a second, of which one in five is wanted; a pause of 50 s is not made up for."""
    now = itertools.chain([0], range(25), range(75, 90))
    monkeypatch.setattr('nextvid_mm.inferencers.sources.time.monotonic', lambda: next(now))
    assert list(at_most(range(40), fps=0.2)) == [0, 5, 10, 15, 20, 25, 26, 30, 35]


def picture(value):
    return np.full((2, 2, 3), value, np.uint8)


class Flaky:
    """Connections of some pictures each, ended by an error; a number below 0 does not open."""

    def __init__(self, *lengths, error=OSError):
        self.lengths, self.error, self.tries = iter(lengths), error, 0
        self.now, self.waits, self.sent = 0.0, [], 0

    def connect(self):
        self.tries += 1
        for _ in range(max(next(self.lengths), 0)):
            self.sent += 1
            yield picture(self.sent)
        raise self.error('connection reset')

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds

    def run(self, patience=300.0):
        return reconnecting(self.connect, 'cam', patience, self.sleep, lambda: self.now)


def values(pictures):
    return [None if p is None else int(p[0, 0, 0]) for p in pictures]


def test_a_stream_that_comes_back_goes_on_after_a_gap():
    source = Flaky(2, -1, -1, 3, 1)
    assert values(itertools.islice(source.run(), 10)) == [1, 2, None, None, None, 3, 4, 5, None, 6]
    assert source.waits == [1, 2, 4, 1]


def test_waits_grow_to_half_a_minute_and_patience_ends():
    source = Flaky(1, *[-1] * 50)
    with pytest.raises(ValueError, match=r'cam: no picture for 9. s, and no more tries.*reset'):
        list(source.run(patience=100))
    assert source.waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_source_that_never_opens_is_told_at_once():
    source = Flaky(-1)
    with pytest.raises(ValueError, match='cam does not open: OSError: connection reset'):
        next(source.run())
    assert source.tries == 1


def test_other_faults_are_not_taken_for_a_lost_connection():
    with pytest.raises(ZeroDivisionError):
        list(Flaky(1, error=ZeroDivisionError).run())


def test_who_is_slow_gets_the_newest_picture_and_hears_of_gaps():
    """The reader takes one picture, while three more and a gap come in."""
    go, sent = threading.Event(), threading.Event()

    def pictures():
        yield picture(1)
        go.wait(5)
        yield from (picture(2), None, picture(3), picture(4))
        sent.set()
        threading.Event().wait(0.2)

    found = newest(pictures())
    first = next(found)
    go.set()
    assert sent.wait(5)
    assert values([first, *found]) == [1, None, 4]


def test_the_error_of_the_reading_thread_arrives():
    def pictures():
        yield picture(1)
        raise ValueError('cut')

    found = newest(pictures())
    assert values([next(found)]) == [1]
    with pytest.raises(ValueError, match='cut'):
        next(found)


def test_a_real_stream_over_http_breaks_off_and_comes_back(tmp_path):
    """A server that sends half of a film, then refuses once, then sends all of it."""
    path = tmp_path / 'film.ts'
    with av.open(str(path), 'w', format='mpegts') as container:
        stream = container.add_stream('libx264', rate=8, options=dict(g='1', preset='ultrafast'))
        stream.width, stream.height, stream.pix_fmt = 64, 64, 'yuv420p'
        noise = np.random.default_rng(0)
        for _ in range(12):
            image = noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode())
    content, answers = path.read_bytes(), iter(('half', 'refuse', 'all', 'refuse'))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            kind = next(answers)
            self.send_response(503 if kind == 'refuse' else 200)
            self.end_headers()
            if kind != 'refuse':
                self.wfile.write(content if kind == 'all' else content[: len(content) // 2])

        def log_message(self, *_):
            pass

    server = HTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, waits = f'http://127.0.0.1:{server.server_port}/film.ts', []
    pictures = reconnecting(partial(read_url, url), url, 5.0, waits.append)
    found = []
    for one in pictures:
        found.append(one)
        if sum(p is None for p in found) == 3:
            break
    pictures.close()
    server.shutdown()
    server.server_close()
    gaps = [n for n, one in enumerate(found) if one is None]
    assert 2 <= gaps[0] < 12
    assert gaps[1] == gaps[0] + 1
    assert gaps[2] - gaps[1] - 1 == 12
    assert waits == [1, 2]
    assert found[0].shape == (64, 64, 3)


@pytest.mark.parametrize('scheme', ['rtsp', 'http'])
def test_what_gives_access_is_never_shown(scheme):
    url = f'{scheme}://user:hidden@127.0.0.1:9/x?signature=hidden'
    with pytest.raises(ValueError, match='cam does not open: OSError: Connection refused') as error:
        next(reconnecting(partial(read_url, url), 'cam'))
    assert 'hidden' not in ''.join(traceback.format_exception(error.value))


def test_a_camera_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match='camera 97 does not open'):
        next(read_camera(97))
