# The data mixture of arXiv 2512.21004, Table 6: weights of a clip coming from each source.
# Where each dataset is expected: docs/data.md.
# Decides these rows of docs/choices.md: counts, visible, aspect,
# strategies, crops, frames, order.
img_size = 256
fps = 4

augment = [
    dict(type='mmaction.RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.75, 1.35)),
    dict(type='mmaction.Resize', scale=(img_size, img_size), keep_ratio=False),
    dict(type='mmaction.Flip', flip_ratio=0.5),
]
pack = [
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(
        type='FrameIsolatedMasking',
        patch_size=16,
        # Visible patches of 16 x 16: about what V-JEPA's batches leave. Without num_visible: the
        # 10 % quantile of the sampler's draws, on any grid (docs/choices.md).
        strategies=[
            dict(num_blocks=8, scale=0.15, num_visible=70),
            dict(num_blocks=2, scale=0.7, num_visible=22),
        ],
        aspect_ratio=(0.75, 1.5),
    ),
    dict(
        type='mmaction.PackActionInputs',
        algorithm_keys=('masks',),
        meta_keys=('img_shape', 'static', 'sample_seed'),
    ),
]
video_pipeline = [
    # backend='decord' or 'torchcodec' takes their frames; docs/data.md compares them.
    dict(type='VideoInit'),
    dict(type='SampleClipByTime', fps=fps),
    dict(type='VideoDecode'),
    *augment,
]
image_pipeline = [
    dict(type='LoadPicture'),
    dict(type='ImageToClip'),
    *augment,
    dict(type='RepeatFrames'),
]

train_dataloader = dict(
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='nextvid_mm.collate_clips'),
    dataset=dict(
        type='MixtureDataset',
        sources=[
            dict(
                name='imagenet',
                weight=0.25,
                dataset=dict(
                    type='mmpretrain.ImageNet',
                    data_root='data/imagenet',
                    split='train',
                    pipeline=image_pipeline,
                ),
            ),
            dict(
                name='ssv2',
                weight=0.05,
                dataset=dict(
                    type='ClipListDataset',
                    ann_file='data/sthv2/sthv2_train_list_videos.txt',
                    data_prefix=dict(video='data/sthv2/videos'),
                    pipeline=video_pipeline,
                ),
            ),
            dict(
                name='kinetics400',
                weight=0.18,
                dataset=dict(
                    type='ClipListDataset',
                    ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
                    data_prefix=dict(video='data/kinetics400/videos_train'),
                    pipeline=video_pipeline,
                ),
            ),
            dict(
                name='internvid',
                weight=0.20,
                dataset=dict(
                    type='ClipListDataset',
                    ann_file='data/internvid/internvid_list_videos.txt',
                    data_prefix=dict(video='data/internvid/videos'),
                    pipeline=video_pipeline,
                ),
            ),
            dict(
                name='own',
                weight=0.32,
                dataset=dict(
                    type='ClipListDataset',
                    ann_file='data/own/own_list_videos.txt',
                    data_prefix=dict(video='data/own/videos'),
                    pipeline=video_pipeline,
                ),
            ),
        ],
        pipeline=pack,
    ),
)
