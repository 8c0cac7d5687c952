"""Files, broken files, segments of long videos, and what is written about them."""

import csv
import io
from contextlib import nullcontext
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from classifying import NAMES, build_classifier
from probe_run import make_videos
from tiny import FRAMES, SIZE

from nextvid_mm.datasets.clip_shards import TABLE, index_shards
from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.packing import pack
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.inferencers import classify, find_media, predictions
from nextvid_mm.inferencers.annotated import write_annotated
from nextvid_mm.inferencers.predictions import Prediction, as_csv, as_data


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = make_videos(tmp_path_factory.mktemp('predictions'))
    (root / 'broken.mp4').write_bytes(b'no video')
    draw = np.random.default_rng(1)
    shots = [draw.integers(0, 90, (20, 2 * SIZE, 2 * SIZE, 3)) + shade for shade in (0, 160, 80)]
    frames = np.concatenate(shots).astype(np.uint8)  # 7.5 s at 8 fps
    encode_video(root / 'long.mp4', frames, 8)
    for number, shot in enumerate(shots):
        encode_video(root / f'shot{number}.mp4', shot.astype(np.uint8), 8)
    return root


@pytest.fixture(scope='module')
def classifier(root):
    return build_classifier(root)


def test_broken_files_keep_their_place(root, classifier):
    paths = [root / 'val/0.mp4', root / 'broken.mp4', root / 'none.mp4', root / 'val/1.mp4']
    found = classify(classifier, paths, batch_size=3, progress=False)
    assert [one.path for one in found] == [str(path) for path in paths]
    assert [one.failure is None for one in found] == [True, False, False, True]
    assert 'broken.mp4' in found[1].failure
    (alone,) = classify(classifier, paths[3:], progress=False)
    torch.testing.assert_close(alone.scores, found[3].scores)


def test_batches_and_testing_views_change_nothing(root, classifier):
    paths = [root / f'val/{number}.mp4' for number in range(4)]
    model, seen = classifier.model, []
    forward = model.test_step
    model.test_step = lambda data: (seen.append(len(data['inputs'])), forward(data))[1]
    found = []
    for views in (2, 6, 100):
        model.test_cfg['max_testing_views'] = views
        found.append(torch.stack([o.scores for o in classify(classifier, paths, progress=False)]))
    del model.test_step
    model.test_cfg['max_testing_views'] = 6
    assert seen == [1] * 4 + [2] * 2 + [4]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5, rtol=0)


def test_segments_are_classified_like_videos_of_their_own(root, classifier):
    parts = classify(classifier, [root / 'long.mp4'], segment=2.5, progress=False)
    assert [part.segment for part in parts] == [(0.0, 2.5), (2.5, 5.0), (5.0, 7.5)]
    assert [part.failure for part in parts] == [None] * 3
    shots = classify(classifier, [root / f'shot{n}.mp4' for n in range(3)], progress=False)
    for part, shot in zip(parts, shots, strict=True):
        torch.testing.assert_close(part.scores, shot.scores, atol=0.03, rtol=0)
    assert (parts[0].scores - parts[1].scores).abs().max() > 0.06


def test_the_last_segment_is_moved_back(root, classifier):
    parts = classify(classifier, [root / 'long.mp4'], segment=3.0, stride=2.0, progress=False)
    assert [part.segment[0] for part in parts] == [0.0, 2.0, 4.0, 4.5]
    short = classify(classifier, [root / 'val/0.mp4'], segment=60, progress=False)
    assert [part.segment for part in short] == [(0.0, (FRAMES + 4) / 8)]


def test_segments_end_whatever_the_rounding(monkeypatch):
    """82 frames at 24 fps in parts of 1.3 s are one of them: the last part rounds to too little."""
    for frames in (82, *range(50, 400, 7)):
        duration = frames / 24
        video = SimpleNamespace(duration=duration)
        monkeypatch.setattr(predictions, 'VideoReader', lambda _, video=video: nullcontext(video))
        for tenths in range(1, 60):
            for stride in (tenths / 10, tenths / 30, 0.7):
                found = list(islice(predictions._parts('x.mp4', tenths / 10, stride), 10_000))
                spans = [part.segment for part in found]
                assert len(spans) <= duration / stride + 2
                assert (spans[0][0], spans[-1][1]) == (0.0, duration)
                assert spans == sorted(set(spans))
                lengths = [end - start for start, end in spans]
                assert lengths == pytest.approx([min(tenths / 10, duration)] * len(spans))


def test_parts_that_a_list_names_are_classified_alone(root, classifier, tmp_path):
    (tmp_path / 'a.csv').write_text('path,start,end\nlong.mp4,2.5,5\nlong.mp4,5,\nlong.mp4,9,\n')
    media = find_media([tmp_path / 'a.csv'], root)
    found = classify(classifier, media, progress=False)
    assert [one.segment for one in found] == [(2.5, 5.0), (5.0, 7.5), (9.0, 7.5)]
    assert 'begins at 9 s' in found[2].failure
    parts = classify(classifier, [root / 'long.mp4'], segment=2.5, progress=False)
    for one, part in zip(found[:2], parts[1:], strict=True):
        torch.testing.assert_close(one.scores, part.scores)
    cut = classify(classifier, media[:1], segment=1.0, progress=False)
    assert [part.segment for part in cut] == [(2.5, 3.5), (3.5, 4.5), (4.0, 5.0)]
    rows = list(csv.DictReader(io.StringIO(as_csv(found[:2], NAMES, 1))))
    assert [(row['start'], row['end']) for row in rows] == [('2.5', '5.0'), ('5.0', '7.5')]


def test_files_in_tar_files_are_classified(root, classifier, tmp_path):
    listed = [ListedClip(f'{root}/val/{n}.mp4') for n in range(2)]
    (packed,) = pack(listed, tmp_path, workers=0)
    index_shards([packed.shard], tmp_path / TABLE)
    found = classify(classifier, find_media([tmp_path / TABLE], tmp_path), progress=False)
    for one, other in zip(found, classify(classifier, [c.path for c in listed]), strict=True):
        torch.testing.assert_close(one.scores, other.scores)
    written = write_annotated(tmp_path / 'out', found[:1], NAMES)
    with VideoReader(written) as video:
        assert len(video) == FRAMES + 4


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(segment=0), 'segment=0 must be above 0'),
        (dict(stride=2.0), 'stride=2.0 is the distance of segments'),
        (dict(batch_size=0), 'batch_size=0 must be above 0'),
    ],
)
def test_wrong_settings(classifier, settings, message):
    with pytest.raises(ValueError, match=message):
        classify(classifier, ['x.mp4'], progress=False, **settings)


def test_data_and_lines():
    found = [
        Prediction('a.mp4', torch.tensor([0.1, 0.2, 0.7])),
        Prediction('b.mp4', failure='ValueError: cut'),
        Prediction('c.mp4', torch.tensor([0.6, 0.4, 0.0]), segment=(0.0, 2.0)),
        Prediction('c.mp4', torch.tensor([0.2, 0.8, 0.0]), segment=(2.0, 4.0)),
    ]
    data = as_data(found, NAMES, 2)
    assert data['classes'] == NAMES
    first, second, third = data['files']
    assert [entry['name'] for entry in first['top']] == ['bright', 'grey']
    assert second == dict(path='b.mp4', failure='ValueError: cut')
    assert third['top'][0]['name'] == 'grey'
    assert third['top'][0]['probability'] == pytest.approx(0.6)
    assert [part['top'][0]['label'] for part in third['segments']] == [0, 1]
    rows = list(csv.DictReader(io.StringIO(as_csv(found, NAMES, 1))))
    assert [row['name'] for row in rows] == ['bright', '', 'dark', 'grey']
    assert rows[1]['failure'] == 'ValueError: cut'
    assert (rows[3]['start'], rows[3]['end']) == ('2.0', '4.0')
