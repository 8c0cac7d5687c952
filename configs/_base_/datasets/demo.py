# The generated demo videos and a few still images; any folder of videos works the same way, see
# docs/data.md.
data_root = 'data/demo/'
img_size = 64

pack = [
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(
        type='FrameIsolatedMasking',
        patch_size=16,
        # Lighter than the paper's: on a grid of 4x4 patches, its blocks would hide nearly all.
        strategies=[dict(num_blocks=3, scale=0.15), dict(num_blocks=1, scale=0.4)],
    ),
    dict(
        type='mmaction.PackActionInputs',
        algorithm_keys=('masks',),
        meta_keys=('img_shape', 'static', 'sample_seed'),
    ),
]
video_pipeline = [
    dict(type='VideoInit', cache_dir=data_root + 'cache'),
    dict(type='SampleClipByTime', fps=8),
    dict(type='VideoDecode'),
]
image_pipeline = [
    dict(type='LoadPicture'),
    dict(type='ImageToClip'),
    dict(type='mmaction.RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.75, 1.35)),
    dict(type='mmaction.Resize', scale=(img_size, img_size), keep_ratio=False),
    dict(type='RepeatFrames'),
]

train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type='nextvid_mm.collate_clips'),
    dataset=dict(
        type='MixtureDataset',
        sources=[
            dict(
                name='videos',
                weight=0.95,
                dataset=dict(
                    type='ClipListDataset',
                    ann_file=data_root + 'demo_train_list_videos.txt',
                    data_prefix=dict(video=data_root + 'videos_train'),
                    pipeline=video_pipeline,
                ),
            ),
            dict(
                name='images',
                weight=0.05,
                dataset=dict(
                    type='mmpretrain.CustomDataset',
                    data_root=data_root + 'images_train',
                    with_label=False,
                    pipeline=image_pipeline,
                ),
            ),
        ],
        pipeline=pack,
    ),
)
