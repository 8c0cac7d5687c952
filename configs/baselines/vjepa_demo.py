# Masked latent prediction, the objective of V-JEPA (arXiv 2404.08471), on the demo's data, masks
# and schedule: joint attention, features of an EMA encoder as targets.
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
        target_channels=_base_.model.neck.in_channels,
        criterion='l1',
    ),
    reference=dict(type='EMAReference'),
)
# Published with one learning rate for all weights: the head's falls with the others.
train_cfg = dict(stages=[dict(stage, flow_lr=None) for stage in _base_.train_cfg.stages])
