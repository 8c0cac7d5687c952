# Something-Something V2: 2 segments x 3 views of 16 frames, step 4; batch 96, 20 epochs.
_base_ = '../_base_/probe/video.py'

model = dict(num_segments=2, cls_head=dict(num_classes=174))

clips = dict(type='nextvid_mm.SampleClipByTime', frame_interval=4, num_frames=16, num_clips=2)
# Classes that a mirror turns into one another: left and right.
flip = dict(_base_.flip, flip_label_map={86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166})
train_pipeline = [
    _base_.open_video,
    clips,
    _base_.decode,
    *_base_.crop,
    flip,
    *_base_.pack,
]
test_pipeline = [
    _base_.open_video,
    dict(clips, test_mode=True),
    _base_.decode,
    *_base_.views,
    *_base_.pack,
]

train_dataloader = dict(
    batch_size=96,
    dataset=dict(
        pipeline=train_pipeline,
        dataset=dict(
            ann_file='data/sthv2/sthv2_train_list_videos.txt',
            data_prefix=dict(video='data/sthv2/videos'),
        ),
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            ann_file='data/sthv2/sthv2_val_list_videos.txt',
            data_prefix=dict(video='data/sthv2/videos'),
        ),
    ),
)
test_dataloader = val_dataloader
