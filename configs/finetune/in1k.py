# ImageNet-1K: ViT-L, an image as a clip of one tubelet, on MMPretrain's classifier.
_base_ = '../_base_/finetune/runtime.py'

epochs, warmup, size = 50, 5, 256
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='nextvid_mm.CausalViT',
        arch='large',
        output='maps',
        drop_path_rate=0.1,
        with_cp=True,
        tuned='all',
        init_cfg=dict(type='nextvid_mm.EncoderWeights', checkpoint=None),
    ),
    neck=dict(type='mmpretrain.GlobalAveragePooling', dim=3),
    head=dict(
        type='mmpretrain.LinearClsHead',
        in_channels=1024,
        num_classes=1000,
        loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    data_preprocessor=dict(
        type='mmpretrain.ClsDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        to_rgb=True,
        num_classes=1000,
    ),
    train_cfg=dict(
        augments=[
            dict(type='mmpretrain.Mixup', alpha=0.8),
            dict(type='mmpretrain.CutMix', alpha=1.0),
        ]
    ),
)

load = dict(type='nextvid_mm.LoadPicture')
bicubic = dict(backend='pillow', interpolation='bicubic')
pack = dict(type='mmpretrain.PackInputs')
train_pipeline = [
    load,
    dict(type='mmpretrain.RandomResizedCrop', scale=size, **bicubic),
    dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        _scope_='mmpretrain',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
    ),
    dict(type='mmpretrain.RandomErasing', erase_prob=0.25, mode='rand', fill_std=None),
    pack,
]
test_pipeline = [
    load,
    dict(type='mmpretrain.ResizeEdge', scale=292, edge='short', **bicubic),
    dict(type='mmpretrain.CenterCrop', crop_size=size),
    pack,
]
train_dataloader = dict(
    batch_size=1024,
    dataset=dict(
        pipeline=train_pipeline,
        dataset=dict(type='mmpretrain.ImageNet', data_root='data/imagenet', split='train'),
    ),
)
val_dataloader = dict(
    batch_size=32,
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(type='mmpretrain.ImageNet', data_root='data/imagenet', split='val'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmpretrain.Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=1024)
train_cfg = dict(max_epochs=epochs, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', eta_min=0.0, begin=warmup, end=epochs, convert_to_iter_based=True
    ),
]
