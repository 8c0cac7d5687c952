# Something-Something V2: 2 segments x 3 views of 16 frames, step 4; batch 96, 20 epochs.
_base_ = '../_base_/probe/attentive.py'

model = dict(num_segments=2, cls_head=dict(num_classes=174))

# frame_interval, in frames of the file, is what the figure called FPS in Table 9 means here; true
# frames per second with fps=... of the data sets.
# Classes that a mirror turns into one another: left and right.
flip_label_map = {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}
train_pipeline = [
    dict(type='mmaction.DecordInit', num_threads=1),
    dict(type='SampleClipByTime', frame_interval=4, num_frames=16, num_clips=2),
    dict(type='mmaction.DecordDecode'),
    dict(type='mmaction.Resize', scale=(-1, 256)),
    dict(type='mmaction.RandomResizedCrop'),
    dict(type='mmaction.Resize', scale=(256, 256), keep_ratio=False),
    dict(type='mmaction.Flip', flip_ratio=0.5, flip_label_map=flip_label_map),
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
]
test_pipeline = [
    dict(type='mmaction.DecordInit', num_threads=1),
    dict(
        type='SampleClipByTime',
        frame_interval=4,
        num_frames=16,
        num_clips=2,
        test_mode=True,
    ),
    dict(type='mmaction.DecordDecode'),
    dict(type='mmaction.Resize', scale=(-1, 256)),
    dict(type='mmaction.ThreeCrop', crop_size=256),
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
]

train_dataloader = dict(
    batch_size=96,  # of all processes together
    dataset=dict(
        dataset=dict(
            type='mmaction.VideoDataset',
            ann_file='data/sthv2/sthv2_train_list_videos.txt',
            data_prefix=dict(video='data/sthv2/videos'),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        dataset=dict(
            type='mmaction.VideoDataset',
            ann_file='data/sthv2/sthv2_val_list_videos.txt',
            data_prefix=dict(video='data/sthv2/videos'),
            pipeline=test_pipeline,
            test_mode=True,
        ),
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=20, val_interval=5)
