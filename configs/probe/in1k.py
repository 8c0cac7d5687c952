# ImageNet-1K: images as static clips of 16 frames; batch 384, 20 epochs.
_base_ = '../_base_/probe/attentive.py'

model = dict(
    static_frames=16,
    # MMPretrain loads BGR.
    data_preprocessor=dict(format_shape='NCHW', to_rgb=True),
    cls_head=dict(num_classes=1000),
)

train_pipeline = [
    dict(type='mmpretrain.LoadImageFromFile'),
    dict(
        type='mmpretrain.RandomResizedCrop',
        scale=256,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmpretrain.PackInputs'),
]
test_pipeline = [
    dict(type='mmpretrain.LoadImageFromFile'),
    # 256 / 0.875: MMPretrain's crop ratio at this resolution.
    dict(
        type='mmpretrain.ResizeEdge',
        scale=292,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='mmpretrain.CenterCrop', crop_size=256),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=384,  # of all processes together
    dataset=dict(
        dataset=dict(
            type='mmpretrain.ImageNet',
            data_root='data/imagenet',
            split='train',
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=32,
    dataset=dict(
        dataset=dict(
            type='mmpretrain.ImageNet',
            data_root='data/imagenet',
            split='val',
            pipeline=test_pipeline,
        ),
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=20, val_interval=5)
