"""The text of a probe's and of a fine-tuning config for the labelled videos of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nextvid_mm.plan.proposed_configs import Settings, comment


def probe_text(given: Settings, classes: int, count: int, lists: Sequence[Path]) -> str:
    """The config of an attentive probe on the pretrained encoder.

    Args:
        given: as for the pretraining.
        classes: of the labels.
        count: labelled videos to train on.
        lists: of training and validation.
    """
    epochs = 20 if count >= 5000 else 60
    batch = max(2, min(48, count // 2))
    head = comment([f'A probe on the frozen encoder that {given.name}/pretrain ends with.'])
    return f"""{head}
_base_ = 'nextvid_mm::_base_/probe/attentive.py'

fps, num_frames, size = {given.fps:g}, {given.num_frames}, {given.img_size}  # as in pretraining
work_dir = {given.work_dir('probe')!r}
model = dict(
    encoder={given.checkpoint!r},
    num_segments={given.segments},
    cls_head=dict(num_classes={classes}),
)
{_labelled(given, lists, f'num_clips={given.segments}', batch, 4, augment=False)}
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
"""


def finetune_text(given: Settings, classes: int, count: int, lists: Sequence[Path]) -> str:
    """The config of fine-tuning the pretrained encoder; arguments as of the probe's."""
    batch = max(2, min(64, 1 << max(0, (count // 4).bit_length() - 1)))
    per_epoch = -(-count // batch)
    wanted = 200 if given.on_cpu else 400  # steps
    epochs = min(100, max(20, round(wanted / per_epoch)))
    steps, warmup = epochs * per_epoch, max(1, epochs // 10)
    rate = 1e-3 if given.width < 384 else 5e-4 * (batch / 128) ** 0.5
    average = min(0.02, max(1e-3, 4 / steps))
    head = comment([f'Fine-tuning of the encoder that {given.name}/pretrain ends with.'])
    backbone = [
        f'arch={given.arch!r}',
        f'img_size={given.img_size}',
        f'patch_size={given.patch_size}',
        f'tubelet_size={given.tubelet_size}',
        f'tiled_rope={given.tiled_rope}',
        f'with_cp={not given.on_cpu}',
        f'init_cfg=dict(checkpoint={given.checkpoint!r})',
    ]
    keys = ''.join(f'        {key},\n' for key in backbone)
    return f"""{head}
_base_ = 'nextvid_mm::_base_/finetune/clips.py'

fps, num_frames, size = {given.fps:g}, {given.num_frames}, {given.img_size}  # as in pretraining
epochs, warmup = {epochs}, {warmup}  # {steps:,} steps
work_dir = {given.work_dir('finetune')!r}
model = dict(
    backbone=dict(
{keys}    ),
    cls_head=dict(in_channels={given.width}, num_heads={given.heads}, num_classes={classes}),
)
{_labelled(given, lists, '', batch, 1, augment=True)}
# Usual for batches of 128; smaller ones take the square root of their share.
optim_wrapper = dict(optimizer=dict(lr={rate:.2g}))
auto_scale_lr = dict(base_batch_size={batch})
train_cfg = dict(max_epochs=epochs, val_interval={max(1, epochs // 4)})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', eta_min=0.0, begin=warmup, end=epochs, convert_to_iter_based=True
    ),
]
custom_hooks = [
    dict(type='mmengine.EMAHook', ema_type='ExponentialMovingAverage', momentum={average:.2g}),
    dict(type='FaultHook'),
]
"""


def _labelled(
    given: Settings, lists: Sequence[Path], clips: str, batch: int, tested: int, augment: bool
) -> str:
    """Pipelines and loaders of labelled videos."""
    several = f', {clips}' if clips else ''
    extra, decode = '', "dict(type='VideoDecode')"
    pack = """    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
"""
    if augment:
        decode, pack = '_base_.decode', '    *_base_.pack,\n'
        extra = """    # torchvision's, the same operations for all frames of a clip.
    dict(type='mmaction.TorchVisionWrapper', op='RandAugment', num_ops=2, magnitude=9),
    dict(type='mmaction.RandomErasing', erase_prob=0.25, mode='rand'),
"""
    loaders = []
    for split, path, size in zip(('train', 'val'), lists, (batch, tested), strict=True):
        mode = '' if split == 'train' else '            test_mode=True,\n'
        loaders.append(f"""{split}_dataloader = dict(
    batch_size={size},
    num_workers={given.workers},
    dataset=dict(
        dataset=dict(
            type='ClipListDataset',
            ann_file={str(path)!r},
            data_prefix=dict(video={given.folder!r}),
            pipeline={split}_pipeline,
{mode}        )
    ),
)""")
    return f"""
train_pipeline = [
    dict(type='VideoInit'),
    dict(type='SampleClipByTime', fps=fps, num_frames=num_frames{several}),
    {decode},
    dict(type='mmaction.RandomResizedCrop', area_range=(0.3, 1.0)),
    dict(type='mmaction.Resize', scale=(size, size), keep_ratio=False),
    # Only if a mirrored video has the same label: dict(type='mmaction.Flip', flip_ratio=0.5),
{extra}{pack}]
val_pipeline = [
    dict(type='VideoInit'),
    dict(
        type='SampleClipByTime',
        fps=fps,
        num_frames=num_frames,
        num_clips={given.segments},
        test_mode=True,
    ),
    {decode},
    dict(type='mmaction.Resize', scale=(-1, size)),
    dict(type='mmaction.ThreeCrop', crop_size=size),
{pack}]
{loaders[0]}
{loaders[1]}
test_dataloader = val_dataloader
"""
