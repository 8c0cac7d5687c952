"""Early recognition: features of the past only, in a stream as clip by clip."""

import json

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from probe_run import probe_run
from probing import build_probe as build_toy
from tiny import CONFIG

from nextvid_mm.compare.anticipation import (
    Curve,
    anticipate,
    before_actions,
    milliseconds_per_frame,
    prefix_features,
    tubelets_before,
    tubelets_seen,
    write_curves,
)
from nextvid_mm.compare.run import one_view
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.engine.probe import build_probe
from nextvid_mm.engine.probe.features import cached_loader, with_pipeline
from nextvid_mm.inferencers.streaming import StreamingEncoder
from nextvid_mm.registry import SCOPE

CLIPS = torch.rand(2, 3, 8, 16, 16) * 2 - 1
SEEN = [1, 3, 4]


def test_shares_are_whole_tubelets():
    assert tubelets_seen([10, 20, 50, 100], 4) == [1, 2, 4]
    with pytest.raises(ValueError, match='--anticipation 0 is no share'):
        tubelets_seen([0], 4)


def test_one_causal_pass_is_every_prefix_and_the_stream():
    model = build_toy()
    assert model.backbone.causal
    stream = StreamingEncoder(model.backbone, window=4)
    pushed = torch.cat([stream.push(CLIPS[:, :, n : n + 2]) for n in range(0, 8, 2)], dim=1)
    for count, found in zip(SEEN, prefix_features(model, CLIPS, SEEN), strict=True):
        again = model.encode(CLIPS[:, :, : 2 * count]).mean(1)
        torch.testing.assert_close(found, again, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found, pushed[:, :count].mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_what_comes_later_leaves_no_trace():
    for causal in (True, False):
        model = build_toy(backbone=CONFIG['backbone'] | dict(causal=causal))
        later = CLIPS.clone()
        later[:, :, 6:] = 0
        first, second = (prefix_features(model, clips, SEEN) for clips in (CLIPS, later))
        torch.testing.assert_close(first[1], second[1])
        assert not torch.allclose(first[2], second[2])


def test_a_curve(videos, tmp_path):
    init_default_scope(SCOPE)
    config = one_view(probe_run(videos / 'data', tmp_path))
    model = build_probe(config, str(videos / 'encoder.pth'))
    curve = anticipate('ours', 'toy', config, model, [25, 100], 'cpu')
    assert curve.shares == [25.0, 100.0]
    assert curve.causal
    assert all(0 <= value <= 100 for value in curve.top1)
    assert milliseconds_per_frame(model, CLIPS[:1]) > 0


def test_an_encoder_that_sees_both_ways_is_run_on_every_prefix(monkeypatch):
    model, lengths = build_toy(backbone=CONFIG['backbone'] | dict(causal=False)), []
    encode = model.encode
    monkeypatch.setattr(model, 'encode', lambda x: lengths.append(x.shape[2]) or encode(x))
    milliseconds_per_frame(model, CLIPS[:1])
    assert lengths == [2, 4, 6, 8] * 3
    lengths.clear()
    model.backbone.per_frame = True
    milliseconds_per_frame(model, CLIPS[:1])
    assert lengths == [2, 2, 2, 2] * 3


def test_segments_have_no_order(videos, tmp_path):
    model = build_toy()
    model.num_segments = 2
    with pytest.raises(ValueError, match=r'one clip for each video; toy has model\.num_segments=2'):
        anticipate('ours', 'toy', None, model, [100], 'cpu')


def test_curves_are_written(tmp_path):
    curves = [Curve('ours', 'demo', True, [50.0, 100.0], [40.0, 60.0], 1.5)]
    paths = write_curves([*curves, Curve('v', 'demo', False, [100.0], [50.0], 9.0)], tmp_path)
    assert json.loads(paths['json'].read_text())[0]['milliseconds'] == 1.5
    assert paths['png'].stat().st_size > 1000


def test_lead_times_are_whole_tubelets_that_are_over():
    # Clips of 4 tubelets of 2 frames at 4 a second: 2 s before the action.
    assert tubelets_before([1.5, 1.0, 0.6, 0.5, 0], 4, 4, 2) == [1, 2, 2, 3, 4]
    for lead in (1.6, -0.1):
        with pytest.raises(ValueError, match=f'--lead-times {lead}: clips of 2 s show from 0 to 1'):
            tubelets_before([0, lead], 4, 4, 2)


@pytest.fixture(scope='module')
def actions(tmp_path_factory):
    """Videos whose frame k is grey level 4 k, and a table of actions in them; one is too early."""
    root = tmp_path_factory.mktemp('actions')
    grey = np.broadcast_to(np.arange(48, dtype=np.uint8)[:, None, None, None] * 4, (48, 16, 16, 3))
    for name in 'ab':
        encode_video(root / f'{name}.mp4', grey, fps=8)
    rows = ['a.mp4,0,3.0', 'b.mp4,1,4.5', 'a.mp4,1,0.5', 'b.mp4,0,2.0']
    (root / 'actions.csv').write_text('\n'.join(['path,label,start', *rows]))
    return root


def _actions_run(actions, tmp_path, ann_file='actions.csv'):
    dataset = dict(
        type='ClipListDataset', ann_file=str(actions / ann_file),
        data_prefix=dict(video=str(actions)),
    )  # fmt: skip
    config = probe_run(actions, tmp_path)
    for split in ('train', 'val'):
        config[f'{split}_dataloader'].dataset.dataset = dataset
        config[f'{split}_dataloader'].dataset.fps = 4
    return one_view(config)


def test_clips_end_where_actions_begin(actions, tmp_path):
    init_default_scope(SCOPE)
    config, fps = before_actions(_actions_run(actions, tmp_path))
    assert fps == 4
    for split in ('train', 'val'):
        (first, *_) = cached_loader(config, split)
        levels = [clip.float().mean((0, 1, 3, 4)) / 4 for clip in first['inputs']]
        # 8 frames at 4 a second of 8: every second frame of those before the action's first.
        np.testing.assert_allclose(levels[0], np.arange(24 - 16, 24, 2), atol=1)
        assert levels[1].max() < 36


def test_a_curve_of_lead_times_leaves_out_what_begins_too_early(actions, tmp_path, videos):
    init_default_scope(SCOPE)
    model = build_probe(_actions_run(actions, tmp_path), str(videos / 'encoder.pth'))
    config = _actions_run(actions, tmp_path)
    curve = anticipate('ours', 'toy', config, model, [], 'cpu', leads=[0.5, 1.0])
    assert curve.leads == [1.0, 0.5]
    assert curve.shares == [50.0, 75.0]
    assert curve.left_out == 2, 'one in training, one in validation'
    paths = write_curves([curve], tmp_path, 'lead_times')
    assert paths['png'].name == 'lead_times.png'


def test_lists_and_clips_that_do_not_do(actions, tmp_path):
    init_default_scope(SCOPE)
    (actions / 'plain.txt').write_text('a.mp4 0\nb.mp4 1\n')
    with pytest.raises(ValueError, match=r'plain\.txt does not say when actions begin'):
        before_actions(_actions_run(actions, tmp_path, 'plain.txt'))
    config = _actions_run(actions, tmp_path)
    config.val_dataloader.dataset.fps = None
    with pytest.raises(ValueError, match='--lead-times needs clips of a known length in seconds'):
        before_actions(config)
    config = _actions_run(actions, tmp_path)
    with_pipeline(config.val_dataloader.dataset).pipeline = [dict(type='VideoInit')]
    with pytest.raises(ValueError, match='--lead-times needs clips of a known length in seconds'):
        before_actions(config)
