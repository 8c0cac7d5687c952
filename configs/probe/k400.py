# Kinetics-400: 8 segments x 3 views of 16 frames, step 4; batch 192, 20 epochs.
_base_ = '../_base_/probe/video.py'

model = dict(num_segments=8, cls_head=dict(num_classes=400))

clips = dict(type='nextvid_mm.SampleClipByTime', frame_interval=4, num_frames=16, num_clips=8)
train_pipeline = [
    _base_.open_video,
    clips,
    _base_.decode,
    *_base_.crop,
    _base_.flip,
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
    batch_size=192,
    dataset=dict(
        pipeline=train_pipeline,
        dataset=dict(
            ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
            data_prefix=dict(video='data/kinetics400/videos_train'),
        ),
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            ann_file='data/kinetics400/kinetics400_val_list_videos.txt',
            data_prefix=dict(video='data/kinetics400/videos_val'),
        ),
    ),
)
test_dataloader = val_dataloader
