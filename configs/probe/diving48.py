# Diving48: 4 segments x 3 views of 32 frames, step 2; the last 4 layers; batch 48, 100 epochs.
# Decides these rows of docs/choices.md: layers.
_base_ = '../_base_/probe/video.py'

model = dict(num_segments=4, last_layers=4, cls_head=dict(num_classes=48))

clips = dict(type='nextvid_mm.SampleClipByTime', frame_interval=2, num_frames=32, num_clips=4)
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
    batch_size=48,
    dataset=dict(
        pipeline=train_pipeline,
        dataset=dict(
            ann_file='data/diving48/diving48_train_list_videos.txt',
            data_prefix=dict(video='data/diving48/videos'),
        ),
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            ann_file='data/diving48/diving48_val_list_videos.txt',
            data_prefix=dict(video='data/diving48/videos'),
        ),
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=100, val_interval=25)
