# The demo's probe: 12 motion classes, 64 px, 10 labelled videos per class, a few seconds on a CPU.
_base_ = '../_base_/probe/attentive.py'

data_root = 'data/demo/'

model = dict(num_segments=1, cls_head=dict(num_classes=12))

# The demo's clips are short and already of the right size: one view, every frame.
test_pipeline = [
    dict(type='nextvid_mm.OpenVideo', cache_dir=data_root + 'cache'),
    dict(type='nextvid_mm.SampleClipByTime', frame_interval=1, num_frames=16, test_mode=True),
    dict(type='nextvid_mm.ReadFrames'),
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
]

train_dataloader = dict(
    batch_size=48,
    num_workers=2,
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            type='ClipListDataset',
            ann_file=data_root + 'demo_probe_list_videos.txt',
            data_prefix=dict(video=data_root + 'videos_train'),
        ),
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=2,
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            type='ClipListDataset',
            ann_file=data_root + 'demo_val_list_videos.txt',
            data_prefix=dict(video=data_root + 'videos_val'),
            test_mode=True,
        ),
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=100, val_interval=50)
default_hooks = dict(checkpoint=dict(interval=100))
