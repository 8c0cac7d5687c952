"""Labels of a stream: those of the clip at first, at a cost that never grows."""

import itertools

import numpy as np
import pytest
import torch
from classifying import NAMES, build_classifier
from clips import pictures_of
from probe_run import make_videos
from tiny import CONFIG, FRAMES, SIZE

from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.inferencers import classify
from nextvid_mm.inferencers.live import follow
from nextvid_mm.inferencers.live_classifier import LiveClassifier

TUBELETS = FRAMES // 2


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = make_videos(tmp_path_factory.mktemp('live'))
    draw = np.random.default_rng(4)
    frames = draw.integers(0, 255, (3 * FRAMES, 2 * SIZE, 2 * SIZE, 3)).astype(np.uint8)
    encode_video(root / 'square.mp4', frames[:FRAMES], 8)
    encode_video(root / 'long.mp4', frames, 8)
    return root


def live(root, kind='finetuned', window=None, **changes):
    return LiveClassifier(build_classifier(root, kind, **changes), window)


def labels_of(view, pictures):
    found = []
    for picture in pictures:
        if view.push(picture):
            found.append(view.scores)
    return found


@pytest.mark.parametrize(
    ('kind', 'changes'),
    [
        ('finetuned', {}),
        ('finetuned', {'model.backbone.causal': False}),
        ('finetuned', {'model.cls_head.pool': 'mean'}),
        ('probe', {}),
        ('probe', {'model.last_layers': 2}),
    ],
)
def test_the_first_label_is_that_of_the_clip(root, kind, changes):
    """Square videos: the three views of the clip are one."""
    view = live(root, kind, **changes)
    found = labels_of(view, pictures_of(root / 'square.mp4'))
    assert [one is None for one in found] == [True] * (TUBELETS - 1) + [False]
    (clip,) = classify(view.classifier, [root / 'square.mp4'], progress=False)
    torch.testing.assert_close(found[-1], clip.scores, atol=1e-5, rtol=0)
    best = int(clip.scores.argmax())
    assert view.label == (NAMES[best], pytest.approx(float(clip.scores[best]), abs=1e-5))


def test_an_encoder_that_is_not_causal_classifies_the_last_clip(root):
    view = live(root, **{'model.backbone.causal': False})
    found = labels_of(view, pictures_of(root / 'long.mp4'))
    whole = np.stack(pictures_of(root / 'long.mp4'))
    other = live(root, **{'model.backbone.causal': False})
    last = labels_of(other, whole[-FRAMES:])[-1]
    torch.testing.assert_close(found[-1], last)
    assert not torch.allclose(found[TUBELETS - 1], last, atol=1e-4)


@pytest.mark.parametrize(
    ('causal', 'count'),
    [pytest.param(True, 2400, marks=pytest.mark.slow), (True, 120), (False, 120)],
)
def test_work_and_memory_stay_the_same_for_thousands_of_frames(root, causal, count, monkeypatch):
    view = live(root, window=3 if causal else None, **{'model.backbone.causal': causal})
    counted, sizes = [], []
    forward = type(view.encoder).encode_patches

    def watch(self, patches, grid, *args, **kwargs):
        counted.append(grid.tubelets * grid.patches)
        return forward(self, patches, grid, *args, **kwargs)

    monkeypatch.setattr(type(view.encoder), 'encode_patches', watch)
    pictures = itertools.cycle(
        np.random.default_rng(0).integers(0, 255, (7, SIZE, SIZE, 3), dtype=np.uint8)
    )
    for _, status in follow(view, itertools.islice(pictures, count)):
        cached = view.stream.cache.nbytes if causal else 0
        sizes.append((cached, len(view.recent), len(status.latencies), len(status.marks)))
    tokens = (SIZE // CONFIG['backbone']['patch_size']) ** 2
    assert set(counted) == {tokens if causal else tokens * TUBELETS}
    assert len(counted) == count // 2 - (0 if causal else TUBELETS - 1)
    assert len(set(sizes[80:])) == 1
    if causal:
        assert view.stream.cache.window == 3
        assert {keys.shape[2] for keys in view.stream.cache._keys} == {3 * tokens}


def test_after_a_gap_it_starts_afresh(root):
    pictures = pictures_of(root / 'long.mp4')
    view = live(root)
    shown = [
        status.label for _, status in follow(view, [*pictures[:FRAMES], None, *pictures[:FRAMES]])
    ]
    assert shown[FRAMES - 1] == shown[-1] is not None
    assert shown[FRAMES : 2 * FRAMES - 1] == [None] * (FRAMES - 1)


def test_the_rate_is_that_of_the_test_pipeline(root):
    view = live(root)
    assert view.fps(24.0) == 24.0
    view.sampling = dict(frame_interval=4)
    assert (view.fps(24.0), view.fps(None)) == (6.0, 7.5)
    view.sampling = dict(fps=5)
    assert view.fps(24.0) == 5.0


def test_a_classifier_of_images_has_no_stream(root):
    classifier = build_classifier(root)
    classifier.config.test_pipeline = [dict(type='LoadPicture')]
    with pytest.raises(ValueError, match=r"SampleClipByTime.*'LoadPicture'"):
        LiveClassifier(classifier)
