# ImageNet-1K by V-JEPA 2's own protocol, for its encoders at 256 px: frames and epochs as in
# in1k.py, all else as in _base_/probe/vjepa2.py.
_base_ = ['../in1k.py', '../../_base_/probe/vjepa2.py']

model = _base_.vjepa2
train_cfg = _base_.schedule_vjepa2

size = _base_.size_vjepa2
augment = _base_.augment  # of videos; what pictures have stands below
train_pipeline = [
    _base_.load,
    dict(type='mmpretrain.RandomResizedCrop', scale=size, **_base_.bicubic),
    _base_.flip,
    dict(type='AutoAugment', policy='original', size=size),
    # MMPretrain loads BGR.
    dict(
        type='RandomErase', prob=0.25, mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395]
    ),
    _base_.pack,
]
test_pipeline = [
    _base_.load,
    dict(
        type='mmpretrain.ResizeEdge',
        scale=292,
        edge='short',
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='mmpretrain.CenterCrop', crop_size=size),
    _base_.pack,
]

train_dataloader = dict(
    batch_size=1024,
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
