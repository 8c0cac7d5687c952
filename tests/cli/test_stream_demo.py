import os
import signal

import av
import pytest
from classifying import build_classifier
from exporting import save_checkpoint
from probe_run import make_videos

from nextvid_mm.cli import stream_demo
from nextvid_mm.interop.export import export_encoder


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = make_videos(tmp_path_factory.mktemp('stream_demo'))
    build_classifier(root).save_pretrained(root / 'folder')
    return root


def test_flags(parse):
    args = parse('stream_demo', 'a.pth', '0', '--dtype', 'auto')
    assert (args.source, args.weights, args.window, args.dtype) == (['0'], None, None, 'auto')


def test_a_missing_checkpoint_is_one_line(call):
    said = call('stream_demo', 'absent.pth', 'a.mp4')
    assert said.startswith('stream_demo: error: ')
    assert 'absent.pth' in said


def test_a_classifier_labels_a_file(root, call, capsys):
    out = root / 'labelled.mp4'
    words = [root / 'folder', root / 'val/0.mp4', '--out', out, '--device', 'cpu']
    assert call('stream_demo', *words) == 0
    printed = capsys.readouterr().out
    assert '12 video frames at 8 fps' in printed
    with av.open(str(out)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 12


def test_an_exported_encoder_works_without_a_flag(root, call, capsys):
    save_checkpoint(root / 'iter_5.pth')
    export_encoder(root / 'iter_5.pth', root / 'encoder.safetensors')
    for name in ('encoder.safetensors', 'iter_5.pth'):
        words = [root / name, root / 'val/0.mp4', '--device', 'cpu', '--fps', 8]
        assert call('stream_demo', *words) == 0
        assert '12 video frames at 8 fps' in capsys.readouterr().out


@pytest.mark.parametrize('error', ['SIGINT', 'SIGTERM', ValueError('no more tries')])
def test_what_a_stop_or_an_error_leaves_is_a_whole_film(root, call, capsys, monkeypatch, error):
    whole = stream_demo.file_pictures

    def broken(source, fps):
        for number, picture in enumerate(whole(source, fps)):
            if number == 9 and isinstance(error, str):
                os.kill(os.getpid(), getattr(signal, error))
            elif number == 9:
                raise error
            yield picture

    monkeypatch.setattr(stream_demo, 'file_pictures', broken)
    out = root / f'{error}/labelled.mp4'
    words = [root / 'folder', root / 'val/0.mp4', '--out', out, '--device', 'cpu']
    # A shell's background jobs ignore Ctrl-C, and so would these tests in one.
    defaults = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    handlers = {number: signal.signal(number, default) for number, default in defaults.items()}
    try:
        code = call('stream_demo', *words)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    expected = dict(SIGINT=0, SIGTERM=143)
    assert code == expected.get(str(error), 'stream_demo: error: no more tries')
    with av.open(str(out)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 9
    assert [file.name for file in out.parent.iterdir()] == ['labelled.mp4']


def test_the_video_that_is_watched_is_not_written_over(root, call):
    video = root / 'val/1.mp4'
    before = video.read_bytes()
    said = call('stream_demo', root / 'folder', video, '--out', video, '--device', 'cpu')
    assert 'is the video that is watched: give another name' in said
    assert video.read_bytes() == before


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--list', 'a.txt'], '--classes is for a classifier: leave it out'),
        (['--bank-frames', '8'], '--bank-frames is for --list: leave it out'),
    ],
)
def test_flags_that_say_nothing_of_an_encoder_are_refused(root, call, words, message):
    save_checkpoint(root / 'iter_5.pth')
    words = [*words, *(['--classes', 'a.txt'] if 'a.txt' in words else [])]
    said = call('stream_demo', root / 'iter_5.pth', root / 'val/0.mp4', *words, '--device', 'cpu')
    assert said == f'stream_demo: error: {message}'


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['a.mp4', 'b.mp4'], 'give one SOURCE'),
        (['a.mp4', '--fps', '-1'], '--fps -1 must be above 0'),
        (['a.mp4', '--limit', '0'], '--limit 0 must be at least 1'),
        (['a.mp4', '--bank-frames', '0'], '--bank-frames 0 must be at least 1'),
        (['a.mp4', '--list', 'a.txt'], '--list is for an encoder: leave it out'),
        (['a.mp4'], 'a.mp4'),
        (['97'], 'camera 97 does not open'),
        (['http://127.0.0.1:9/x'], 'does not open'),
        (['rtsp://user:hidden@127.0.0.1:9/x'], 'rtsp://127.0.0.1:9/x does not open'),
        (['rtsp://user:hidden@127.0.0.1:9/x', 'b'], "found ['rtsp://127.0.0.1:9/x', 'b']"),
        (['97', '--window', '0'], '--window 0 must be at least 1'),
    ],
)
def test_mistakes_are_one_line(root, call, words, message):
    said = call('stream_demo', str(root / 'folder'), *words, '--device', 'cpu')
    assert said.startswith('stream_demo: error: ')
    assert message in said
    assert 'hidden' not in said
