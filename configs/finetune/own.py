# Your own labelled videos: two lists, "path label" a line, labels from 0. Give the clips the rate
# and the size of the pretraining.
_base_ = '../_base_/finetune/clips.py'

classes, fps, num_frames, size = 5, 4, 16, 256
epochs, warmup = 30, 3
model = dict(backbone=dict(arch='base'), cls_head=dict(in_channels=768, num_classes=classes))

clips = dict(type='nextvid_mm.SampleClipByTime', fps=fps, num_frames=num_frames)
open_video = dict(type='nextvid_mm.OpenVideo')
train_pipeline = [
    open_video,
    clips,
    _base_.decode,
    dict(type='mmaction.RandomResizedCrop', area_range=(0.3, 1.0)),
    dict(type='mmaction.Resize', scale=(size, size), keep_ratio=False),
    # Only if a mirrored video has the same label: dict(type='mmaction.Flip', flip_ratio=0.5).
    # torchvision's, the same operations for all frames of a clip.
    dict(type='mmaction.TorchVisionWrapper', op='RandAugment', num_ops=2, magnitude=9),
    dict(type='mmaction.RandomErasing', erase_prob=0.25, mode='rand'),
    *_base_.pack,
]
test_pipeline = [
    open_video,
    dict(clips, num_clips=2, test_mode=True),
    _base_.decode,
    dict(type='mmaction.Resize', scale=(-1, size)),
    dict(type='mmaction.ThreeCrop', crop_size=size),
    *_base_.pack,
]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        pipeline=train_pipeline,
        dataset=dict(ann_file='data/mine/train.txt', data_prefix=dict(video='data/mine')),
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(ann_file='data/mine/val.txt', data_prefix=dict(video='data/mine')),
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))  # the square root of a batch four times smaller
train_cfg = dict(max_epochs=epochs, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', eta_min=0.0, begin=warmup, end=epochs, convert_to_iter_based=True
    ),
]
