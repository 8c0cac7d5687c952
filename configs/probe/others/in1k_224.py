# ImageNet-1K with a published encoder of 224 px (VideoMAE, image ViTs), as
# tools/convert_checkpoint.py writes it: as in1k.py, at 224 instead of 256 px.
_base_ = '../in1k.py'

model = dict(encoder_weights='encoder')

train_pipeline = [
    _base_.load,
    dict(type='mmpretrain.RandomResizedCrop', scale=224, **_base_.bicubic),
    _base_.flip,
    _base_.pack,
]
test_pipeline = [
    _base_.load,
    dict(type='mmpretrain.ResizeEdge', scale=256, edge='short', **_base_.bicubic),
    dict(type='mmpretrain.CenterCrop', crop_size=224),
    _base_.pack,
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
