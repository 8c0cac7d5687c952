# Masked-video regression, the objective of VideoMAE (arXiv 2203.12602), on the demo's data and
# schedule: joint attention, tube masks, normalised pixels. Causal: model.backbone.causal=True.
_base_ = '../nextvid/vit-tiny_demo.py'

model = dict(
    _delete_=True,
    type='MaskedVideoRegression',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=dict(_base_.model.backbone, causal=False),
    neck=dict(_base_.model.neck, type='JointPredictor', ahead=0, causal=False),
    head=dict(
        type='LinearRegressionHead',
        in_channels=_base_.model.neck.embed_dims,
        target_channels=3 * 2 * 16 * 16,
    ),
    target_generator=dict(type='PixelTarget', patch_size=16, tubelet_size=2, norm_pix=True),
)
pack = [
    # 12 of 4 x 4 patches; the published 90 % would leave two.
    dict(type='TubeMasking', patch_size=16, ratio=0.75)
    if step.type == 'FrameIsolatedMasking'
    else step
    for step in _base_.pack
]
train_dataloader = dict(dataset=dict(pipeline=pack))
# Published with one learning rate for all weights: the head's falls with the others.
train_cfg = dict(stages=[dict(stage, flow_lr=None) for stage in _base_.train_cfg.stages])
