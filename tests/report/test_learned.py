"""The parts on toy clips; test_build.py and the demo's test run them together."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from probing import build_probe, toy_batches
from tiny import PATCH, build, clips

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.engine.probe.cached_probe import extract_features
from nextvid_mm.report import learned


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('nextvid_mm')


def test_attention_strips_show_the_video_and_the_attention_of_every_clip():
    probe, model = build_probe(), build()
    features = extract_features(probe.eval(), toy_batches(count=6))
    image = learned.attention_strips(probe, clips(2), features, model.backbone)
    frames, rows, caption = 4, 4, 14
    assert image.width == frames * 32 + (frames - 1) * 2
    assert image.height == rows * (32 + caption)


def test_attention_is_that_of_the_segment_that_is_shown(monkeypatch):
    probe, model, seen = build_probe(num_segments=2).eval(), build(), []
    features = extract_features(probe, toy_batches(count=3, clips=2))
    overlay = learned.overlay_attention
    monkeypatch.setattr(learned, 'overlay_attention', lambda *a: seen.append(a[1]) or overlay(*a))
    learned.attention_strips(probe, clips(1), features, model.backbone)
    head = probe.cls_head
    weights = head.probes.attention(head.standardizer(features.tokens[:1, 0]))[0, 0].mean(0)
    torch.testing.assert_close(seen[0].flatten(), weights[: len(weights) // 2].detach())


def test_features_are_mapped_beside_those_of_an_untrained_encoder(trained_dir, probe):
    config, batches = probe
    backbone = build().backbone
    seen = learned.look_at_features(backbone, trained_dir / 'iter_4.pth', config, batches)
    assert [title for title, _ in seen.maps] == ['pretrained', 'untrained']
    assert all(points.shape == (24, 2) for _, points in seen.maps)
    assert seen.labels == [0, 1, 2] * 8
    assert seen.names == ['dark', 'grey', 'bright']
    assert 0 <= seen.top1 <= 100
    assert seen.trained_on == 24


def test_the_probe_trains_on_as_many_videos_as_fit(trained_dir, probe, monkeypatch):
    config, (train, val) = probe
    video = 4 * 16 * 24 * 4  # bytes: frames, patches, channels, float32
    sizes, train_probes = [], learned.train_probes

    def spy(model, features, schedule):
        sizes.append((len(features.labels), schedule.batch_size))
        train_probes(model, features, schedule)

    monkeypatch.setattr(learned, 'train_probes', spy)
    monkeypatch.setattr(learned, '_TOKEN_BYTES', 9 * video)
    monkeypatch.setattr(learned, '_BATCH_BYTES', 3 * video)
    backbone, path = build().backbone, trained_dir / 'iter_4.pth'
    assert learned.look_at_features(backbone, path, config, (train, val)).trained_on == 16
    assert sizes == [(16, 3)]


@pytest.mark.parametrize('masked', [True, False])
def test_generation_gives_figures_by_label_and_a_sheet(masked):
    strategies = [dict(num_blocks=1, scale=0.3)]
    masking = FrameIsolatedMasking(PATCH, strategies) if masked else None
    seen = learned.look_at_generation(build().eval(), clips(2), [0, 1], ['a', 'b'], masking)
    assert sorted(seen.metrics.by_label) == [0, 1]
    assert seen.sheet.height == 2 * 3 * (14 + 32)


def test_what_cannot_be_generated_is_one_sentence():
    nothing = SimpleNamespace(head=None)
    assert 'no decoder' in learned.look_at_generation(nothing, clips(2), [0, 1], [], None)
    target = dict(type='PixelTarget', patch_size=PATCH, norm_pix=True)
    model = build(target_generator=target).eval()
    assert 'norm_pix' in learned.look_at_generation(model, clips(2), [0, 1], [], None)


def test_one_probe_of_the_grid_is_enough_and_the_config_stays():
    head = dict(lrs=[5e-3, 1e-3], weight_decays=[0.01, 0.1, 0.4], fixed_member=[1e-3, 0.1])
    config = Config(dict(model=dict(cls_head=head)))
    single = learned.with_one_probe(config)
    assert single.model.cls_head.lrs == [5e-3]
    assert single.model.cls_head.weight_decays == [0.1]
    assert config.model.cls_head.lrs == [5e-3, 1e-3]


def test_class_names_come_from_the_file_beside_the_list(tmp_path):
    dataset = dict(ann_file=str(tmp_path / 'list.txt'))
    config = Config(dict(val_dataloader=dict(dataset=dataset)))
    assert learned.class_names(config, 2) == ['0', '1']
    (tmp_path / 'label_map.txt').write_text('left\nright\n')
    below = dict(ann_file='list.txt', data_root=str(tmp_path))
    rooted = Config(dict(val_dataloader=dict(dataset=dict(dataset=below))))
    assert learned.class_names(rooted, 2) == ['left', 'right']
    without = Config(dict(val_dataloader=dict(dataset=dict(type='mmpretrain.ImageNet'))))
    assert learned.class_names(without, 2) == ['0', '1']
    assert learned.class_names(config, 2) == ['left', 'right']
    assert learned.class_names(config, 3) == ['0', '1', '2']


def test_pooled_features_tell_mean_and_deviation():
    tokens = torch.arange(12.0).view(2, 1, 3, 2)
    rows = learned.pooled(SimpleNamespace(tokens=tokens))
    assert rows.shape == (2, 4)
    assert rows[0].tolist() == [2.0, 3.0, 2.0, 2.0]


def test_clips_are_the_first_of_the_batches():
    probe = build_probe()
    batches = toy_batches(count=24, clips=2)

    def two_batches():
        yield from batches[:2]
        raise AssertionError('read further than needed')

    taken, labels = learned.clips_of(probe, two_batches(), 10)
    assert taken.shape == (10, 3, 8, 16, 16)
    assert labels == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    whole = probe.data_preprocessor(dict(batches[0]), training=False)['inputs']
    assert torch.equal(taken[:8], whole[:, 0])
