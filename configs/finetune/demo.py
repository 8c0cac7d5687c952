# The demo's 12 motions, 10 labelled videos a class, on a laptop CPU. What moves where is the label,
# so nothing is mirrored, cut or mixed.
_base_ = '../_base_/finetune/clips.py'

data_root = 'data/demo/'
epochs, warmup = 40, 4
model = dict(
    backbone=dict(
        arch='tiny',
        img_size=64,
        with_cp=False,
    ),
    cls_head=dict(in_channels=128, num_heads=4, num_classes=12),
)

train_pipeline = [
    dict(type='nextvid_mm.OpenVideo', cache_dir=data_root + 'cache'),
    dict(type='nextvid_mm.SampleClipByTime', frame_interval=1, num_frames=16),
    _base_.decode,
    *_base_.pack,
]
test_pipeline = [
    dict(type='nextvid_mm.OpenVideo', cache_dir=data_root + 'cache'),
    dict(type='nextvid_mm.SampleClipByTime', frame_interval=1, num_frames=16, test_mode=True),
    _base_.decode,
    *_base_.pack,
]
train_dataloader = dict(
    batch_size=24,
    num_workers=2,
    dataset=dict(
        pipeline=train_pipeline,
        dataset=dict(
            ann_file=data_root + 'demo_probe_list_videos.txt',
            data_prefix=dict(video=data_root + 'videos_train'),
        ),
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            ann_file=data_root + 'demo_val_list_videos.txt',
            data_prefix=dict(video=data_root + 'videos_val'),
        ),
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=epochs, val_interval=20)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', eta_min=0.0, begin=warmup, end=epochs, convert_to_iter_based=True
    ),
]
custom_hooks = [
    dict(type='mmengine.EMAHook', ema_type='ExponentialMovingAverage', momentum=0.02),
    dict(type='FaultHook'),
]
