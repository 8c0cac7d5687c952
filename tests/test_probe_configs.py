"""Every value of the published probe protocol (arXiv 2512.21004, Tables 9 and 10), by name."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from nextvid_mm.config_files import check_config
from nextvid_mm.registry import MODELS, TRANSFORMS

FOLDER = Path(__file__).resolve().parents[1] / 'configs/probe'
ENCODER = dict(type='CausalViT', arch='large', img_size=256, patch_size=16, tubelet_size=2)
# classes, segments, frames, step, batch, epochs, last layers, list, training and validation videos
VIDEO = {
    'k400': (
        400, 8, 16, 4, 192, 20, 1, 'data/kinetics400/kinetics400_{}_list_videos.txt',
        'data/kinetics400/videos_train', 'data/kinetics400/videos_val',
    ),
    'ssv2': (
        174, 2, 16, 4, 96, 20, 1, 'data/sthv2/sthv2_{}_list_videos.txt',
        'data/sthv2/videos', 'data/sthv2/videos',
    ),
    'diving48': (
        48, 4, 32, 2, 48, 100, 4, 'data/diving48/diving48_{}_list_videos.txt',
        'data/diving48/videos', 'data/diving48/videos',
    ),
}  # fmt: skip


def read(name):
    return Config.fromfile(FOLDER / f'{name}.py')


def test_published_encoders_are_probed_alike_at_224_px():
    for name in (*VIDEO, 'in1k'):
        ours, theirs = read(name), read(f'others/{name}_224')
        check_config(theirs, name)
        assert theirs.model == dict(ours.model, encoder_weights='encoder')
        assert theirs.test_dataloader == theirs.val_dataloader
        for key in ('train_dataloader', 'val_dataloader'):
            pipelines = [cfg[key].dataset.pipeline for cfg in (ours, theirs)]
            texts = [str(pipeline) for pipeline in pipelines]
            expected = texts[0].replace('256', '224').replace('292', '256')
            assert texts[1] == expected
            cfg = ours[key].dataset
            assert theirs[key].dataset == dict(cfg, pipeline=pipelines[1])


def step(pipeline, kind):
    (found,) = [s for s in pipeline if s.type.rpartition('.')[2] == kind]
    return found


@pytest.mark.parametrize('name', VIDEO)
def test_video(name):
    classes, segments, frames, pace, batch, epochs, last, lists, train, val = VIDEO[name]
    cfg = read(name)
    assert cfg.model.cls_head.num_classes == classes
    assert cfg.model.num_segments == segments
    assert cfg.model.last_layers == last
    assert cfg.model.get('static_frames') is None
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.test_dataloader == cfg.val_dataloader
    for split, loader, folder in (
        ('train', cfg.train_dataloader, train), ('val', cfg.val_dataloader, val),
    ):  # fmt: skip
        inner = loader.dataset.dataset
        assert inner.type == 'ClipListDataset'
        assert inner.ann_file == lists.format(split)
        assert inner.data_prefix == dict(video=folder)
        assert step(loader.dataset.pipeline, 'Resize' if split == 'val' else 'RandomResizedCrop')
        sampling = step(loader.dataset.pipeline, 'SampleClipByTime')
        assert (sampling.num_clips, sampling.num_frames) == (segments, frames)
        assert (sampling.frame_interval, sampling.get('fps')) == (pace, None)
        assert sampling.get('test_mode', False) == (split == 'val')
    pipeline = cfg.val_dataloader.dataset.pipeline
    # Three spatial views.
    assert step(pipeline, 'ThreeCrop').crop_size == 256
    assert step(pipeline, 'Resize').scale == (-1, 256)


def test_mirrored_ssv2_clips_change_their_class():
    flip = step(read('ssv2').train_dataloader.dataset.pipeline, 'Flip')
    assert flip.flip_label_map == {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}


def test_images():
    cfg = read('in1k')
    assert cfg.model.cls_head.num_classes == 1000
    assert cfg.model.static_frames == 16
    assert (cfg.model.last_layers, cfg.model.get('num_segments', 1)) == (1, 1)
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_epochs) == (384, 20)
    for loader, split in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
        inner = loader.dataset.dataset
        assert (inner.type, inner.split) == ('mmpretrain.ImageNet', split)
        assert inner.data_root == 'data/imagenet'
    assert step(cfg.train_dataloader.dataset.pipeline, 'RandomResizedCrop').scale == 256
    assert step(cfg.val_dataloader.dataset.pipeline, 'CenterCrop').crop_size == 256
    assert cfg.model.data_preprocessor.to_rgb is True
    assert cfg.test_dataloader == cfg.val_dataloader


@pytest.mark.parametrize('name', [*VIDEO, 'in1k', 'demo', 'demo_what'])
def test_what_all_share(name):
    cfg = read(name)
    check_config(cfg, str(FOLDER / f'{name}.py'))
    head = cfg.model.cls_head
    assert (head.type, head.num_heads, head.mlp_ratio) == ('nextvid_mm.ProbeHead', 16, 4.0)
    assert head.lrs == [5e-3, 3e-3, 1e-3, 3e-4, 1e-4]
    assert head.weight_decays == [0.01, 0.1, 0.4, 0.8]
    assert cfg.model.encoder_weights == 'reference'
    assert cfg.model.dtype == 'auto'
    assert cfg.model.data_preprocessor.mean == cfg.model.data_preprocessor.std == [127.5] * 3
    schedule = cfg.param_scheduler
    assert (schedule.type, schedule.eta_min) == ('CosineAnnealingLR', 0.0)
    assert schedule.convert_to_iter_based
    assert cfg.train_cfg.type == 'ExactEpochLoop'
    assert cfg.train_dataloader.sampler.type == 'EpochSampler'
    assert cfg.val_dataloader.dataset.test_mode
    assert not cfg.train_dataloader.dataset.get('test_mode', False)
    assert cfg.val_evaluator == cfg.test_evaluator == dict(type='ProbeMetric', topk=(1, 5))
    encoder = ENCODER if 'demo' not in name else dict(ENCODER, img_size=64)
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            for transform in loader.dataset.pipeline:
                TRANSFORMS.build(transform)
        with torch.device('meta'):
            MODELS.build(dict(cfg.model, backbone=encoder))


# batch of all processes, epochs, layers
VJEPA2 = {
    'k400': (256, 20, None), 'ssv2': (256, 20, None), 'in1k': (1024, 20, None),
    'diving48': (128, 100, [17, 19, 21, 23]),
}  # fmt: skip


@pytest.mark.parametrize('name', VJEPA2)
def test_vjepa2s_own_protocol(name):
    """Values of the evaluation configs released with V-JEPA 2 (ViT-L, 256 px)."""
    batch, epochs, layers = VJEPA2[name]
    ours, theirs = read(name), read(f'others/vjepa2_{name}')
    check_config(theirs, name)
    assert theirs.train_dataloader.batch_size == batch
    assert theirs.train_cfg.max_epochs == epochs
    assert (theirs.model.get('layers'), theirs.model.last_layers) == (layers, 1)
    head = theirs.model.cls_head
    pool = dict(depth=4, output_proj=False, eps=1e-5, init='vjepa', same_start=False)
    assert head.pool == pool
    assert (theirs.model.dtype, theirs.train_cfg.rates_ahead) == ('float16', 1)
    assert (head.num_heads, head.mlp_ratio, head.standardize) == (16, 4.0, False)
    assert (head.lrs, head.weight_decays) == (ours.model.cls_head.lrs, [0.01, 0.1, 0.4, 0.8])
    assert theirs.model.encoder_weights == 'encoder'
    # The converted encoder normalises by ImageNet's statistics itself.
    assert theirs.model.data_preprocessor == ours.model.data_preprocessor
    pipeline = theirs.train_dataloader.dataset.pipeline
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        for transform in pipeline:
            TRANSFORMS.build(transform)
        encoder = dict(type='JointViT', arch=dict(
            embed_dims=32, depth=24, num_heads=16, mlp_ratio=4.0))  # fmt: skip
        with torch.device('meta'):
            model = MODELS.build(dict(theirs.model, backbone=encoder))
    assert model.layers == (layers or [23])
    if name == 'in1k':
        assert step(pipeline, 'AutoAugment').policy == 'original'
        assert step(pipeline, 'RandomFlip').prob == 0.5
        erase = step(pipeline, 'RandomErase')
        assert (erase.prob, erase.mean) == (0.25, [103.53, 116.28, 123.675])
        views = theirs.val_dataloader.dataset.pipeline
        assert (step(views, 'ResizeEdge').scale, step(views, 'CenterCrop').crop_size) == (292, 256)
        assert step(views, 'ResizeEdge').interpolation == 'bilinear'
        return
    assert theirs.val_dataloader == ours.val_dataloader
    inner = step(pipeline, 'EachSegment').transforms
    kinds = [transform.type.rpartition('.')[2] for transform in inner]
    assert kinds == ['AutoAugment', 'RandomResizedCrop', 'Resize', 'RandomErase'], 'no flip'
    assert inner[0].policy == 'rand-m7-n4-mstd0.5-inc1'
    assert inner[1].area_range == (0.08, 1.0)
    assert inner[1].aspect_ratio_range == (3 / 4, 4 / 3)
    assert inner[3].prob == 0.25
    assert inner[3].mean == [123.675, 116.28, 103.53]
    assert inner[3].std == [58.395, 57.12, 57.375]
