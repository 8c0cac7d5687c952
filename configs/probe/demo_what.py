# The demo's second probe, *what* instead of *how*: which of 11 photographs a still is cut from.
# 64 px, static clips, 10 labelled stills per photograph.
_base_ = '../_base_/probe/attentive.py'

data_root = 'data/demo/'

model = dict(
    static_frames=8,  # half of the published 16, and of the time
    # MMPretrain loads BGR.
    data_preprocessor=dict(format_shape='NCHW', to_rgb=True),
    cls_head=dict(num_classes=11),
)

# A random square of a photograph already: nothing else is random.
test_pipeline = [
    dict(type='nextvid_mm.LoadPicture'),
    dict(type='mmpretrain.Resize', scale=64, interpolation='area'),
    dict(type='mmpretrain.PackInputs'),
]

train_dataloader = dict(
    batch_size=44,
    num_workers=2,
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            type='mmpretrain.CustomDataset',
            ann_file=data_root + 'what/probe_list_images.txt',
            data_prefix=data_root + 'images_train',
        ),
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=2,
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            type='mmpretrain.CustomDataset',
            ann_file=data_root + 'what/val_list_images.txt',
            data_prefix=data_root + 'images_val',
            test_mode=True,
        ),
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=100, val_interval=50)
default_hooks = dict(checkpoint=dict(interval=100))
