"""The parts on toy clips; test_build.py and the demo's test run them together."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from probing import build_probe, toy_batches
from tiny import PATCH, build, clips

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.report import learned
from nextvid_mm.report.sections import features_section


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('nextvid_mm')


def test_attention_strips_show_the_video_and_the_attention_of_every_clip():
    probe, model = build_probe(), build()
    tokens = torch.randn(6, 4 * 16, 24)
    image = learned.attention_strips(probe, clips(2), tokens, model.backbone)
    frames, rows, caption = 4, 4, 14
    assert image.width == frames * 32 + (frames - 1) * 2
    assert image.height == rows * (32 + caption)


def test_attention_is_that_of_the_best_probe_in_the_segment_that_is_shown(monkeypatch):
    probe, model, seen = build_probe(num_segments=2).eval(), build(), []
    torch.nn.init.normal_(probe.cls_head.probes.query)  # members differ
    probe.cls_head.select(1)
    tokens = next(probe.views_of_batch(toy_batches(count=3, batch=3, clips=2)[0]))
    overlay = learned.overlay_attention
    monkeypatch.setattr(learned, 'overlay_attention', lambda *a: seen.append(a[1]) or overlay(*a))
    learned.attention_strips(probe, clips(1), tokens, model.backbone)
    head = probe.cls_head
    weights = head.probes.attention(head.standardizer(tokens[:1]))[0, 1].mean(0)
    torch.testing.assert_close(seen[0].flatten(), weights[: len(weights) // 2].detach())


def test_of_few_videos_there_is_no_map_but_a_report(trained_dir, probe):
    config, _ = probe
    seen = learned.look_at_features(
        load(trained_dir), trained_dir / 'iter_4.pth', config, toy_batches(count=3)
    )
    assert (seen.maps, len(seen.labels)) == ([], 3)
    section = features_section(seen)
    assert 'too few validation videos' in section.text[0]
    assert not section.pictures


def test_features_are_mapped_beside_those_of_an_untrained_encoder(trained_dir, probe):
    config, videos = probe
    model = load(trained_dir)
    seen = learned.look_at_features(model, trained_dir / 'iter_4.pth', config, videos)
    assert [title for title, _ in seen.maps] == ['pretrained', 'untrained']
    assert all(points.shape == (24, 2) for _, points in seen.maps)
    assert seen.labels == [0, 1, 2] * 8
    assert seen.names == ['dark', 'grey', 'bright']
    assert (seen.attention, seen.top1, seen.probe) == (None, None, None)


def load(folder):
    model = build()
    state = torch.load(folder / 'iter_4.pth', weights_only=True)['state_dict']
    model.load_state_dict(state)
    return model.eval()


def test_the_probe_that_was_trained_is_the_one_that_is_shown(
    trained_dir, probe, trained_probe, monkeypatch
):
    config, videos = probe
    record, trained = trained_probe
    shown, strips = [], learned.attention_strips
    monkeypatch.setattr(learned, 'attention_strips', lambda *a: shown.append(a[0]) or strips(*a))
    path = trained_dir / 'iter_4.pth'
    seen = learned.look_at_features(load(trained_dir), path, config, videos, [record])
    assert (seen.top1, seen.probe) == (87.5, record.parent / 'probe.pth')
    assert seen.attention is not None
    assert int(shown[0].cls_head.selected) == 1
    for name, value in trained.state_dict().items():
        assert torch.equal(shown[0].state_dict()[name], value), name


def test_no_more_videos_are_read_than_the_map_needs(trained_dir, probe, monkeypatch):
    config, videos = probe

    def two_batches():
        yield from videos[:2]
        raise AssertionError('read further than needed')

    monkeypatch.setattr(learned, '_MAP_CLIPS', 10)
    path = trained_dir / 'iter_4.pth'
    seen = learned.look_at_features(load(trained_dir), path, config, two_batches())
    assert len(seen.labels) == 10
    assert all(len(points) == 10 for _, points in seen.maps)


@pytest.mark.parametrize('masked', [True, False])
def test_generation_gives_figures_by_label_and_a_sheet(masked):
    strategies = [dict(num_blocks=1, scale=0.3)]
    masking = FrameIsolatedMasking(PATCH, strategies) if masked else None
    metrics, sheet = learned.look_at_generation(build().eval(), clips(2), [0, 1], masking)
    assert sorted(metrics.by_label) == [0, 1]
    assert sheet.height == 2 * 3 * (14 + 32)
    original, seen = (np.asarray(sheet)[top + 14 : top + 46] for top in (0, 46))
    assert (original != seen).any() == masked


def test_what_cannot_be_generated_is_one_sentence():
    nothing = SimpleNamespace(head=None)
    assert 'no decoder' in learned.look_at_generation(nothing, clips(2), [0, 1], None)
    target = dict(type='PixelTarget', patch_size=PATCH, norm_pix=True)
    model = build(target_generator=target).eval()
    assert 'norm_pix' in learned.look_at_generation(model, clips(2), [0, 1], None)


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
    rows = learned.pooled(torch.arange(12.0).view(2, 3, 2))
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
