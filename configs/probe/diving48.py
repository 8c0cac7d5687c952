# Diving48: 4 segments x 3 views of 32 frames, step 2; the last 4 layers; batch 48, 100 epochs.
_base_ = '../_base_/probe/attentive.py'

model = dict(num_segments=4, last_layers=4, cls_head=dict(num_classes=48))

# frame_interval, in frames of the file, is what the figure called FPS in Table 9 means here; true
# frames per second with fps=... of the data sets.
train_pipeline = [
    dict(type='mmaction.DecordInit', num_threads=1),
    dict(type='SampleClipByTime', frame_interval=2, num_frames=32, num_clips=4),
    dict(type='mmaction.DecordDecode'),
    dict(type='mmaction.Resize', scale=(-1, 256)),
    dict(type='mmaction.RandomResizedCrop'),
    dict(type='mmaction.Resize', scale=(256, 256), keep_ratio=False),
    dict(type='mmaction.Flip', flip_ratio=0.5),
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
]
test_pipeline = [
    dict(type='mmaction.DecordInit', num_threads=1),
    dict(
        type='SampleClipByTime',
        frame_interval=2,
        num_frames=32,
        num_clips=4,
        test_mode=True,
    ),
    dict(type='mmaction.DecordDecode'),
    dict(type='mmaction.Resize', scale=(-1, 256)),
    dict(type='mmaction.ThreeCrop', crop_size=256),
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
]

train_dataloader = dict(
    batch_size=48,  # of all processes together
    dataset=dict(
        dataset=dict(
            type='mmaction.VideoDataset',
            ann_file='data/diving48/diving48_train_list_videos.txt',
            data_prefix=dict(video='data/diving48/videos'),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        dataset=dict(
            type='mmaction.VideoDataset',
            ann_file='data/diving48/diving48_val_list_videos.txt',
            data_prefix=dict(video='data/diving48/videos'),
            pipeline=test_pipeline,
            test_mode=True,
        ),
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=100, val_interval=25)
