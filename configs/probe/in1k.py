# ImageNet-1K: images as static clips of 16 frames; batch 384, 20 epochs.
_base_ = '../_base_/probe/attentive.py'

model = dict(
    static_frames=16,
    # MMPretrain loads BGR.
    data_preprocessor=dict(format_shape='NCHW', to_rgb=True),
    cls_head=dict(num_classes=1000),
)

load = dict(type='nextvid_mm.LoadPicture')
bicubic = dict(backend='pillow', interpolation='bicubic')
flip = dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal')
pack = dict(type='mmpretrain.PackInputs')
train_pipeline = [
    load,
    dict(type='mmpretrain.RandomResizedCrop', scale=256, **bicubic),
    flip,
    pack,
]
test_pipeline = [
    load,
    # 256 / 0.875: MMPretrain's crop ratio at this resolution.
    dict(type='mmpretrain.ResizeEdge', scale=292, edge='short', **bicubic),
    dict(type='mmpretrain.CenterCrop', crop_size=256),
    pack,
]

train_dataloader = dict(
    batch_size=384,
    dataset=dict(
        pipeline=train_pipeline,
        dataset=dict(
            type='mmpretrain.ImageNet',
            data_root='data/imagenet',
            split='train',
        ),
    ),
)
val_dataloader = dict(
    batch_size=32,
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            type='mmpretrain.ImageNet',
            data_root='data/imagenet',
            split='val',
        ),
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=20, val_interval=5)
