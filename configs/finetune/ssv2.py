# Something-Something V2: ViT-L, clips of 16 frames, step 4; 2 segments x 3 views at test.
_base_ = '../_base_/finetune/video.py'

classes, epochs, warmup = 174, 30, 5
model = dict(
    cls_head=dict(num_classes=classes),
    data_preprocessor=dict(
        blending=dict(
            type='mmaction.RandomBatchAugment',
            augments=[
                dict(type='mmaction.MixupBlending', alpha=0.8, num_classes=classes),
                dict(type='mmaction.CutmixBlending', alpha=1.0, num_classes=classes),
            ],
        )
    ),
)

clips = dict(type='nextvid_mm.SampleClipByTime', frame_interval=4, num_frames=16)
# Classes that a mirror turns into one another: left and right.
flip = dict(_base_.flip, flip_label_map={86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166})
train_pipeline = [
    _base_.open_video,
    clips,
    _base_.decode,
    *_base_.crop,
    flip,
    _base_.augment,
    _base_.erase,
    *_base_.pack,
]
test_pipeline = [
    _base_.open_video,
    dict(clips, num_clips=2, test_mode=True),
    _base_.decode,
    *_base_.views,
    *_base_.pack,
]

train_dataloader = dict(
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

train_cfg = dict(max_epochs=epochs, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', eta_min=0.0, begin=warmup, end=epochs, convert_to_iter_based=True
    ),
]
