# The demo's probe: 12 motion classes, 64 px, 10 labelled videos per class, a few seconds on a CPU.
_base_ = '../_base_/probe/attentive.py'

data_root = 'data/demo/'

pipeline = [
    dict(type='mmaction.DecordInit'),
    dict(
        type='mmaction.SampleFrames',
        clip_len=16,
        frame_interval=1,
        num_clips=1,
        test_mode=True,
        out_of_bound_opt='repeat_last',
    ),
    dict(type='mmaction.DecordDecode'),
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs', meta_keys=('filename', 'sample_idx', 'failure')),
]

model = dict(num_segments=1, dtype=None, cls_head=dict(num_classes=12))

train_dataloader = dict(
    batch_size=48,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmaction.VideoDataset',
        ann_file=data_root + 'demo_probe_list_videos.txt',
        data_prefix=dict(video=data_root + 'videos_train'),
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmaction.VideoDataset',
        ann_file=data_root + 'demo_val_list_videos.txt',
        data_prefix=dict(video=data_root + 'videos_val'),
        pipeline=pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=20)
param_scheduler = dict(
    type='CosineAnnealingLR', eta_min=0.0, T_max=100, by_epoch=True, convert_to_iter_based=True
)
