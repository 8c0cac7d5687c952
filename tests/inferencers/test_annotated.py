"""Pictures and videos with labels on them, and time lines."""

import av
import numpy as np
import pytest
import torch
from PIL import Image

from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.inferencers import annotated
from nextvid_mm.inferencers.annotated import caption, draw_timeline, write_annotated
from nextvid_mm.inferencers.predictions import Prediction
from nextvid_mm.visualization.figures import new_figure

NAMES = ['left', 'up']


def prediction(path, first, segment=None):
    return Prediction(str(path), torch.tensor([first, 1 - first]), segment=segment)


def test_a_caption_covers_the_top_and_sizes_become_even():
    picture = np.full((101, 75, 3), 200, np.uint8)
    found = caption(picture, ['left  93%', 'up  7%'])
    assert found.shape == (102, 76, 3)
    assert (found[60:101, :75] == 200).all()
    assert found[:30].min() < 100
    assert not np.array_equal(found, caption(picture, ['up  93%', 'left  7%']))


def test_a_video_is_written_again_with_the_label_of_its_segment(tmp_path):
    path = tmp_path / 'clip.mp4'
    encode_video(path, np.full((16, 64, 96, 3), 128, np.uint8), 8)
    parts = [prediction(path, 0.9, (0.0, 1.0)), prediction(path, 0.1, (1.0, 2.0))]
    out = write_annotated(tmp_path / 'out/clip', parts, NAMES)
    with av.open(str(out)) as video:
        frames = [frame.to_ndarray(format='rgb24').astype(int) for frame in video.decode(video=0)]
    assert len(frames) == 16
    assert np.abs(frames[0] - frames[7]).mean() < 2 < np.abs(frames[7] - frames[8])[:32].mean()
    assert [file.name for file in out.parent.iterdir()] == ['clip.mp4']


def test_the_newest_segment_is_shown_whatever_their_order(tmp_path):
    path = tmp_path / 'clip.mp4'
    encode_video(path, np.full((8, 64, 96, 3), 128, np.uint8), 4)
    parts = [prediction(path, 0.9, (0.0, 1.0)), prediction(path, 0.1, (1.0, 2.0))]
    written = [
        write_annotated(tmp_path / name, order, NAMES).read_bytes()
        for name, order in dict(a=parts, b=parts[::-1]).items()
    ]
    assert written[0] == written[1]


def test_an_image_becomes_a_picture(tmp_path):
    path = tmp_path / 'a.png'
    Image.new('RGB', (64, 64), 'white').save(path)
    out = write_annotated(tmp_path / 'labelled', [prediction(path, 0.9)], NAMES)
    assert out.name == 'labelled.png'
    assert np.asarray(Image.open(out))[:12].min() < 128


def test_a_broken_video_leaves_no_file(tmp_path):
    path = tmp_path / 'broken.mp4'
    path.write_bytes(b'no video')
    with pytest.raises(ValueError, match='broken'):
        write_annotated(tmp_path / 'out/x', [prediction(path, 0.5)], NAMES)
    assert list((tmp_path / 'out').iterdir()) == []


def test_a_timeline_shows_the_segments(tmp_path):
    parts = [prediction('a.mp4', p, (t, t + 2.0)) for t, p in ((0.0, 0.9), (2.0, 0.1))]
    first = np.asarray(Image.open(draw_timeline(tmp_path / 'a.png', parts, NAMES)))
    flat = [prediction('a.mp4', 0.5, part.segment) for part in parts]
    second = np.asarray(Image.open(draw_timeline(tmp_path / 'b.png', flat, NAMES)))
    assert first.shape == second.shape
    assert (first != second).any()
    swapped = draw_timeline(tmp_path / 'd.png', parts[::-1], NAMES)
    assert swapped.read_bytes() == (tmp_path / 'a.png').read_bytes()
    failed = [Prediction('a.mp4', failure='cut', segment=(0.0, 1.0))]
    assert draw_timeline(tmp_path / 'c.png', failed, NAMES).is_file()


def test_a_segment_that_was_not_read_is_a_gap_and_names_are_no_formulas(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(
        annotated, 'new_figure', lambda *s: figures.append(new_figure(*s)) or figures[-1]
    )
    parts = [prediction('a_$b$.mp4', p, (t, t + 2.0)) for t, p in ((0.0, 0.9), (4.0, 0.8))]
    parts.insert(1, Prediction('a_$b$.mp4', failure='cut', segment=(2.0, 4.0)))
    draw_timeline(tmp_path / 'a.png', parts, ['_left_', 'cost $5 to $6'])
    (axis,) = figures[0].axes
    assert [list(line.get_xdata()) for line in axis.lines] == [[1.0, 3.0, 5.0]] * 2
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [0.9, np.nan, 0.8], rtol=1e-6)
    texts = axis.get_legend().get_texts()
    assert [text.get_text() for text in texts] == ['_left_', 'cost $5 to $6']
    assert not any(text.get_parse_math() for text in (*texts, axis.title))
