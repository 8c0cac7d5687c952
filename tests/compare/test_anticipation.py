"""Early recognition: features of the past only, in a stream as clip by clip."""

import json

import pytest
import torch
from mmengine.registry import init_default_scope
from probe_run import probe_run
from probing import build_probe as build_toy
from tiny import CONFIG

from nextvid_mm.compare.anticipation import (
    Curve,
    anticipate,
    milliseconds_per_frame,
    prefix_features,
    tubelets_seen,
    write_curves,
)
from nextvid_mm.compare.run import one_view
from nextvid_mm.engine.probe import build_probe
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
